/*
 * test_openvino_rewrite.c - which graphs are said in other words for OpenVINO, and which stay as they are: of
 * each pattern one that fits, and ones with a single part that does not. That both compute the same is shown
 * by tests/server/test_engine_openvino.py (test_idioms), against TensorFlow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "codec/pb_wire.h"
#include "rewrite.h"
#include "tern/tensor.h"

/* ---- graphs ---- */

static tn_buf empty(void)
{
    tn_buf b;
    tn_buf_init(&b, 1u << 20);
    return b;
}

static void put_inner(tn_buf *b, uint32_t field, tn_buf *inner)
{
    tn_pb_add_bytes(b, field, tn_buf_view(inner));
    tn_buf_free(inner);
}

static void attr(tn_buf *node, const char *key, tn_buf *value)
{
    tn_buf entry = empty();
    tn_pb_add_bytes(&entry, 1, tn_str_from(key));
    put_inner(&entry, 2, value);
    put_inner(node, 5, &entry);
}

/* A number after the '=' of a word, and where it ends. */
static int64_t number(const char **at)
{
    char *end;
    int64_t v = strtoll(*at, &end, 10);
    *at = *end == ',' ? end + 1 : end;
    return v;
}

static void dims(tn_buf *shape, const char *at)
{
    while (*at != '\0') {
        tn_buf dim = empty();
        tn_pb_add_number(&dim, 1, (uint64_t)number(&at));
        put_inner(shape, 2, &dim);
    }
}

/*
 * One word of a line: "key=" and "f" or "i" (float, int32), #number, "text", [numbers], {dims of
 * _output_shapes}, or <ints of a Const>.
 */
static void put_word(tn_buf *node, const char *word)
{
    char key[32], rest[128];
    tn_buf value = empty(), inner = empty(), shape = empty();
    if (sscanf(word, "%31[^=]=%127s", key, rest) < 2)
        fail_msg("bad word: %s", word);
    const char *at = rest + 1;
    char *close = strpbrk(rest, "]}>");
    if (close != NULL)
        *close = '\0';
    if (rest[0] == '#') {
        tn_pb_add_number(&value, 3, (uint64_t)number(&at));
    } else if (rest[0] == '[') {
        while (*at != '\0')
            tn_pb_add_number(&inner, 3, (uint64_t)number(&at));
        tn_pb_add_bytes(&value, 1, tn_buf_view(&inner));
    } else if (rest[0] == '{') {
        dims(&shape, at);
        tn_pb_add_bytes(&inner, 7, tn_buf_view(&shape));
        tn_pb_add_bytes(&value, 1, tn_buf_view(&inner));
    } else if (rest[0] == '<') {
        char count[8];
        int n = *at != '\0';
        for (const char *c = at; *c != '\0'; c++)
            n += *c == ',';
        snprintf(count, sizeof count, "%d", n);
        dims(&shape, count);
        tn_pb_add_number(&inner, 1, TERN_INT32);
        tn_pb_add_bytes(&inner, 2, tn_buf_view(&shape));
        while (*at != '\0')
            tn_pb_add_number(&inner, 7, (uint64_t)number(&at));
        tn_pb_add_bytes(&value, 8, tn_buf_view(&inner));
    } else if (strcmp(rest, "f") == 0 || strcmp(rest, "i") == 0) {
        tn_pb_add_number(&value, 6, rest[0] == 'f' ? TERN_FLOAT : TERN_INT32);
    } else {
        tn_pb_add_bytes(&value, 2, tn_str_from(rest));
    }
    attr(node, key, &value);
    tn_buf_free(&inner);
    tn_buf_free(&shape);
}

/* "name op inputs... attributes..." */
static void put_line(tn_buf *graph, uint32_t field, const char *line)
{
    tn_buf node = empty();
    char word[160];
    int n, place = 0;
    for (; sscanf(line, "%159s%n", word, &n) == 1; line += n, place++) {
        if (place < 2)
            tn_pb_add_bytes(&node, place == 0 ? 1 : 2, tn_str_from(word));
        else if (strchr(word, '=') != NULL)
            put_word(&node, word);
        else
            tn_pb_add_bytes(&node, 3, tn_str_from(word));
    }
    put_inner(graph, field, &node);
}

/* The reader's input in the graph as OpenVINO gets it; empty: nothing was rewritten. */
static tn_str read_input(tn_str graph, char *text, size_t size)
{
    tn_pb_field f = {0}, g = {0};
    tn_str name = TN_STR("");
    for (tn_pb r = tn_pb_from(graph); tn_pb_more(&r);) {
        assert_true(tn_pb_next(&r, &f));
        bool reader = false;
        for (tn_pb n = tn_pb_from(f.bytes); f.number == 1 && tn_pb_more(&n);) {
            assert_true(tn_pb_next(&n, &g));
            reader |= g.number == 1 && tn_str_eq(g.bytes, TN_STR("reader"));
            if (reader && g.number == 3)
                name = g.bytes;
        }
    }
    snprintf(text, size, "%.*s", TN_FMT(name));
    return tn_str_from(text);
}

