/*
 * fuzz_saved_model.c - signatures out of any bytes: sorted, within bounds, and the map of them reads back the same way.
 *
 * The first byte chooses between a MetaGraphDef and a SavedModel.
 */
#include <stdlib.h>

#include "codec/saved_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_ios(const tern_io *ios, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        require(i == 0 || tn_str_cmp(ios[i - 1].name, ios[i].name) <= 0);
        require(ios[i].rank >= -1 && ios[i].rank <= TERN_MAX_RANK);
        for (int32_t d = 0; d < ios[i].rank; d++)
            require(ios[i].dims[d] == ios[i].dims[d]);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const tn_str tags[] = {TN_STR("serve")};
    tn_arena arena;
    tern_signature_set set;
    tern_status st;
    if (size == 0)
        return 0;
    tn_arena_init(&arena, 64u << 20);
    tn_str bytes = {(const char *)data + 1, size - 1};
    tern_code code = data[0] & 1 ? tn_read_saved_model(bytes, tags, 1, &arena, &set, &st)
                                 : tn_read_meta_graph(bytes, &arena, &set, &st);
    for (uint32_t i = 0; code == TERN_OK && i < set.n_signatures; i++) {
        const tern_signature *s = &set.signatures[i];
        require(i == 0 || tn_str_cmp(set.signatures[i - 1].name, s->name) <= 0);
        check_ios(s->inputs, s->n_inputs);
        check_ios(s->outputs, s->n_outputs);
        for (uint32_t k = 0; k < s->n_inputs; k++)
            require(tn_signature_input(s, s->inputs[k].name) >= 0);
    }
    tn_arena_free(&arena);
    return 0;
}
