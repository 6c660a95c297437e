/* api/inflate.c - see api/inflate.h. */
#include "api/inflate.h"

#include <limits.h>
#include <zlib.h>

#define GZIP_WINDOW (15 + 16) /* zlib: 32 kB window, gzip wrapper only */

static tern_code inflate_all(z_stream *z, tn_region *plain, int *result, tern_status *st)
{
    do {
        char *room;
        size_t space;
        tern_code code = tn_region_room(plain, (size_t)z->avail_in * 4 + 1024, &room, &space, st);
        if (code != TERN_OK)
            return code;
        if (space > UINT_MAX)
            space = UINT_MAX;
        z->next_out = (Bytef *)room;
        z->avail_out = (uInt)space;
        *result = inflate(z, Z_NO_FLUSH);
        code = tn_region_commit(plain, space - z->avail_out, st);
        if (code != TERN_OK)
            return code;
    } while (*result == Z_OK);
    return TERN_OK;
}

tern_code tn_inflate_gzip(tn_str body, tn_budget *budget, size_t max, tn_region *plain, tern_status *st)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)body.ptr,
                  .avail_in = (uInt)(body.len > UINT_MAX ? UINT_MAX : body.len)};
    int result = Z_DATA_ERROR;
    tern_code code = TERN_OK;
    tn_region_init(plain, budget, 0, max);
    if (inflateInit2(&z, GZIP_WINDOW) != Z_OK)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to inflate the body; try again later");
    if (body.len > 0)
        code = inflate_all(&z, plain, &result, st);
    bool whole = result == Z_STREAM_END && z.avail_in == 0 && body.len <= UINT_MAX;
    inflateEnd(&z);
    if (code != TERN_OK || !whole)
        tn_region_free(plain);
    return code;
}
