/*
 * graph.c - see graph.h.
 *
 * The nodes of the graph are sorted by name once; a signature is walked from its outputs over data and
 * control inputs. Of a function that is called all nodes count, since what has no output there may still be
 * run.
 */
#include "graph.h"

#include <stdlib.h>

#include "codec/pb_wire.h"
#include "fields.h"
#include "refused.h"
#include "rewrite.h"

/* Of what is written down of the nodes while a graph is rewritten. */
#define REWRITE_ARENA_MAX (256u << 20)

enum {
    SAVED_MODEL_SCHEMA = 1,
    SAVED_MODEL_META_GRAPHS = 2,
    META_GRAPH_INFO = 1,
    META_GRAPH_GRAPH = 2,
    META_GRAPH_SIGNATURE_DEF = 5,
    INFO_TAGS = 4,
    FUNCTION_SIGNATURE = 1,
    OP_DEF_INPUT = 2,
    ARG_TYPE = 3,
    ATTR_FUNC = 10,
    LIST_FUNC = 9,
    FUNC_NAME = 1,
    SIGNATURE_INPUTS = 1,
    SIGNATURE_OUTPUTS = 2,
    SIGNATURE_METHOD = 3,
    TENSOR_INFO_NAME = 1,
    TENSOR_INFO_DTYPE = 2
};

/* A node, a function of the library, or an argument of a function. */
typedef struct item {
    tn_str name;
    tn_str bytes; /* NodeDef, FunctionDef; an argument has none */
    bool values;  /* depends on values that clients send */
} item;

/* Sorted by name. */
typedef struct items {
    item *at;
    uint32_t n;
} items;

struct tn_ov_graph {
    items nodes;
    items functions;
};

typedef struct walk {
    const tn_ov_graph *g;
    const tern_signature *signature;
    bool sums;
    bool integers;  /* it has outputs of integers */
    uint32_t *todo; /* nodes, then functions behind them */
    uint32_t n_todo;
    uint8_t *seen; /* by index, functions behind nodes */
    tn_arena *arena;
    tern_status *st;
} walk;

static tern_code broken(tern_status *st)
{
    return tern_fail(st, TERN_DATA_LOSS, "saved_model.pb is broken: the graph cannot be read");
}

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the model's graph");
}

/* The last field of that number; empty when there is none. false: broken. */
static bool bytes_of(tn_str message, uint32_t number, tn_str *out)
{
    tn_pb r = tn_pb_from(message);
    tn_pb_field f = {0};
    *out = TN_STR("");
    while (tn_pb_more(&r)) {
        if (!tn_pb_next(&r, &f))
            return false;
        if (f.number == number && f.type == TN_PB_BYTES)
            *out = f.bytes;
    }
    return true;
}

/* ---- reading ---- */

static int by_name(const void *a, const void *b)
{
    return tn_str_cmp(((const item *)a)->name, ((const item *)b)->name);
}

static item *find(const items *all, tn_str name)
{
    const item key = {.name = name};
    return all->n > 0 ? bsearch(&key, all->at, all->n, sizeof key, by_name) : NULL;
}

/* "^name", "name:1", "name:output:1", "name" */
static tn_str node_of(tn_str input)
{
    if (input.len > 0 && input.ptr[0] == '^')
        input = tn_str_sub(input, 1, input.len);
    ptrdiff_t colon = tn_str_chr(input, ':');
    return colon >= 0 ? tn_str_sub(input, 0, (size_t)colon) : input;
}

/* Number of fields of that number; -1: broken. */
static int64_t count_of(tn_str message, uint32_t number)
{
    tn_pb_field f = {0};
    int64_t count = 0;
    for (tn_pb r = tn_pb_from(message); tn_pb_more(&r);) {
        if (!tn_pb_next(&r, &f))
            return -1;
        count += f.number == number && f.type == TN_PB_BYTES;
    }
    return count;
}

/*
 * The fields `number` of the message, each by its name: in field NODE_NAME of it, or (functions) of its
 * signature. Room for `more` is left behind them.
 */
