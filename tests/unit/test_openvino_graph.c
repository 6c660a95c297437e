/*
 * test_openvino_graph.c - what of a graph OpenVINO is not given, and the SavedModel cut to one signature, on
 * graphs that are written here on the wire.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "codec/pb_wire.h"
#include "codec/saved_model.h"
#include "graph.h"
#include "refused.h"

static tn_arena arena;

static int setup(void **state)
{
    tn_arena_init(&arena, 16u << 20);
    return 0;
}

static int teardown(void **state)
{
    tn_arena_free(&arena);
    return 0;
}

/* ---- messages ---- */

static void put(tn_buf *b, uint32_t field, tn_str bytes)
{
    uint8_t head[20];
    tn_buf_append(b, head, tn_pb_put_head(head, field, bytes.len));
    tn_buf_str(b, bytes);
}

static void put_z(tn_buf *b, uint32_t field, const char *z)
{
    put(b, field, tn_str_from(z));
}

static void put_inner(tn_buf *b, uint32_t field, tn_buf *inner)
{
    put(b, field, tn_buf_view(inner));
    tn_buf_free(inner);
}

static tn_buf empty(void)
{
    tn_buf b;
    tn_buf_init(&b, 1u << 20);
    return b;
}

static void put_type(tn_buf *b, uint32_t field, tern_dtype dtype)
{
    const uint8_t bytes[] = {(uint8_t)(field << 3), (uint8_t)dtype};
    tn_buf_append(b, bytes, sizeof bytes);
}

/* NodeDef{name, op, inputs separated by blanks, attr T, attr f} */
static void node(tn_buf *graph, uint32_t field, const char *name, const char *op, const char *inputs,
                 tern_dtype t, const char *function)
{
    tn_buf n = empty(), entry = empty(), value = empty(), func = empty();
    put_z(&n, 1, name);
    put_z(&n, 2, op);
    for (tn_str rest = tn_str_from(inputs); rest.len > 0;) {
        ptrdiff_t blank = tn_str_chr(rest, ' ');
        put(&n, 3, tn_str_sub(rest, 0, blank >= 0 ? (size_t)blank : rest.len));
        rest = tn_str_sub(rest, blank >= 0 ? (size_t)blank + 1 : rest.len, rest.len);
    }
    put_type(&value, 6, t);
    put_z(&entry, 1, "T");
    put_inner(&entry, 2, &value);
    put_inner(&n, 5, &entry);
    if (function != NULL) {
        entry = empty();
        value = empty();
        put_z(&func, 1, function);
        put_inner(&value, 10, &func);
        put_z(&entry, 1, "f");
        put_inner(&entry, 2, &value);
        put_inner(&n, 5, &entry);
    }
    put_inner(graph, field, &n);
}

static void io(tn_buf *signature, uint32_t field, const char *alias, const char *name, tern_dtype dtype)
{
    tn_buf entry = empty(), info = empty();
    put_z(&info, 1, name);
    put_type(&info, 2, dtype);
    put_z(&entry, 1, alias);
    put_inner(&entry, 2, &info);
    put_inner(signature, field, &entry);
}

/* MetaGraphDef{graph, signature "s": x of dtype in, y of dtype out}; takes graph. */
static tn_str meta_graph(tn_buf *graph, tern_dtype in, tern_dtype out)
{
    tn_buf meta = empty(), signature = empty(), entry = empty(), info = empty();
    put_z(&info, 4, "serve");
    put_inner(&meta, 1, &info);
    put_inner(&meta, 2, graph);
    io(&signature, 1, "x", "x:0", in);
    io(&signature, 2, "y", "y:0", out);
    io(&signature, 2, "z", "y:0", out);
    put_z(&entry, 1, "s");
    put_inner(&entry, 2, &signature);
    put_inner(&meta, 5, &entry);
    tn_str copy = tn_arena_dup(&arena, tn_buf_view(&meta));
    tn_buf_free(&meta);
    return copy;
}

static tern_code check(tn_str meta, bool *sums, tern_status *st)
{
    const tn_ov_graph *g;
    tern_signature_set set;
    assert_int_equal(tn_read_meta_graph(meta, &arena, &set, st), TERN_OK);
    tern_code code = tn_ov_graph_read(meta, &arena, &g, st);
    return code == TERN_OK ? tn_ov_graph_check(g, &set.signatures[0], &arena, sums, st) : code;
}

