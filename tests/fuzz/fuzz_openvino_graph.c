/*
 * fuzz_openvino_graph.c - a MetaGraphDef of any bytes: every signature is judged and cut, and what was cut
 * reads as a SavedModel with that one signature.
 */
#include <stdint.h>
#include <stdlib.h>

#include "codec/saved_model.h"
#include "graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void one(tn_str meta, const tn_ov_graph *g, const tern_signature *s)
{
    const tn_str tag = TN_STR("serve");
    tern_signature_set set;
    tern_status st;
    tn_arena arena;
    tn_buf cut;
    bool sums;
    tn_arena_init(&arena, 64u << 20);
    tn_buf_init(&cut, 64u << 20);
    (void)tn_ov_has_tensors(s);
    (void)!tn_ov_graph_check(g, s, &arena, &sums, &st);
    tn_ov_graph_cut(meta, s, &cut);
    if (!cut.failed && tn_read_saved_model(tn_buf_view(&cut), &tag, 1, &arena, &set, &st) == TERN_OK &&
        set.n_signatures != 1)
        abort();
    tn_buf_free(&cut);
    tn_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_str meta = {(const char *)data, size};
    const tn_ov_graph *g;
    tern_signature_set set;
    tern_status st;
    tn_arena arena;
    tn_arena_init(&arena, 64u << 20);
    if (tn_read_meta_graph(meta, &arena, &set, &st) == TERN_OK &&
        tn_ov_graph_read(meta, &arena, &g, &st) == TERN_OK)
        for (uint32_t i = 0; i < set.n_signatures && i < 8; i++)
            one(meta, g, &set.signatures[i]);
    tn_arena_free(&arena);
    return 0;
}
