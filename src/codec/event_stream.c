/* codec/event_stream.c - see codec/event_stream.h. */
#include "codec/event_stream.h"

#include <assert.h>
#include <zlib.h>

#define PRELUDE     12
#define TRAILER     4
#define TYPE_STRING 7

typedef struct event_header {
    tn_str name, value;
} event_header;

static void put_u32(char *to, size_t v)
{
    for (int i = 0; i < 4; i++)
        to[i] = (char)(unsigned char)(v >> (24 - 8 * i));
}

static uint32_t crc_of(const char *bytes, size_t n)
{
    return (uint32_t)crc32_z(0, (const unsigned char *)bytes, n);
}

static size_t headers_size(const event_header *headers, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += 1 + headers[i].name.len + 1 + 2 + headers[i].value.len;
    return size;
}

static char *put_header(char *to, const event_header *header)
{
    *to++ = (char)(unsigned char)header->name.len;
    memcpy(to, header->name.ptr, header->name.len);
    to += header->name.len;
    *to++ = TYPE_STRING;
    *to++ = (char)(unsigned char)(header->value.len >> 8);
    *to++ = (char)(unsigned char)header->value.len;
    memcpy(to, header->value.ptr, header->value.len);
    return to + header->value.len;
}

static void put_message(tn_buf *out, const event_header *headers, size_t n, tn_str payload)
{
    const size_t head = headers_size(headers, n), whole = PRELUDE + head + payload.len + TRAILER;
    char *start = tn_buf_reserve(out, whole), *at = start;
    if (start == NULL)
        return;
    put_u32(at, whole);
    put_u32(at + 4, head);
    put_u32(at + 8, crc_of(start, 8));
    at += PRELUDE;
    for (size_t i = 0; i < n; i++)
        at = put_header(at, &headers[i]);
    if (payload.len > 0)
        memcpy(at, payload.ptr, payload.len);
    at += payload.len;
    put_u32(at, crc_of(start, whole - TRAILER));
    tn_buf_commit(out, whole);
}

void tn_event_part(tn_buf *out, tn_str bytes)
{
    static const event_header headers[] = {
        {TN_STR_INIT(":event-type"), TN_STR_INIT("PayloadPart")},
        {TN_STR_INIT(":content-type"), TN_STR_INIT("application/octet-stream")},
        {TN_STR_INIT(":message-type"), TN_STR_INIT("event")},
    };
    assert(bytes.len <= TN_EVENT_PART_MAX);
    put_message(out, headers, sizeof headers / sizeof *headers, bytes);
}

void tn_event_exception(tn_buf *out, tn_str type, tn_str json)
{
    const event_header headers[] = {
        {TN_STR_INIT(":exception-type"), type},
        {TN_STR_INIT(":content-type"), TN_STR_INIT("application/json")},
        {TN_STR_INIT(":message-type"), TN_STR_INIT("exception")},
    };
    put_message(out, headers, sizeof headers / sizeof *headers, json);
}