/* A graph of x, "y" of one operation on x and a constant, and what else is put in. */
static tn_buf graph_of(const char *op, const char *inputs, tern_dtype t)
{
    tn_buf g = empty();
    node(&g, 1, "x", "Placeholder", "", t, NULL);
    node(&g, 1, "c", "Const", "", t, NULL);
    node(&g, 1, "y", op, inputs, t, NULL);
    return g;
}

static void assert_refused(tn_str meta, const char *operation)
{
    tern_status st;
    bool sums;
    assert_int_equal(check(meta, &sums, &st), TERN_UNIMPLEMENTED);
    assert_non_null(strstr(st.message, operation));
}

static void assert_served(tn_str meta, bool small)
{
    tern_status st;
    bool sums;
    if (check(meta, &sums, &st) != TERN_OK)
        fail_msg("%s", st.message);
    assert_int_equal(sums, small);
}

/* ---- tests ---- */

static void test_float(void **state)
{
    tn_buf g = graph_of("Mul", "x c", TERN_FLOAT);
    assert_served(meta_graph(&g, TERN_FLOAT, TERN_FLOAT), false);
}

static void test_what_is_not_reached(void **state)
{
    tn_buf g = graph_of("Mul", "x c", TERN_FLOAT);
    node(&g, 1, "save", "AssignVariableOp", "y", TERN_FLOAT, NULL);
    assert_served(meta_graph(&g, TERN_FLOAT, TERN_FLOAT), false);
}

static void test_behind_a_control_input(void **state)
{
    tn_buf g = graph_of("Mul", "x c ^check", TERN_FLOAT);
    node(&g, 1, "check", "Assert", "x", TERN_FLOAT, NULL);
    assert_refused(meta_graph(&g, TERN_FLOAT, TERN_FLOAT), "Assert (\"check\")");
}

/* A function that calls one, each named in another way; in the inner one nothing needs the node. */
static void test_within_functions(void **state)
{
    tn_buf g = graph_of("outer", "x", TERN_FLOAT);
    tn_buf library = empty(), outer = empty(), inner = empty(), signature = empty();
    put_z(&signature, 1, "outer");
    put_inner(&outer, 1, &signature);
    node(&outer, 3, "call", "PartitionedCall", "a", TERN_FLOAT, "inner");
    put_inner(&library, 1, &outer);
    signature = empty();
    put_z(&signature, 1, "inner");
    put_inner(&inner, 1, &signature);
    node(&inner, 3, "count", "AssignAddVariableOp", "", TERN_FLOAT, NULL);
    put_inner(&library, 1, &inner);
    put_inner(&g, 2, &library);
    assert_refused(meta_graph(&g, TERN_FLOAT, TERN_FLOAT), "AssignAddVariableOp (\"count\")");
}

/* Indices and divisors count where clients send them, not where they come from a shape. */
static void test_values_and_shapes(void **state)
{
    tn_buf g = graph_of("GatherV2", "c x c", TERN_INT32);
    assert_refused(meta_graph(&g, TERN_INT32, TERN_INT32), "GatherV2");
    g = graph_of("GatherV2", "x c c", TERN_INT32);
    assert_served(meta_graph(&g, TERN_INT32, TERN_INT32), false);
    g = graph_of("FloorDiv", "c s", TERN_INT32);
    node(&g, 1, "s", "Shape", "x", TERN_INT32, NULL);
    assert_served(meta_graph(&g, TERN_INT32, TERN_FLOAT), false);
    g = graph_of("FloorDiv", "c s:0", TERN_INT32);
    node(&g, 1, "s", "Identity", "x", TERN_INT32, NULL);
    assert_refused(meta_graph(&g, TERN_INT32, TERN_FLOAT), "FloorDiv");
}

static void test_integers(void **state)
{
    tn_buf g = graph_of("AddV2", "x c", TERN_INT32);
    assert_served(meta_graph(&g, TERN_INT32, TERN_INT32), false);
    g = graph_of("AddV2", "x c", TERN_INT64);
    assert_served(meta_graph(&g, TERN_INT64, TERN_INT64), true);
    g = graph_of("Mul", "x c", TERN_INT64);
    assert_refused(meta_graph(&g, TERN_INT64, TERN_INT64), "Mul");
    g = graph_of("AddV2", "x c", TERN_INT8);
    assert_refused(meta_graph(&g, TERN_INT8, TERN_INT8), "AddV2");
    g = graph_of("Sum", "x c", TERN_INT32);
    assert_refused(meta_graph(&g, TERN_INT32, TERN_INT32), "Sum");
    g = graph_of("Sum", "x c", TERN_INT32);
    assert_served(meta_graph(&g, TERN_INT32, TERN_FLOAT), false);
}