static tern_code read_items(tn_str message, uint32_t number, bool functions, size_t more, tn_arena *arena,
                            items *out, tern_status *st)
{
    tn_pb_field f = {0};
    int64_t count = count_of(message, number);
    if (count < 0)
        return broken(st);
    out->n = 0;
    out->at = tn_arena_zalloc(arena, ((size_t)count + more) * sizeof *out->at);
    if (out->at == NULL)
        return no_memory(st);
    for (tn_pb r = tn_pb_from(message); tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        if (f.number != number || f.type != TN_PB_BYTES)
            continue;
        tn_str named = f.bytes;
        item *it = &out->at[out->n++];
        if (functions && !bytes_of(f.bytes, FUNCTION_SIGNATURE, &named))
            return broken(st);
        it->bytes = f.bytes;
        if (!bytes_of(named, NODE_NAME, &it->name))
            return broken(st);
    }
    return TERN_OK;
}

/* ---- what depends on values ---- */

/*
 * Whether this node does, by what is known of its inputs. A node that is broken: no; it is found out later.
 */
static bool depends(const items *scope, const item *node)
{
    tn_pb_field f = {0};
    tn_str op = TN_STR("");
    bool values = false;
    for (tn_pb r = tn_pb_from(node->bytes); tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        if (f.type != TN_PB_BYTES)
            continue;
        if (f.number == NODE_OP)
            op = f.bytes;
        if (f.number != NODE_INPUT || (f.bytes.len > 0 && f.bytes.ptr[0] == '^'))
            continue;
        const item *from = find(scope, node_of(f.bytes));
        values |= from != NULL && from->values;
    }
    return (values && !tn_ov_forgets_values(op)) || tn_str_eq(op, TN_STR("Placeholder"));
}

/* Until nothing changes: nodes stand in any order, and loops are cycles. */
static void spread(items *scope)
{
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t i = 0; i < scope->n; i++) {
            item *node = &scope->at[i];
            if (node->values || !depends(scope, node))
                continue;
            node->values = changed = true;
        }
    }
}

/* Nodes and arguments of a function. What is given to it is taken for values, unless it is a variable. */
static tern_code read_function(tn_str function, tn_arena *arena, items *out, tern_status *st)
{
    tn_str signature, name;
    tn_pb_field f = {0};
    if (!bytes_of(function, FUNCTION_SIGNATURE, &signature))
        return broken(st);
    int64_t arguments = count_of(signature, OP_DEF_INPUT);
    if (arguments < 0)
        return broken(st);
    tern_code code = read_items(function, FUNCTION_NODE, false, (size_t)arguments, arena, out, st);
    for (tn_pb r = tn_pb_from(signature); code == TERN_OK && tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        if (f.number != OP_DEF_INPUT || f.type != TN_PB_BYTES)
            continue;
        tn_pb_field a = {0};
        uint64_t type = 0;
        if (!bytes_of(f.bytes, NODE_NAME, &name))
            return broken(st);
        for (tn_pb arg = tn_pb_from(f.bytes); tn_pb_more(&arg) && tn_pb_next(&arg, &a);)
            if (a.number == ARG_TYPE && a.type == TN_PB_VARINT)
                type = a.value;
        out->at[out->n++] = (item){.name = name, .values = type != TERN_RESOURCE};
    }
    if (code != TERN_OK)
        return code;
    qsort(out->at, out->n, sizeof *out->at, by_name);
    spread(out);
    return TERN_OK;
}

tern_code tn_ov_graph_read(tn_str meta_graph, tn_arena *arena, const tn_ov_graph **out, tern_status *st)
{
    tn_str graph, library;
    tn_ov_graph *g = tn_arena_zalloc(arena, sizeof *g);
    if (g == NULL)
        return no_memory(st);
    if (!bytes_of(meta_graph, META_GRAPH_GRAPH, &graph) || !bytes_of(graph, GRAPH_LIBRARY, &library))
        return broken(st);
    tern_code code = read_items(graph, GRAPH_NODE, false, 0, arena, &g->nodes, st);
    if (code == TERN_OK)
        code = read_items(library, LIBRARY_FUNCTION, true, 0, arena, &g->functions, st);
    if (code != TERN_OK)
        return code;
    qsort(g->nodes.at, g->nodes.n, sizeof *g->nodes.at, by_name);
    qsort(g->functions.at, g->functions.n, sizeof *g->functions.at, by_name);
    spread(&g->nodes);
    *out = g;
    return TERN_OK;
}