/*
 * Whether the node "last" of these lines is replaced for its reader. `line`, if any, takes the place of the
 * one of the same name.
 */
static bool rewritten(const char *const *lines, const char *line)
{
    tn_arena arena;
    tn_buf graph = empty(), out = empty();
    char text[64];
    bool used = line == NULL;
    tn_arena_init(&arena, 1u << 20);
    for (; *lines != NULL; lines++) {
        size_t name = strcspn(*lines, " ");
        bool this = line != NULL && strncmp(line, *lines, name + 1) == 0;
        put_line(&graph, 1, this ? line : *lines);
        used |= this;
    }
    put_line(&graph, 1, "reader Identity last T=f");
    if (!used)
        fail_msg("no such line: %s", line);
    bool changed = tn_ov_rewrite(tn_buf_view(&graph), &arena, &out);
    assert_false(out.failed);
    if (changed)
        assert_true(tn_str_starts(read_input(tn_buf_view(&out), text, sizeof text), TN_STR("tern/")));
    else
        assert_int_equal(out.len, 0);
    tn_buf_free(&graph);
    tn_buf_free(&out);
    tn_arena_free(&arena);
    return changed;
}

/* others: ended by NULL; each alone keeps the graph as it is. */
static void check(const char *const *lines, const char *const *others)
{
    assert_true(rewritten(lines, NULL));
    for (; *others != NULL; others++)
        if (rewritten(lines, *others))
            fail_msg("rewritten with: %s", *others);
}

/* ---- tests ---- */

static void test_gelu(void **state)
{
    static const char *const lines[] = {"b Placeholder", "c Const",         "n Neg b T=f",
                                        "m Mul n c T=f", "last Erfc m T=f", NULL};
    static const char *const others[] = {"n Abs b T=f", "m AddV2 n c T=f", "last Erfc m T=i", NULL};
    check(lines, others);
    assert_true(rewritten(lines, "m Mul c n:0 T=f"));
}

static void test_tensordot(void **state)
{
    static const char *const lines[] = {
        "x Placeholder _output_shapes={-1,-1,8}",
        "w Const _output_shapes={8,5}",
        "free Const value=<0,1>",
        "axes Const value=<2>",
        "zero Const value=<0>",
        "order ConcatV2 free axes zero T=i N=#2",
        "turned Transpose x order T=f",
        "rows Reshape turned any T=f",
        "product MatMul rows w T=f",
        "shape Shape x T=f",
        "kept GatherV2 shape free zero Tparams=i",
        "units Const value=<5>",
        "dims ConcatV2 kept units zero T=i N=#2",
        "last Reshape product dims T=f",
        NULL,
    };
    static const char *const others[] = {
        "x Placeholder _output_shapes={-1,8}",
        "x Placeholder _output_shapes={-1,-1,-1}",
        "x Placeholder",
        "w Const _output_shapes={-1,5}",
        "free Const value=<1,0>",
        "axes Const value=<1>",
        "order ConcatV2 axes free zero T=i N=#2",
        "product MatMul rows w T=f transpose_b=#1",
        "product MatMul rows w T=i",
        "shape Shape turned T=f",
        "kept GatherV2 shape axes zero Tparams=i",
        "units Const value=<4>",
        NULL,
    };
    check(lines, others);
}

static void test_conv1d(void **state)
{
    static const char *const lines[] = {
        "x Placeholder _output_shapes={-1,-1,16}",
        "w Const _output_shapes={3,16,5}",
        "at Const value=<-3>",
        "zero Const value=<0>",
        "ex ExpandDims x at T=f",
        "ew ExpandDims w zero T=f",
        "conv Conv2D ex ew T=f strides=[1,1,1,1] padding=SAME",
        "last Squeeze conv T=f squeeze_dims=[-3]",
        NULL,
    };
    static const char *const others[] = {
        "x Placeholder",
        "x Placeholder _output_shapes={-1,-1,32}", /* groups */
        "w Const _output_shapes={3,8,5}",
        "w Const _output_shapes={7,16,5}",
        "w Const _output_shapes={-1,16,5}",
        "at Const value=<-2>",
        "zero Const value=<1>",
        "conv Conv2D ex ew T=f strides=[1,1,2,1] padding=SAME",
        "conv Conv2D ex ew T=f strides=[1,1,1,1] padding=VALID",
        "conv Conv2D ex ew T=f strides=[1,1,1,1] padding=SAME dilations=[1,1,2,1]",
        "conv Conv2D ex ew T=f strides=[1,1,1,1] padding=SAME data_format=NCHW",
        "conv Conv2D ex ew T=i strides=[1,1,1,1] padding=SAME",
        "last Squeeze conv T=f squeeze_dims=[2]",
        "last Squeeze conv T=f",
        NULL,
    };
    check(lines, others);
    assert_true(rewritten(lines, "at Const value=<1>"));
}

