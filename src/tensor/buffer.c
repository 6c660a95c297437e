/*
 * tensor/buffer.c - memory of tensors.
 *
 * A buffer is one malloc: the tern_buffer, then the data at the next multiple of 64. aligned_alloc() would
 * do, but it bypasses the thread cache of glibc's malloc: 70-180 ns a pair of calls instead of 15-35 ns
 * (glibc 2.36). Threads: any; release may happen on another thread than the one that made the buffer.
 */
#include <assert.h>
#include <stdlib.h>

#include "tensor/tensor.h"

/* malloc gives 16-byte alignment, so the data begins at most this far behind the block's start. */
#define HEAD_MAX (sizeof(tern_buffer) + TERN_ALIGNMENT - 8)

static_assert(sizeof(tern_buffer) == 40, "the layout of tern_buffer is part of the plugin ABI");

static void buffer_free(tern_buffer *b)
{
    free(b);
}

tern_buffer *tn_buffer_new(size_t size)
{
    if (size > PTRDIFF_MAX - HEAD_MAX)
        return NULL;
    tern_buffer *b = malloc(size + HEAD_MAX);
    if (b == NULL)
        return NULL;
    uintptr_t data = ((uintptr_t)(b + 1) + TERN_ALIGNMENT - 1) & ~(uintptr_t)(TERN_ALIGNMENT - 1);
    *b = (tern_buffer){.data = (void *)data, .size = size, .refs = 1, .destroy = buffer_free};
    return b;
}