/* ---- looking through ---- */

static void want(walk *w, const items *all, uint32_t base, tn_str name)
{
    const item *found = find(all, name);
    if (found == NULL)
        return;
    uint32_t i = base + (uint32_t)(found - all->at);
    if (w->seen[i])
        return;
    w->seen[i] = 1;
    w->todo[w->n_todo++] = i;
}

static void want_node(walk *w, tn_str input)
{
    want(w, &w->g->nodes, 0, node_of(input));
}

static void want_function(walk *w, tn_str name)
{
    want(w, &w->g->functions, w->g->nodes.n, name);
}

static bool want_func(walk *w, tn_str name_attr_list)
{
    tn_str name;
    if (!bytes_of(name_attr_list, FUNC_NAME, &name))
        return false;
    want_function(w, name);
    return true;
}

static bool want_list(walk *w, tn_str list)
{
    tn_pb_field f = {0};
    for (tn_pb r = tn_pb_from(list); tn_pb_more(&r);)
        if (!tn_pb_next(&r, &f) || (f.number == LIST_FUNC && f.type == TN_PB_BYTES && !want_func(w, f.bytes)))
            return false;
    return true;
}

static bool is_main_type(tn_str key)
{
    return tn_str_eq(key, TN_STR("T")) || tn_str_eq(key, TN_STR("Tparams")) ||
           tn_str_eq(key, TN_STR("dtype"));
}

/* One attribute: its dtype into the node, its functions onto the list. */
static bool look_at_attr(walk *w, tn_str entry, tn_ov_node *node)
{
    tn_str key, value;
    tn_pb_field f = {0};
    if (!bytes_of(entry, ENTRY_KEY, &key) || !bytes_of(entry, ENTRY_VALUE, &value))
        return false;
    for (tn_pb r = tn_pb_from(value); tn_pb_more(&r);) {
        if (!tn_pb_next(&r, &f))
            return false;
        if (f.number == ATTR_TYPE && f.type == TN_PB_VARINT && f.value < 64) {
            node->types |= UINT64_C(1) << f.value;
            if (is_main_type(key))
                node->t = (tern_dtype)f.value;
        } else if (f.number == ATTR_FUNC && f.type == TN_PB_BYTES) {
            if (!want_func(w, f.bytes))
                return false;
        } else if (f.number == ATTR_LIST && f.type == TN_PB_BYTES && !want_list(w, f.bytes)) {
            return false;
        }
    }
    return true;
}

static tern_code look_at_node(walk *w, const items *scope, const item *it)
{
    tn_ov_node node = {.op = TN_STR(""), .integers = w->integers};
    tn_pb_field f = {0};
    uint32_t inputs = 0;
    for (tn_pb r = tn_pb_from(it->bytes); tn_pb_more(&r);) {
        if (!tn_pb_next(&r, &f))
            return broken(w->st);
        if (f.type != TN_PB_BYTES)
            continue;
        if (f.number == NODE_OP) {
            node.op = f.bytes;
        } else if (f.number == NODE_ATTR && !look_at_attr(w, f.bytes, &node)) {
            return broken(w->st);
        } else if (f.number == NODE_INPUT) {
            const item *from = find(scope, node_of(f.bytes));
            if (from != NULL && from->values && inputs < 64 && f.bytes.ptr[0] != '^')
                node.values |= UINT64_C(1) << inputs;
            inputs++;
        }
    }
    want_function(w, node.op);
    w->sums |= tn_ov_is_sum(&node);
    const char *why = tn_ov_refused(&node);
    if (why == NULL)
        return TERN_OK;
    return tern_fail(
        w->st, TERN_UNIMPLEMENTED,
        "OpenVINO does not serve this model: in signature \"%.*s\" the operation %.*s (\"%.*s\") "
        "%s; use the engine tensorflow",
        TN_FMT(w->signature->name), TN_FMT(node.op), TN_FMT(it->name), why);
}

/* A node of the graph, and on to what it needs. */
static tern_code look_at_graph(walk *w, const item *it)
{
    tn_pb_field f = {0};
    tern_code code = look_at_node(w, &w->g->nodes, it);
    for (tn_pb r = tn_pb_from(it->bytes); code == TERN_OK && tn_pb_more(&r) && tn_pb_next(&r, &f);)
        if (f.number == NODE_INPUT && f.type == TN_PB_BYTES)
            want_node(w, f.bytes);
    return code;
}

