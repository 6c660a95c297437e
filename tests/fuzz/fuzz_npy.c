/*
 * fuzz_npy.c - npy bodies; what is read must be written and read again alike. And the same bytes as Accept
 * and Accept-Encoding fields.
 */
#include <stdlib.h>

#include "api/accept.h"
#include "codec/npy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void try_npy(tn_str text)
{
    tn_npy first, again;
    tern_status st;
    if (tn_npy_read(text, &first, &st) != TERN_OK)
        return;
    const tern_tensor t = {.dtype = first.dtype, .rank = first.rank, .dims = first.dims};
    tn_buf out;
    tn_buf_init(&out, text.len + (1u << 20));
    require(tn_npy_write_head(&t, &out));
    tn_buf_str(&out, first.data);
    require(tn_npy_read(tn_buf_view(&out), &again, &st) == TERN_OK);
    require(again.dtype == first.dtype && again.rank == first.rank && again.count == first.count);
    require(memcmp(again.dims, first.dims, (size_t)first.rank * sizeof *first.dims) == 0);
    require(tn_str_eq(again.data, first.data));
    tn_buf_free(&out);
}

static void try_fields(tn_str text)
{
    tn_accept media;
    tn_accept_coding coding;
    bool must;
    tn_accept_init(&media);
    tn_accept_add(&media, text);
    require(tn_accept_choose(&media, TN_MEDIA_JSON) < TN_MEDIAS);
    tn_accept_coding_init(&coding);
    tn_accept_coding_add(&coding, text);
    require(tn_accept_coding_choose(&coding, &must) < TN_CONTENT_CODINGS);
    require(tn_media_of(text) < TN_MEDIAS && tn_content_coding_of(text) <= TN_CONTENT_UNKNOWN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* A copy of its own size, so that reading beyond the end is seen. */
    char *copy = malloc(size > 0 ? size : 1);
    require(copy != NULL);
    if (size > 0)
        memcpy(copy, data, size);
    try_npy((tn_str){copy, size});
    try_fields((tn_str){copy, size});
    free(copy);
    return 0;
}
