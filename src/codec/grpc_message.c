/*
 * codec/grpc_message.c - see codec/grpc_message.h.
 *
 * The reader is a small machine: prefix, body, end. A body that is not compressed is handed on as slices of
 * the input; a compressed one is inflated piece by piece into the caller's room, so that a message never
 * exists whole and a bomb ends at its limit. zlib's state lives in the arena and is used again for the next
 * message.
 */
#include "codec/grpc_message.h"

#include <limits.h>
#include <zlib.h>

#define PREFIX_BYTES 5
#define ZLIB_WINDOW  15
#define GZIP_WINDOW  (15 + 16) /* with gzip's wrapper */
#define LEVEL        1         /* tensors of floats get hardly smaller by more effort */
#define MEMORY       8

typedef enum state { IN_PREFIX, IN_BODY } state;

struct tn_grpc_reader {
    tn_arena *arena;
    tn_coding coding;
    uint64_t max;
    state state;
    unsigned char prefix[PREFIX_BYTES];
    uint32_t prefix_len;
    bool compressed;
    uint64_t announced, arrived; /* of the message, as sent */
    uint64_t plain;              /* inflated */
    z_stream z;
    bool z_open;  /* z is initialised */
    bool z_ended; /* the compressed stream is complete */
};

static const tn_str names[] = {TN_STR_INIT("identity"), TN_STR_INIT("gzip"), TN_STR_INIT("deflate")};

tn_coding tn_coding_of(tn_str name)
{
    if (name.ptr == NULL)
        return TN_CODING_IDENTITY;
    for (int i = 0; i < TN_CODING_UNKNOWN; i++)
        if (tn_str_eq(tn_str_trim(name), names[i]))
            return (tn_coding)i;
    return TN_CODING_UNKNOWN;
}

tn_str tn_coding_name(tn_coding coding)
{
    return coding < TN_CODING_UNKNOWN ? names[coding] : TN_STR("unknown");
}

bool tn_coding_accepted(tn_str list, tn_coding coding)
{
    while (list.len > 0) {
        ptrdiff_t comma = tn_str_chr(list, ',');
        tn_str one = comma >= 0 ? tn_str_sub(list, 0, (size_t)comma) : list;
        if (tn_coding_of(one) == coding)
            return true;
        list = comma >= 0 ? tn_str_sub(list, (size_t)comma + 1, list.len) : TN_STR_NONE;
    }
    return false;
}

tn_grpc_reader *tn_grpc_reader_new(tn_coding coding, uint64_t max, tn_arena *arena)
{
    tn_grpc_reader *r = tn_arena_zalloc(arena, sizeof *r);
    if (r == NULL)
        return NULL;
    r->arena = arena;
    r->coding = coding;
    r->max = max;
    return r;
}

uint64_t tn_grpc_announced(const tn_grpc_reader *r)
{
    return r->announced;
}

bool tn_grpc_is_compressed(const tn_grpc_reader *r)
{
    return r->compressed;
}

uint64_t tn_grpc_plain_left(const tn_grpc_reader *r)
{
    return r->state == IN_BODY && !r->compressed ? r->announced - r->arrived : 0;
}

bool tn_grpc_at_end(const tn_grpc_reader *r)
{
    return r->state == IN_PREFIX && r->prefix_len == 0;
}

/* ---- reading ---- */

static void *take_memory(void *arena, unsigned items, unsigned size)
{
    return tn_arena_array(arena, items, size);
}

static void give_memory(void *arena, void *ptr)
{
    (void)arena; /* goes with the arena */
    (void)ptr;
}

static tern_code too_large(const tn_grpc_reader *r, uint64_t n, tern_status *st)
{
    return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Received message larger than max (%llu vs. %llu)",
                     (unsigned long long)n, (unsigned long long)r->max);
}

static tern_code broken_stream(const tn_grpc_reader *r, const char *why, tern_status *st)
{
    tn_str name = tn_coding_name(r->coding);
    return tern_fail(st, TERN_INTERNAL, "Unexpected error decompressing data for algorithm %.*s: %s",
                     TN_FMT(name), why);
}

static tern_code open_inflate(tn_grpc_reader *r, tern_status *st)
{
    int window = r->coding == TN_CODING_GZIP ? GZIP_WINDOW : ZLIB_WINDOW, result;
    r->z_ended = false;
    if (r->z_open) {
        result = inflateReset2(&r->z, window);
    } else {
        r->z = (z_stream){.zalloc = take_memory, .zfree = give_memory, .opaque = r->arena};
        result = inflateInit2(&r->z, window);
    }
    if (result != Z_OK)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to inflate the message; try again later");
    r->z_open = true;
    return TERN_OK;
}

static tern_code read_prefix(tn_grpc_reader *r, const char **p, size_t *n, tn_grpc_event *event,
                             tern_status *st)
{
    while (*n > 0 && r->prefix_len < PREFIX_BYTES) {
        r->prefix[r->prefix_len++] = (unsigned char)**p;
        ++*p;
        --*n;
    }
    if (r->prefix_len < PREFIX_BYTES)
        return TERN_OK;
    r->announced = (uint64_t)r->prefix[1] << 24 | (uint64_t)r->prefix[2] << 16 | (uint64_t)r->prefix[3] << 8 |
                   r->prefix[4];
    r->compressed = r->prefix[0] == 1;
    if (r->prefix[0] > 1)
        return tern_fail(st, TERN_INTERNAL, "Bad GRPC frame type 0x%02x", r->prefix[0]);
    if (r->announced > r->max)
        return too_large(r, r->announced, st);
    if (r->compressed && r->coding == TN_CODING_IDENTITY)
        return tern_fail(st, TERN_INTERNAL,
                         "The message is marked as compressed, but the call has no grpc-encoding");
    r->arrived = r->plain = 0;
    r->prefix_len = 0;
    r->state = IN_BODY;
    *event = TN_GRPC_BEGIN;
    return r->compressed ? open_inflate(r, st) : TERN_OK;
}

