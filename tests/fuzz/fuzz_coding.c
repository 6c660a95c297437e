/*
 * fuzz_coding.c - bodies in a content coding. The first byte chooses it; what inflates must be within the
 * limit, and come back when it is compressed anew.
 */
#include <stdlib.h>

#include "api/coding.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void check_round_trip(tn_content_coding coding, const tn_region *plain)
{
    const tn_chunk chunk = {plain->ptr, plain->len};
    tn_buf packed;
    tn_region again;
    tern_status st;
    tn_buf_init(&packed, plain->len * 2 + (1u << 20));
    require(tn_compress(coding, &chunk, 1, &packed));
    require(tn_inflate(coding, tn_buf_view(&packed), NULL, plain->len + 1, &again, &st) == TERN_OK);
    require(again.len == plain->len && memcmp(again.ptr, plain->ptr, plain->len) == 0);
    tn_region_free(&again);
    tn_buf_free(&packed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tn_content_coding codings[] = {TN_CONTENT_GZIP, TN_CONTENT_DEFLATE, TN_CONTENT_ZSTD};
    enum { MAX = 1 << 20 };
    tn_budget budget;
    tn_region plain;
    tern_status st;
    if (size == 0)
        return 0;
    const tn_content_coding coding = codings[data[0] % 3];
    char *body = malloc(size);
    require(body != NULL);
    memcpy(body, data + 1, size - 1);
    tn_budget_init(&budget, 4 << 20);
    tern_code code = tn_inflate(coding, (tn_str){body, size - 1}, &budget, MAX, &plain, &st);
    require(code == TERN_OK || code == TERN_INVALID_ARGUMENT || code == TERN_RESOURCE_EXHAUSTED);
    require(plain.len <= MAX);
    if (code == TERN_OK && plain.len > 0 && coding != TN_CONTENT_DEFLATE)
        check_round_trip(coding, &plain);
    tn_region_free(&plain);
    require(budget.used == 0);
    free(body);
    return 0;
}