static void test_signature_dtypes(void **state)
{
    static const tern_dtype dtypes[] = {TERN_STRING, TERN_DOUBLE, TERN_COMPLEX64, TERN_UINT32, TERN_RESOURCE};
    for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++) {
        tn_buf g = graph_of("Identity", "x", TERN_FLOAT);
        assert_refused(meta_graph(&g, dtypes[i], TERN_FLOAT), "input \"x\"");
        g = graph_of("Identity", "x", TERN_FLOAT);
        assert_refused(meta_graph(&g, TERN_FLOAT, dtypes[i]), "output \"y\"");
    }
}

static void test_fed_operation(void **state)
{
    tn_buf g = empty();
    node(&g, 1, "x", "Tanh", "c", TERN_FLOAT, NULL);
    node(&g, 1, "y", "Neg", "x", TERN_FLOAT, NULL);
    assert_refused(meta_graph(&g, TERN_FLOAT, TERN_FLOAT), "Tanh (\"x\")");
}

/* A loop has a cycle, through which values come back. */
static void test_cycle(void **state)
{
    tn_buf g = graph_of("FloorDiv", "c merge", TERN_INT32);
    node(&g, 1, "merge", "Merge", "c next", TERN_INT32, NULL);
    node(&g, 1, "next", "NextIteration", "add", TERN_INT32, NULL);
    node(&g, 1, "add", "AddV2", "merge x", TERN_INT32, NULL);
    assert_refused(meta_graph(&g, TERN_INT32, TERN_FLOAT), "FloorDiv");
}

static void test_broken(void **state)
{
    tn_buf g = graph_of("Mul", "x c", TERN_FLOAT);
    tn_str meta = meta_graph(&g, TERN_FLOAT, TERN_FLOAT);
    for (size_t n = 0; n < meta.len; n++) {
        const tn_ov_graph *read;
        tern_status st;
        tern_code code = tn_ov_graph_read(tn_str_sub(meta, 0, n), &arena, &read, &st);
        assert_true(code == TERN_OK || code == TERN_DATA_LOSS);
    }
}

/* One signature, its tensors once each, under names of ours; the graph as it was. */
static void test_cut(void **state)
{
    const tn_str tag = TN_STR("serve");
    tern_signature_set set, cut_set;
    tern_status st;
    tn_buf cut = empty();
    tn_buf g = graph_of("Mul", "x c", TERN_FLOAT);
    tn_str meta = meta_graph(&g, TERN_FLOAT, TERN_FLOAT);
    assert_int_equal(tn_read_meta_graph(meta, &arena, &set, &st), TERN_OK);
    tn_ov_graph_cut(meta, &set.signatures[0], &cut);
    assert_false(cut.failed);
    assert_int_equal(tn_read_saved_model(tn_buf_view(&cut), &tag, 1, &arena, &cut_set, &st), TERN_OK);
    assert_int_equal(cut_set.n_signatures, 1);
    const tern_signature *s = &cut_set.signatures[0];
    assert_true(tn_str_eq(s->name, TN_STR("serving_default")));
    assert_int_equal(s->n_inputs, 1);
    assert_int_equal(s->n_outputs, 1);
    assert_true(tn_str_eq(s->inputs[0].name, TN_STR("i0")));
    assert_true(tn_str_eq(s->outputs[0].name, TN_STR("o0")));
    assert_true(tn_str_eq(s->outputs[0].tensor_name, TN_STR("y:0")));
    assert_int_equal(s->outputs[0].dtype, TERN_FLOAT);
    assert_int_equal(tn_ov_first_of(set.signatures[0].outputs, 1), 0);
    tn_buf_free(&cut);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_float, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_not_reached, setup, teardown),
        cmocka_unit_test_setup_teardown(test_behind_a_control_input, setup, teardown),
        cmocka_unit_test_setup_teardown(test_within_functions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_values_and_shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_integers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_signature_dtypes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fed_operation, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cycle, setup, teardown),
        cmocka_unit_test_setup_teardown(test_broken, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cut, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
