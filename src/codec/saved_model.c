/*
 * codec/saved_model.c - see codec/saved_model.h.
 */
#include "codec/saved_model.h"

#include <stdlib.h>

#include "codec/pb_wire.h"

/* Field numbers: saved_model.proto, meta_graph.proto, tensor_shape.proto. */
enum {
    SAVED_MODEL_META_GRAPHS = 2,
    META_GRAPH_INFO = 1,
    META_GRAPH_SIGNATURE_DEF = 5,
    INFO_TAGS = 4,
    ENTRY_KEY = 1,
    ENTRY_VALUE = 2,
    SIGNATURE_INPUTS = 1,
    SIGNATURE_OUTPUTS = 2,
    SIGNATURE_METHOD = 3,
    SIGNATURE_DEFAULTS = 4,
    TENSOR_INFO_NAME = 1,
    TENSOR_INFO_DTYPE = 2,
    TENSOR_INFO_SHAPE = 3,
    SHAPE_DIM = 2,
    SHAPE_UNKNOWN_RANK = 3,
    DIM_SIZE = 1,
    SIGNATURE_MAP_ENTRY = 1
};

#define MAX_SIGNATURES 4096
#define MAX_IOS        65536

static tern_code broken(tern_status *st, const char *what)
{
    return tern_fail(st, TERN_DATA_LOSS, "saved_model.pb is broken: %s cannot be read", what);
}

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory for the model's signatures");
}

/* Number of fields of that number; -1 when the message is broken. */
static int64_t count_fields(tn_str message, uint32_t number)
{
    tn_pb r = tn_pb_from(message);
    tn_pb_field f = {0};
    int64_t n = 0;
    while (tn_pb_more(&r)) {
        if (!tn_pb_next(&r, &f))
            return -1;
        n += f.number == number && f.type == TN_PB_BYTES;
    }
    return n;
}

static bool read_entry(tn_str bytes, tn_str *key, tn_str *value)
{
    tn_pb r = tn_pb_from(bytes);
    tn_pb_field f = {0};
    *key = *value = TN_STR("");
    while (tn_pb_more(&r)) {
        if (!tn_pb_next(&r, &f))
            return false;
        if (f.number == ENTRY_KEY && f.type == TN_PB_BYTES)
            *key = f.bytes;
        else if (f.number == ENTRY_VALUE && f.type == TN_PB_BYTES)
            *value = f.bytes;
    }
    return true;
}

static bool read_dim(tn_str bytes, int64_t *size)
{
    tn_pb r = tn_pb_from(bytes);
    tn_pb_field f = {0};
    *size = 0;
    while (tn_pb_more(&r)) {
        if (!tn_pb_next(&r, &f))
            return false;
        if (f.number == DIM_SIZE && f.type == TN_PB_VARINT)
            *size = (int64_t)f.value;
    }
    return true;
}

static tern_code read_shape(tn_str bytes, tn_arena *arena, tern_io *io, tern_status *st)
{
    tn_pb r = tn_pb_from(bytes);
    tn_pb_field f = {0};
    int64_t rank = count_fields(bytes, SHAPE_DIM);
    bool unknown = false;
    if (rank < 0 || rank > TERN_MAX_RANK)
        return broken(st, "a tensor's shape");
    int64_t *dims = tn_arena_array(arena, (size_t)rank, sizeof *dims);
    if (dims == NULL)
        return no_memory(st);
    for (size_t i = 0; tn_pb_more(&r) && tn_pb_next(&r, &f);) {
        if (f.number == SHAPE_DIM && f.type == TN_PB_BYTES && !read_dim(f.bytes, &dims[i++]))
            return broken(st, "a tensor's dimension");
        if (f.number == SHAPE_UNKNOWN_RANK && f.type == TN_PB_VARINT)
            unknown = f.value != 0;
    }
    io->rank = unknown ? -1 : (int32_t)rank;
    io->dims = dims;
    return TERN_OK;
}

static tern_code read_tensor_info(tn_str bytes, tn_arena *arena, tern_io *io, tern_status *st)
{
    tn_pb r = tn_pb_from(bytes);
    tn_pb_field f = {0};
    tern_code code = TERN_OK;
    while (code == TERN_OK && tn_pb_more(&r)) {
        if (!tn_pb_next(&r, &f))
            return broken(st, "a TensorInfo");
        if (f.number == TENSOR_INFO_NAME && f.type == TN_PB_BYTES)
            io->tensor_name = tn_arena_dup(arena, f.bytes);
        else if (f.number == TENSOR_INFO_DTYPE && f.type == TN_PB_VARINT)
            io->dtype = (tern_dtype)f.value;
        else if (f.number == TENSOR_INFO_SHAPE && f.type == TN_PB_BYTES)
            code = read_shape(f.bytes, arena, io, st);
    }
    return code;
}