static void read_plain(tn_grpc_reader *r, const char **p, size_t *n, tn_grpc_event *event, tn_str *piece)
{
    uint64_t left = r->announced - r->arrived;
    if (left == 0) {
        r->state = IN_PREFIX;
        *event = TN_GRPC_END;
    } else if (*n > 0) {
        *piece = (tn_str){*p, *n < left ? *n : (size_t)left};
        *p += piece->len;
        *n -= piece->len;
        r->arrived += piece->len;
        *event = TN_GRPC_PIECE;
    }
}

static tern_code read_compressed(tn_grpc_reader *r, const char **p, size_t *n, char *room, size_t size,
                                 tn_grpc_event *event, tn_str *piece, tern_status *st)
{
    uint64_t left = r->announced - r->arrived;
    size_t in = *n < left ? *n : (size_t)left;
    if (in > UINT_MAX)
        in = UINT_MAX;
    if (size > UINT_MAX)
        size = UINT_MAX;
    if (!r->z_ended) {
        r->z.next_in = (Bytef *)(uintptr_t)*p;
        r->z.avail_in = (uInt)in;
        r->z.next_out = (Bytef *)room;
        r->z.avail_out = (uInt)size;
        int result = inflate(&r->z, Z_NO_FLUSH);
        size_t used = in - r->z.avail_in, made = size - r->z.avail_out;
        *p += used;
        *n -= used;
        r->arrived += used;
        r->plain += made;
        r->z_ended = result == Z_STREAM_END;
        if (r->plain > r->max)
            return too_large(r, r->plain, st);
        if (result != Z_OK && result != Z_STREAM_END && result != Z_BUF_ERROR)
            return broken_stream(r, r->z.msg != NULL ? r->z.msg : "broken data", st);
        if (made > 0) {
            *piece = (tn_str){room, made};
            *event = TN_GRPC_PIECE;
            return TERN_OK;
        }
    }
    if (r->z_ended && r->arrived < r->announced)
        return broken_stream(r, "bytes follow its end", st);
    if (r->z_ended) {
        r->state = IN_PREFIX;
        *event = TN_GRPC_END;
    } else if (r->arrived == r->announced) {
        return broken_stream(r, "it ends too early", st);
    }
    return TERN_OK;
}

tern_code tn_grpc_read(tn_grpc_reader *r, const char **p, size_t *n, char *room, size_t size,
                       tn_grpc_event *event, tn_str *piece, tern_status *st)
{
    *event = TN_GRPC_NEED;
    *piece = TN_STR_NONE;
    if (r->state == IN_PREFIX)
        return read_prefix(r, p, n, event, st);
    if (r->compressed)
        return read_compressed(r, p, n, room, size, event, piece, st);
    read_plain(r, p, n, event, piece);
    return TERN_OK;
}

/* ---- writing ---- */

/* Deflates what z.next_in names, all of it, to the end of out; false when that would pass `max` bytes. */
static bool deflate_piece(z_stream *z, int flush, size_t *room_left, tn_buf *out)
{
    int result = Z_OK;
    do {
        size_t space = *room_left < 64 * 1024 ? *room_left : 64 * 1024;
        char *room = space > 0 ? tn_buf_reserve(out, space) : NULL;
        if (room == NULL)
            return false;
        z->next_out = (Bytef *)room;
        z->avail_out = (uInt)space;
        result = deflate(z, flush);
        size_t made = space - z->avail_out;
        tn_buf_commit(out, made);
        *room_left -= made;
    } while (result == Z_OK && (z->avail_in > 0 || z->avail_out == 0));
    return flush == Z_FINISH ? result == Z_STREAM_END : result == Z_OK || result == Z_BUF_ERROR;
}

bool tn_grpc_compress(tn_coding coding, const tn_piece *pieces, size_t n, tn_buf *out)
{
    z_stream z = {0};
    size_t whole = 0, before = out->len;
    for (size_t i = 0; i < n; i++)
        whole += pieces[i].len;
    if (whole == 0 || (coding != TN_CODING_GZIP && coding != TN_CODING_DEFLATE) ||
        deflateInit2(&z, LEVEL, Z_DEFLATED, coding == TN_CODING_GZIP ? GZIP_WINDOW : ZLIB_WINDOW, MEMORY,
                     Z_DEFAULT_STRATEGY) != Z_OK)
        return false;
    size_t room_left = whole - 1; /* not smaller is not worth it */
    bool good = true;
    for (size_t i = 0; i < n && good; i++) {
        const char *ptr = pieces[i].ptr;
        for (size_t left = pieces[i].len; left > 0 && good;) {
            size_t part = left < UINT_MAX ? left : UINT_MAX;
            z.next_in = (Bytef *)(uintptr_t)ptr;
            z.avail_in = (uInt)part;
            good = deflate_piece(&z, Z_NO_FLUSH, &room_left, out);
            ptr += part;
            left -= part;
        }
    }
    good = good && deflate_piece(&z, Z_FINISH, &room_left, out) && !out->failed;
    deflateEnd(&z);
    if (!good) {
        out->len = before;
        out->failed = false;
    }
    return good;
}