/* All nodes of a function. */
static tern_code look_at_function(walk *w, const item *it)
{
    items scope;
    tern_code code = read_function(it->bytes, w->arena, &scope, w->st);
    for (uint32_t i = 0; code == TERN_OK && i < scope.n; i++)
        code = look_at_node(w, &scope, &scope.at[i]);
    return code;
}

/* What a signature's tensors are, before any node is looked at. */
static tern_code check_ios(const tern_signature *s, const tern_io *ios, uint32_t n, const char *what,
                           tern_status *st)
{
    for (uint32_t i = 0; i < n; i++) {
        const char *why = tn_ov_refused_io(ios[i].dtype);
        if (why != NULL)
            return tern_fail(st, TERN_UNIMPLEMENTED,
                             "OpenVINO does not serve this model: in signature \"%.*s\" the %s \"%.*s\" "
                             "(\"%.*s\") %s; use the engine tensorflow",
                             TN_FMT(s->name), what, TN_FMT(ios[i].name), TN_FMT(ios[i].tensor_name), why);
    }
    return TERN_OK;
}

/* OpenVINO feeds placeholders only: others are given a constant, or computed all the same. */
static tern_code check_feeds(walk *w)
{
    const tern_signature *s = w->signature;
    for (uint32_t i = 0; i < s->n_inputs; i++) {
        tn_str op;
        const item *node = find(&w->g->nodes, node_of(s->inputs[i].tensor_name));
        if (node == NULL)
            continue;
        if (!bytes_of(node->bytes, NODE_OP, &op))
            return broken(w->st);
        if (!tn_str_eq(op, TN_STR("Placeholder")))
            return tern_fail(w->st, TERN_UNIMPLEMENTED,
                             "OpenVINO does not serve this model: in signature \"%.*s\" the operation %.*s "
                             "(\"%.*s\") is fed from outside, which OpenVINO does for placeholders only; use "
                             "the engine tensorflow",
                             TN_FMT(s->name), TN_FMT(op), TN_FMT(node->name));
    }
    return TERN_OK;
}

tern_code tn_ov_graph_check(const tn_ov_graph *g, const tern_signature *s, tn_arena *arena, bool *sums,
                            tern_status *st)
{
    size_t n = (size_t)g->nodes.n + g->functions.n;
    walk w = {.g = g, .signature = s, .arena = arena, .st = st};
    w.todo = tn_arena_array(arena, n, sizeof *w.todo);
    w.seen = tn_arena_zalloc(arena, n + 1);
    if (w.todo == NULL || w.seen == NULL)
        return no_memory(st);
    tern_code code = check_ios(s, s->inputs, s->n_inputs, "input", st);
    if (code == TERN_OK)
        code = check_ios(s, s->outputs, s->n_outputs, "output", st);
    if (code == TERN_OK)
        code = check_feeds(&w);
    for (uint32_t i = 0; i < s->n_outputs; i++) {
        tern_dtype dtype = s->outputs[i].dtype;
        w.integers |=
            dtype != TERN_FLOAT && dtype != TERN_HALF && dtype != TERN_BFLOAT16 && dtype != TERN_BOOL;
        want_node(&w, s->outputs[i].tensor_name);
    }
    while (code == TERN_OK && w.n_todo > 0) {
        uint32_t i = w.todo[--w.n_todo];
        code = i < g->nodes.n ? look_at_graph(&w, &g->nodes.at[i])
                              : look_at_function(&w, &g->functions.at[i - g->nodes.n]);
    }
    *sums = w.sums;
    return code;
}

bool tn_ov_has_tensors(const tern_signature *s)
{
    for (uint32_t i = 0; i < s->n_outputs; i++)
        if (s->outputs[i].dtype == TERN_INVALID)
            return false;
    return s->n_outputs > 0;
}

/* ---- cutting ---- */

uint32_t tn_ov_first_of(const tern_io *ios, uint32_t id)
{
    uint32_t first = 0;
    while (!tn_str_eq(ios[first].tensor_name, ios[id].tensor_name))
        first++;
    return first;
}