/* One entry of a map field: key and value are slices of the message. */
typedef struct entry {
    tn_str key;
    tn_str value;
    tn_str bytes; /* the whole entry */
} entry;

/* Entries with one key stay in the order of the message. */
static int by_key(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    int order = tn_str_cmp(x->key, y->key);
    return order != 0 ? order : (x->bytes.ptr > y->bytes.ptr) - (x->bytes.ptr < y->bytes.ptr);
}

/*
 * The entries of map field `number`, sorted by key; of a key that comes twice the last one counts. `what`
 * names the message in errors.
 */
static tern_code read_map(tn_str message, uint32_t number, int64_t most, const char *what, tn_arena *arena,
                          entry **out, uint32_t *n, tern_status *st)
{
    tn_pb r = tn_pb_from(message);
    tn_pb_field f = {0};
    uint32_t used = 0, kept = 0;
    int64_t count = count_fields(message, number);
    if (count < 0 || count > most)
        return broken(st, what);
    entry *entries = tn_arena_array(arena, (size_t)count, sizeof *entries);
    if (entries == NULL)
        return no_memory(st);
    while (tn_pb_more(&r) && tn_pb_next(&r, &f)) {
        if (f.number != number || f.type != TN_PB_BYTES)
            continue;
        entry *e = &entries[used++];
        e->bytes = f.bytes;
        if (!read_entry(f.bytes, &e->key, &e->value))
            return broken(st, what);
    }
    qsort(entries, used, sizeof *entries, by_key);
    for (uint32_t i = 0; i < used; i++)
        if (i + 1 == used || !tn_str_eq(entries[i].key, entries[i + 1].key))
            entries[kept++] = entries[i];
    *out = entries;
    *n = kept;
    return TERN_OK;
}

static tern_code read_ios(tn_str signature, uint32_t number, tn_arena *arena, const tern_io **out,
                          uint32_t *n, tern_status *st)
{
    entry *entries;
    tern_code code = read_map(signature, number, MAX_IOS, "a signature", arena, &entries, n, st);
    if (code != TERN_OK)
        return code;
    tern_io *ios = tn_arena_zalloc(arena, *n * sizeof *ios);
    if (ios == NULL)
        return no_memory(st);
    for (uint32_t i = 0; code == TERN_OK && i < *n; i++) {
        ios[i].name = tn_arena_dup(arena, entries[i].key);
        code = read_tensor_info(entries[i].value, arena, &ios[i], st);
    }
    *out = ios;
    return code;
}

static tern_code read_defaults(tn_str signature, tn_arena *arena, tern_signature *s, tern_status *st)
{
    tn_pb r = tn_pb_from(signature);
    tn_pb_field f = {0};
    tn_str key, value;
    while (tn_pb_more(&r) && tn_pb_next(&r, &f)) {
        if (f.number != SIGNATURE_DEFAULTS || f.type != TN_PB_BYTES)
            continue;
        if (!read_entry(f.bytes, &key, &value))
            return broken(st, "a signature's default");
        int i = tn_signature_input(s, key);
        /* The array is ours until the set is handed out. */
        if (i >= 0)
            ((tern_io *)(uintptr_t)s->inputs)[i].default_tensor = tn_arena_dup(arena, value);
    }
    return TERN_OK;
}

static tern_code read_signature(tn_str name, tn_str bytes, tn_arena *arena, tern_signature *s,
                                tern_status *st)
{
    tn_pb r = tn_pb_from(bytes);
    tn_pb_field f = {0};
    s->name = tn_arena_dup(arena, name);
    tern_code code = read_ios(bytes, SIGNATURE_INPUTS, arena, &s->inputs, &s->n_inputs, st);
    if (code == TERN_OK)
        code = read_ios(bytes, SIGNATURE_OUTPUTS, arena, &s->outputs, &s->n_outputs, st);
    if (code == TERN_OK)
        code = read_defaults(bytes, arena, s, st);
    while (code == TERN_OK && tn_pb_more(&r) && tn_pb_next(&r, &f))
        if (f.number == SIGNATURE_METHOD && f.type == TN_PB_BYTES)
            s->method_name = tn_arena_dup(arena, f.bytes);
    return code;
}

