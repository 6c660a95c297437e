/*
 * api/coding.c - see api/coding.h. Fast levels: what is saved on the wire must not be lost in the server.
 */
#include "api/coding.h"

#include <limits.h>
#include <zlib.h>
#include <zstd.h>

#define GZIP_WINDOW     (15 + 16) /* zlib: 32 kB window, gzip wrapper only */
#define ZLIB_WINDOW     15
#define BARE_WINDOW     (-15)
#define GZIP_LEVEL      1
#define ZSTD_LEVEL      1
#define ZSTD_WINDOW_LOG 23         /* 8 MB: more is not to be asked for over HTTP (RFC 9659) */
#define STEP            (1u << 20) /* so much is produced at most before it is paid for */
#define OUT_STEP        (16u << 10)

/* ---- in ---- */

/* Room for the next bytes, about as many as the rest of the input is likely to make. */
static tern_code step_room(tn_region *plain, size_t left, char **room, size_t *space, tern_status *st)
{
    size_t want = left < STEP / 4 ? left * 4 + 1024 : STEP;
    tern_code code = tn_region_room(plain, want, room, space, st);
    if (code == TERN_OK && *space > STEP)
        *space = STEP;
    return code;
}

static tern_code inflate_all(z_stream *z, tn_region *plain, int *result, tern_status *st)
{
    do {
        char *room;
        size_t space;
        tern_code code = step_room(plain, z->avail_in, &room, &space, st);
        if (code != TERN_OK)
            return code;
        z->next_out = (Bytef *)room;
        z->avail_out = (uInt)space;
        *result = inflate(z, Z_NO_FLUSH);
        code = tn_region_commit(plain, space - z->avail_out, st);
        if (code != TERN_OK)
            return code;
    } while (*result == Z_OK);
    return TERN_OK;
}

static tern_code no_memory(tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to inflate the body; try again later");
}

static tern_code inflate_zlib(int window, tn_str body, tn_region *plain, bool *whole, tern_status *st)
{
    z_stream z = {.next_in = (Bytef *)(uintptr_t)body.ptr,
                  .avail_in = (uInt)(body.len > UINT_MAX ? UINT_MAX : body.len)};
    int result = Z_DATA_ERROR;
    if (inflateInit2(&z, window) != Z_OK)
        return no_memory(st);
    tern_code code = inflate_all(&z, plain, &result, st);
    *whole = result == Z_STREAM_END && z.avail_in == 0 && body.len <= UINT_MAX;
    inflateEnd(&z);
    return code;
}

static tern_code inflate_zstd(tn_str body, tn_region *plain, bool *whole, tern_status *st)
{
    ZSTD_DCtx *z = ZSTD_createDCtx();
    ZSTD_inBuffer in = {body.ptr, body.len, 0};
    tern_code code = TERN_OK;
    size_t result = 1;
    if (z == NULL)
        return no_memory(st);
    ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
    for (bool more = true; more;) {
        char *room;
        size_t space;
        code = step_room(plain, in.size - in.pos, &room, &space, st);
        if (code != TERN_OK)
            break;
        ZSTD_outBuffer out = {room, space, 0};
        const size_t before = in.pos;
        result = ZSTD_decompressStream(z, &out, &in);
        code = tn_region_commit(plain, out.pos, st);
        /* Several frames in a row are one body (RFC 8878, 3.1). */
        more = code == TERN_OK && !ZSTD_isError(result) && (in.pos > before || out.pos > 0) &&
               (result != 0 || in.pos < in.size);
    }
    *whole = code == TERN_OK && result == 0 && in.pos == in.size;
    ZSTD_freeDCtx(z);
    return code;
}

/* A zlib header: method 8, and 31 divides it (RFC 1950, 2.2). */
static bool has_zlib_header(tn_str body)
{
    const unsigned char *p = (const unsigned char *)body.ptr;
    return body.len >= 2 && (p[0] & 15) == 8 && (p[0] * 256 + p[1]) % 31 == 0;
}

tern_code tn_inflate(tn_content_coding coding, tn_str body, tn_budget *budget, size_t max, tn_region *plain,
                     tern_status *st)
{
    tern_code code = TERN_OK;
    bool whole = false;
    tn_region_init(plain, budget, 0, max);
    if (body.len == 0)
        return TERN_OK;
    if (coding == TN_CONTENT_ZSTD)
        code = inflate_zstd(body, plain, &whole, st);
    else if (coding == TN_CONTENT_DEFLATE)
        code = inflate_zlib(has_zlib_header(body) ? ZLIB_WINDOW : BARE_WINDOW, body, plain, &whole, st);
    else
        code = inflate_zlib(GZIP_WINDOW, body, plain, &whole, st);
    if (code != TERN_OK || !whole)
        tn_region_free(plain);
    return code;
}

/* ---- out ---- */

static bool compress_gzip(const tn_chunk *chunks, size_t n, tn_buf *out)
{
    z_stream z = {0};
    bool good = deflateInit2(&z, GZIP_LEVEL, Z_DEFLATED, GZIP_WINDOW, 8, Z_DEFAULT_STRATEGY) == Z_OK;
    if (!good)
        return false;
    int result = Z_OK;
    for (size_t i = 0; good && i <= n; i++) {
        const bool last = i == n;
        size_t left = last ? 0 : chunks[i].len;
        z.next_in = last ? NULL : (Bytef *)(uintptr_t)chunks[i].ptr;
        do {
            z.avail_in = (uInt)(left < STEP ? left : STEP);
            left -= z.avail_in;
            do {
                char *room = tn_buf_reserve(out, OUT_STEP);
                good = room != NULL;
                if (!good)
                    break;
                z.next_out = (Bytef *)room;
                z.avail_out = OUT_STEP;
                result = deflate(&z, last ? Z_FINISH : Z_NO_FLUSH);
                tn_buf_commit(out, OUT_STEP - z.avail_out);
            } while (z.avail_out == 0);
        } while (good && left > 0);
    }
    deflateEnd(&z);
    return good && result == Z_STREAM_END;
}

static bool compress_zstd(const tn_chunk *chunks, size_t n, tn_buf *out)
{
    ZSTD_CCtx *z = ZSTD_createCCtx();
    if (z == NULL)
        return false;
    ZSTD_CCtx_setParameter(z, ZSTD_c_compressionLevel, ZSTD_LEVEL);
    bool good = true;
    for (size_t i = 0; good && i <= n; i++) {
        const bool last = i == n;
        ZSTD_inBuffer in = {last ? NULL : chunks[i].ptr, last ? 0 : chunks[i].len, 0};
        size_t left = 1;
        while (good && (in.pos < in.size || (last && left > 0))) {
            char *room = tn_buf_reserve(out, OUT_STEP);
            if (room == NULL) {
                good = false;
                break;
            }
            ZSTD_outBuffer to = {room, OUT_STEP, 0};
            left = ZSTD_compressStream2(z, &to, &in, last ? ZSTD_e_end : ZSTD_e_continue);
            tn_buf_commit(out, to.pos);
            good = !ZSTD_isError(left);
        }
    }
    ZSTD_freeCCtx(z);
    return good;
}

bool tn_compress(tn_content_coding coding, const tn_chunk *chunks, size_t n, tn_buf *out)
{
    return coding == TN_CONTENT_ZSTD ? compress_zstd(chunks, n, out) : compress_gzip(chunks, n, out);
}