static void test_dilated(void **state)
{
    static const char *const lines[] = {
        "x Placeholder _output_shapes={-1,-1,16}",
        "w Const _output_shapes={3,16,5}",
        "at Const value=<-3>",
        "zero Const value=<0>",
        "block Const value=<2>",
        "pads Const",
        "crops Const",
        "spread SpaceToBatchND x block pads T=f _output_shapes={-1,-1,16}",
        "ex ExpandDims spread at T=f",
        "ew ExpandDims w zero T=f",
        "conv Conv2D ex ew T=f strides=[1,1,1,1] padding=VALID",
        "thin Squeeze conv T=f squeeze_dims=[-3]",
        "last BatchToSpaceND thin block crops T=f",
        NULL,
    };
    static const char *const others[] = {
        "block Const value=<2,2>",
        "block Const value=<0>",
        "spread SpaceToBatchND x block pads T=f",
        "spread BatchToSpaceND x block pads T=f _output_shapes={-1,-1,16}",
        "last BatchToSpaceND thin zero crops T=f",
        "thin Squeeze conv T=f squeeze_dims=[1,2]",
        NULL,
    };
    check(lines, others);
}

static void test_take(void **state)
{
    static const char *const lines[] = {
        "x Placeholder",
        "i Placeholder _output_shapes={-1,-1,1}",
        "size Const value=<16>",
        "batch Const",
        "length Const",
        "some Const",
        "xs Pack batch length size T=i N=#3",
        "is Pack batch some size T=i N=#3",
        "wide BroadcastTo x xs T=f",
        "index BroadcastTo i is T=i",
        "null Const _output_shapes={}",
        "less Less index null T=i",
        "n Const _output_shapes={}",
        "sum AddV2 index n T=i",
        "select SelectV2 less sum index T=i",
        "perm Const value=<0,2,1>",
        "a Transpose wide perm T=f",
        "b Transpose select perm T=i",
        "ashape Shape a T=f",
        "bshape Shape b T=i",
        "end Const value=<-1>",
        "alast StridedSlice ashape end any any T=i shrink_axis_mask=#1",
        "blast StridedSlice bshape end any any T=i shrink_axis_mask=#1",
        "aflat Pack end alast T=i N=#2",
        "bflat Pack end blast T=i N=#2",
        "rows Reshape a aflat T=f",
        "which Reshape b bflat T=i",
        "one Const value=<1>",
        "gather GatherV2 rows which one Tparams=f Tindices=i batch_dims=#1",
        "back Reshape gather bshape T=f",
        "last Transpose back perm T=f",
        NULL,
    };
    static const char *const others[] = {
        "i Placeholder _output_shapes={-1,-1,16}",
        "i Placeholder",
        "xs Pack some length size T=i N=#3",
        "is Pack batch some one T=i N=#3",
        "null Const _output_shapes={16}",
        "n Const",
        "sum AddV2 i n T=i",
        "select SelectV2 less index sum T=i",
        "perm Const value=<0,1,2>",
        "alast StridedSlice bshape end any any T=i shrink_axis_mask=#1",
        "blast StridedSlice bshape end any any T=i",
        "one Const value=<0>",
        "gather GatherV2 rows which one Tparams=f Tindices=i",
        "gather GatherV2 rows which one Tparams=i Tindices=i batch_dims=#1",
        "back Reshape gather ashape T=f",
        NULL,
    };
    check(lines, others);
}

/*
 * Inputs within a function name an output of a node; what is returned stays, and so does the graph around it.
 */
static void test_function(void **state)
{
    static const char *const lines[] = {"n Neg b T=f", "m Mul n:y:0 c T=f", "last Erfc m:z:0 T=f",
                                        "reader Identity last:y:0 T=f"};
    tn_arena arena;
    tn_buf graph = empty(), library = empty(), function = empty(), out = empty();
    tn_arena_init(&arena, 1u << 20);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        put_line(&function, 3, lines[i]);
    put_inner(&library, 1, &function);
    put_line(&graph, 1, "call PartitionedCall");
    put_inner(&graph, 2, &library);
    tn_pb_add_number(&graph, 3, 7);
    assert_true(tn_ov_rewrite(tn_buf_view(&graph), &arena, &out));
    assert_false(out.failed);
    assert_true(tn_str_find(tn_buf_view(&out), TN_STR("call")) >= 0);
    assert_true(tn_str_find(tn_buf_view(&out), TN_STR("tern/0:z:0")) >= 0);
    assert_true(tn_str_find(tn_buf_view(&out), TN_STR("last:y:0")) < 0);
    assert_true(tn_str_ends(tn_buf_view(&out), TN_STR("\x18\x07")));
    for (size_t n = 0; n < graph.len; n++) { /* cut anywhere */
        tn_buf_clear(&out);
        (void)tn_ov_rewrite(tn_str_sub(tn_buf_view(&graph), 0, n), &arena, &out);
    }
    tn_buf_free(&graph);
    tn_buf_free(&out);
    tn_arena_free(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gelu),    cmocka_unit_test(test_tensordot), cmocka_unit_test(test_conv1d),
        cmocka_unit_test(test_dilated), cmocka_unit_test(test_take),      cmocka_unit_test(test_function),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
