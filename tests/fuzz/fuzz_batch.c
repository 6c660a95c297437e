/*
 * fuzz_batch.c - batching's own parser, and its rows: the first byte chooses. Parameters are whatever the
 * bytes say or an error with a message. Rows: parts of tensors of odd shapes are joined and taken apart
 * again, and each element is compared with a slow way to say what it should be.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/log.h"
#include "schedule/batch_params.h"
#include "schedule/batch_rows.h"

#define MAX_PARTS 5
#define MAX_RANK  7

typedef struct input {
    const uint8_t *at;
    size_t left;
} input;

static unsigned byte(input *in)
{
    if (in->left == 0)
        return 0;
    in->left--;
    return *in->at++;
}

static void params(input *in)
{
    tn_arena arena;
    tn_batch_params p;
    tern_status st = {.code = TERN_OK};
    tn_arena_init(&arena, 1 << 20);
    tern_code code = tn_batch_params_parse((tn_str){(const char *)in->at, in->left}, &arena, &p, &st);
    if (code != TERN_OK && (st.code != code || st.length == 0))
        abort();
    if (code == TERN_OK && tn_batch_params_check(&p, &st) == TERN_OK) {
        if (tn_batch_params_rows(&p) <= 0 || p.thread_pool_name.ptr == NULL)
            abort();
        for (int64_t rows = 1; rows < 20; rows++)
            if (tn_batch_params_round(&p, rows) < rows)
                abort();
    }
    if (code == TERN_OK)
        (void)!tn_batch_params_check_threads(&p, &st);
    tn_arena_free(&arena);
}

/* Element i of a tensor of strings or bytes. */
static tn_str element(const tern_tensor *t, int64_t i)
{
    if (t->dtype == TERN_STRING)
        return tn_string_at(t, tn_tensor_count(t), i);
    return (tn_str){(const char *)t->data + i, 1};
}

static tern_tensor tensor(input *in, bool strings, int32_t rank, tn_arena *arena)
{
    int64_t dims[MAX_RANK];
    int64_t count = 1;
    tern_tensor t;
    tern_status st;
    for (int32_t d = 0; d < rank; d++) {
        dims[d] = byte(in) % 4;
        count *= dims[d];
    }
    tern_code code = strings ? tn_tensor_new_string(&t, rank, dims, (size_t)count * 2, arena, &st)
                             : tn_tensor_new(&t, TERN_UINT8, rank, dims, arena, &st);
    if (code != TERN_OK)
        abort();
    uint8_t *bytes = strings ? (uint8_t *)tn_string_bytes(&t, count) : t.data;
    uint64_t at = 0;
    for (int64_t i = 0; i < count; i++) {
        unsigned value = byte(in);
        if (strings)
            tn_string_offsets(&t)[i] = at;
        for (unsigned k = 0; k < (strings ? value % 3 : 1); k++)
            bytes[at++] = (uint8_t)value;
    }
    if (strings)
        tn_string_offsets(&t)[count] = at;
    return t;
}

/* The element of the joined tensor at `index` (rank numbers, the first one within the part), the slow way. */
static tn_str expected(const tn_rows *part, const int64_t *index)
{
    const tern_tensor *t = part->tensor;
    int64_t row = 1, at = 0, stride = 1;
    bool inside = true;
    for (int32_t d = 1; d < t->rank; d++)
        row *= t->dims[d];
    for (int32_t d = t->rank - 1; d > 0; d--) {
        inside &= index[d] < t->dims[d];
        at += index[d] * stride;
        stride *= t->dims[d];
    }
    return element(t, inside ? (part->from + index[0]) * row + at : part->from * row);
}

static void compare(const tern_tensor *all, const tn_rows *parts, uint32_t n)
{
    int64_t count = tn_tensor_count(all);
    int64_t first = 0; /* row of the part */
    uint32_t p = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t index[MAX_RANK];
        int64_t rest = i;
        for (int32_t d = all->rank - 1; d >= 0; d--) {
            index[d] = rest % all->dims[d];
            rest /= all->dims[d];
        }
        while (p < n && index[0] - first >= parts[p].rows)
            first += parts[p++].rows;
        tn_rows added = parts[n - 1];
        for (uint32_t last = n - 1; added.rows == 0 && last > 0;)
            added = parts[--last];
        if (p < n)
            index[0] -= first;
        else
            index[0] = 0;
        if (!tn_str_eq(element(all, i), expected(p < n ? &parts[p] : &added, index)))
            abort();
    }
}

static void rows(input *in)
{
    tn_arena arena;
    tern_tensor tensors[MAX_PARTS];
    tn_rows parts[MAX_PARTS];
    tern_status st;
    tern_tensor all;
    const unsigned flags = byte(in);
    const bool pad = (flags & 1) != 0, strings = (flags & 2) != 0;
    const int32_t rank = 1 + (int32_t)(byte(in) % MAX_RANK);
    const uint32_t made = 1 + byte(in) % MAX_PARTS;
    const int64_t extra = byte(in) % 4;
    int64_t total = 0;
    uint32_t n = 0;
    tn_arena_init(&arena, 4 << 20);
    for (uint32_t i = 0; i < made; i++) {
        tensors[i] = tensor(in, strings, rank, &arena);
        const int64_t have = tensors[i].dims[0];
        const int64_t from = have > 0 ? byte(in) % have : 0;
        if (n > 0 && !tn_rows_fit(&tensors[0], &tensors[i], pad))
            continue;
        parts[n++] = (tn_rows){&tensors[i], from, have - from};
        total += have - from;
    }
    const int64_t add = total > 0 ? extra : 0;
    tern_code code = tn_rows_join(parts, n, add, pad, (flags & 4) != 0 ? 16 : 1 << 20, &arena, &all, &st);
    if (code != TERN_OK && code != TERN_RESOURCE_EXHAUSTED)
        abort();
    if (code == TERN_OK) {
        if (all.dims[0] != total + add)
            abort();
        compare(&all, parts, n);
        tern_tensor slice;
        int64_t from = all.dims[0] > 0 ? byte(in) % all.dims[0] : 0;
        if (tn_rows_slice(&all, from, all.dims[0] - from, &arena, &slice, &st) != TERN_OK)
            abort();
        int64_t skipped = tn_tensor_count(&all) - tn_tensor_count(&slice);
        for (int64_t i = 0; i < tn_tensor_count(&slice); i++)
            if (!tn_str_eq(element(&slice, i), element(&all, skipped + i)))
                abort();
        tn_tensor_release(&slice);
        tn_tensor_release(&all);
    }
    for (uint32_t i = 0; i < made; i++)
        tn_tensor_release(&tensors[i]);
    tn_arena_free(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    input in = {data, size};
    tn_log_level(TERN_LOG_ERROR);
    if (byte(&in) % 2 == 0)
        params(&in);
    else
        rows(&in);
    return 0;
}