/* A TensorInfo, as far as the front end reads it. */
static void put_tensor(tn_buf *b, uint32_t field, char kind, uint32_t id, const tern_io *io, size_t max)
{
    tn_buf info, entry;
    char key[16];
    int n = snprintf(key, sizeof key, "%c%u", kind, id);
    tn_buf_init(&info, max);
    tn_buf_init(&entry, max);
    tn_pb_add_bytes(&info, TENSOR_INFO_NAME, io->tensor_name);
    tn_pb_add_number(&info, TENSOR_INFO_DTYPE, io->dtype);
    tn_pb_add_bytes(&entry, ENTRY_KEY, (tn_str){key, (size_t)n});
    tn_pb_add_bytes(&entry, ENTRY_VALUE, tn_buf_view(&info));
    tn_pb_add_bytes(b, field, tn_buf_view(&entry));
    b->failed |= info.failed | entry.failed;
    tn_buf_free(&info);
    tn_buf_free(&entry);
}

static void put_signature(const tern_signature *s, tn_buf *out, size_t max)
{
    tn_buf signature, entry;
    tn_buf_init(&signature, max);
    tn_buf_init(&entry, max);
    for (uint32_t i = 0; i < s->n_inputs; i++)
        if (tn_ov_first_of(s->inputs, i) == i)
            put_tensor(&signature, SIGNATURE_INPUTS, 'i', i, &s->inputs[i], max);
    for (uint32_t i = 0; i < s->n_outputs; i++)
        if (tn_ov_first_of(s->outputs, i) == i)
            put_tensor(&signature, SIGNATURE_OUTPUTS, 'o', i, &s->outputs[i], max);
    tn_pb_add_bytes(&signature, SIGNATURE_METHOD, TN_STR("tensorflow/serving/predict"));
    tn_pb_add_bytes(&entry, ENTRY_KEY, TN_STR("serving_default"));
    tn_pb_add_bytes(&entry, ENTRY_VALUE, tn_buf_view(&signature));
    tn_pb_add_bytes(out, META_GRAPH_SIGNATURE_DEF, tn_buf_view(&entry));
    out->failed |= signature.failed | entry.failed;
    tn_buf_free(&signature);
    tn_buf_free(&entry);
}

/* In words that OpenVINO runs faster, where there are such. */
static void put_graph(tn_buf *meta, tn_str graph, size_t max)
{
    tn_arena arena;
    tn_buf rewritten;
    tn_arena_init(&arena, REWRITE_ARENA_MAX);
    tn_buf_init(&rewritten, max);
    bool changed = tn_ov_rewrite(graph, &arena, &rewritten) && !rewritten.failed;
    tn_pb_add_bytes(meta, META_GRAPH_GRAPH, changed ? tn_buf_view(&rewritten) : graph);
    tn_buf_free(&rewritten);
    tn_arena_free(&arena);
}

/* MetaInfoDef{tags: "serve"} in place of the model's, and its signatures left out. */
void tn_ov_graph_cut(tn_str meta_graph, const tern_signature *s, tn_buf *out)
{
    tn_buf info, meta;
    tn_pb_field f = {0};
    size_t max = meta_graph.len + (64u << 20);
    tn_buf_init(&info, 64);
    tn_buf_init(&meta, max);
    tn_pb_add_bytes(&info, INFO_TAGS, TN_STR("serve"));
    tn_pb_add_bytes(&meta, META_GRAPH_INFO, tn_buf_view(&info));
    put_signature(s, &meta, max);
    for (tn_pb r = tn_pb_from(meta_graph); tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        if (f.type == TN_PB_BYTES && f.number == META_GRAPH_GRAPH)
            put_graph(&meta, f.bytes, max);
        else if (f.type == TN_PB_BYTES && f.number != META_GRAPH_SIGNATURE_DEF && f.number != META_GRAPH_INFO)
            tn_pb_add_bytes(&meta, f.number, f.bytes);
    }
    tn_pb_add_number(out, SAVED_MODEL_SCHEMA, 1);
    tn_pb_add_bytes(out, SAVED_MODEL_META_GRAPHS, tn_buf_view(&meta));
    out->failed |= info.failed | meta.failed;
    tn_buf_free(&info);
    tn_buf_free(&meta);
}