/* A MetaGraphDef.signature_def entry, as it stands, under the number that SignatureDefMap gives them. */
static void put_map_entry(tn_buf *map, tn_str bytes)
{
    tn_pb_add_bytes(map, SIGNATURE_MAP_ENTRY, bytes);
}

tern_code tn_read_meta_graph(tn_str bytes, tn_arena *arena, tern_signature_set *out, tern_status *st)
{
    uint32_t n = 0;
    entry *entries;
    tn_buf map;
    *out = (tern_signature_set){0};
    tern_code code = read_map(bytes, META_GRAPH_SIGNATURE_DEF, MAX_SIGNATURES, "the MetaGraphDef", arena,
                              &entries, &n, st);
    if (code != TERN_OK)
        return code;
    tern_signature *signatures = tn_arena_zalloc(arena, n * sizeof *signatures);
    if (signatures == NULL)
        return no_memory(st);
    tn_buf_init(&map, bytes.len + 32);
    for (uint32_t i = 0; code == TERN_OK && i < n; i++) {
        put_map_entry(&map, entries[i].bytes);
        code = read_signature(entries[i].key, entries[i].value, arena, &signatures[i], st);
    }
    if (code == TERN_OK && map.len > 0) {
        out->signature_def_map = tn_arena_dup(arena, tn_buf_view(&map));
        if (map.failed || out->signature_def_map.ptr == NULL)
            code = no_memory(st);
    }
    if (code == TERN_OK) {
        out->signatures = signatures;
        out->n_signatures = n;
    }
    tn_buf_free(&map);
    return code;
}

/* ---- a whole SavedModel ---- */

/* True when the MetaInfoDef's tags are exactly these; `seen` collects them for the error text. */
static bool tags_match(tn_str info, const tn_str *tags, uint32_t n_tags, tn_buf *seen)
{
    tn_pb r = tn_pb_from(info);
    tn_pb_field f = {0};
    uint32_t found = 0, all = 0;
    tn_buf_z(seen, seen->len > 0 ? ", {" : "{");
    while (tn_pb_more(&r) && tn_pb_next(&r, &f)) {
        if (f.number != INFO_TAGS || f.type != TN_PB_BYTES)
            continue;
        if (all++ > 0)
            tn_buf_char(seen, ',');
        tn_buf_str(seen, f.bytes);
        for (uint32_t i = 0; i < n_tags; i++)
            found += tn_str_eq(tags[i], f.bytes);
    }
    tn_buf_char(seen, '}');
    return found == n_tags && all == n_tags;
}

static tn_str info_of(tn_str meta_graph)
{
    tn_pb r = tn_pb_from(meta_graph);
    tn_pb_field f = {0};
    while (tn_pb_more(&r) && tn_pb_next(&r, &f))
        if (f.number == META_GRAPH_INFO && f.type == TN_PB_BYTES)
            return f.bytes;
    return TN_STR("");
}

tern_code tn_find_meta_graph(tn_str bytes, const tn_str *tags, uint32_t n_tags, tn_str *out, tern_status *st)
{
    tn_pb r = tn_pb_from(bytes);
    tn_pb_field f = {0};
    tn_buf seen;
    tern_code code = TERN_NOT_FOUND;
    bool whole = true;
    tn_buf_init(&seen, 2048);
    while (tn_pb_more(&r) && (whole = tn_pb_next(&r, &f)))
        if (f.number == SAVED_MODEL_META_GRAPHS && f.type == TN_PB_BYTES &&
            tags_match(info_of(f.bytes), tags, n_tags, &seen)) {
            *out = f.bytes;
            code = TERN_OK;
            break;
        }
    if (!whole)
        code = broken(st, "the SavedModel");
    else if (code != TERN_OK)
        code = tern_fail(st, TERN_NOT_FOUND,
                         "The SavedModel has no MetaGraph with these tags; it has %.*s (--saved_model_tags)",
                         TN_FMT(seen.len > 0 ? tn_buf_view(&seen) : TN_STR("none")));
    tn_buf_free(&seen);
    return code;
}

tern_code tn_read_saved_model(tn_str bytes, const tn_str *tags, uint32_t n_tags, tn_arena *arena,
                              tern_signature_set *out, tern_status *st)
{
    tn_str meta_graph;
    tern_code code = tn_find_meta_graph(bytes, tags, n_tags, &meta_graph, st);
    return code == TERN_OK ? tn_read_meta_graph(meta_graph, arena, out, st) : code;
}
