/*
 * api/endpoints_stream.c - InvokeEndpointWithResponseStream: the model's answer as PayloadPart events
 * (codec/event_stream.h), each as soon as its bytes are there. See api/endpoints.h.
 *
 * A whole answer is cut into parts and written as fast as the client reads; its memory is lent until then. Of
 * a streamed one each piece becomes a part. What breaks off ends with the event ModelStreamError.
 */
#include "api/endpoints.h"

/* Room that is left for the last event, whatever was written. */
#define SPARE ((size_t)2048)

static void begin(tn_invocation *i, const tn_response *response)
{
    tn_header fields[TN_INVOCATION_FIELDS];
    tn_response head = {.status = 200, .headers = fields};
    head.n_headers = tn_invocation_fields(i, response, true, fields, TN_INVOCATION_FIELDS);
    tn_exchange_stream(i->relay.outer, &head);
}

static bool write_part(tn_invocation *i, const char *bytes, size_t n)
{
    tn_buf_clear(&i->frame);
    tn_event_part(&i->frame, (tn_str){bytes, n});
    return !i->frame.failed && tn_exchange_write(i->relay.outer, i->frame.ptr, i->frame.len);
}

/* ---- A whole answer ---- */

/* Writes what there is room for. true: that was all. */
static bool pour(tn_invocation *i)
{
    while (i->chunk < i->held.n_body) {
        const tn_chunk *chunk = &i->held.body[i->chunk];
        size_t n = chunk->len - i->chunk_at;
        n = n < TN_EVENT_PART_MAX ? n : TN_EVENT_PART_MAX;
        if (tn_exchange_room(i->relay.outer) < n + TN_EVENT_PART_EXTRA + SPARE ||
            (n > 0 && !write_part(i, (const char *)chunk->ptr + i->chunk_at, n)))
            return false;
        i->chunk_at += n;
        if (i->chunk_at == chunk->len) {
            i->chunk++;
            i->chunk_at = 0;
        }
    }
    return true;
}

static void pour_on(void *user, tn_exchange *ex)
{
    tn_invocation *i = user;
    if (!pour(i)) {
        tn_exchange_want_room(ex, pour_on, i);
        return;
    }
    i->holds = false;
    tn_exchange_finish(ex, NULL, 0);
    if (i->held.release != NULL)
        i->held.release(i->held.release_arg, true);
    tn_relay_end(&i->relay);
}

static bool send_answer(tn_relay *relay, const tn_response *response)
{
    tn_invocation *i = tn_invocation_of(relay);
    if (tn_invocation_refused(i, response))
        return false;
    tn_tap_answer(i->tap, response);
    i->tap = NULL;
    begin(i, response);
    i->held = *response;
    if (pour(i)) {
        tn_exchange_finish(relay->outer, NULL, 0);
        tn_relay_end(relay);
        return false;
    }
    i->holds = true;
    tn_exchange_want_room(relay->outer, pour_on, i);
    return true;
}

/* ---- A streamed one ---- */

static void stream_answer(tn_relay *relay, const tn_response *head)
{
    tn_invocation *i = tn_invocation_of(relay);
    if (tn_invocation_collects(i, head))
        return;
    tn_tap_head(i->tap, head);
    begin(i, head);
}

static bool write_answer(tn_relay *relay, const void *bytes, size_t n)
{
    tn_invocation *i = tn_invocation_of(relay);
    const char *at = bytes;
    if (i->status != 0)
        return tn_invocation_collect(i, bytes, n);
    tn_tap_output(i->tap, bytes, n);
    while (n > 0) {
        size_t part = n < TN_EVENT_PART_MAX ? n : TN_EVENT_PART_MAX;
        if (!write_part(i, at, part))
            return false;
        at += part;
        n -= part;
    }
    return true;
}

static size_t room_for_answer(const tn_relay *relay)
{
    if (tn_invocation_of(relay)->status != 0)
        return TN_STREAM_MAX;
    size_t room = tn_exchange_room(relay->outer);
    size_t parts = room / (TN_EVENT_PART_MAX + TN_EVENT_PART_EXTRA) + 1;
    size_t taken = SPARE + parts * TN_EVENT_PART_EXTRA;
    return room > taken ? room - taken : 0;
}

static void finish_answer(tn_relay *relay, bool broken)
{
    tn_invocation *i = tn_invocation_of(relay);
    tn_tap_close(i->tap, !broken && i->status == 0);
    i->tap = NULL;
    if (i->status != 0) {
        tn_invocation_collected(i);
        return;
    }
    if (broken) {
        tn_buf_clear(&i->frame);
        tn_event_exception(&i->frame, TN_STR("ModelStreamError"),
                           TN_STR("{\"ErrorCode\":\"StreamBroken\",\"Message\":\"The model broke its answer "
                                  "off; the log of the server says why.\"}"));
        (void)tn_exchange_write(relay->outer, i->frame.ptr, i->frame.len);
    }
    tn_exchange_finish(relay->outer, NULL, 0);
    tn_relay_end(relay);
}

const tn_relay_kind tn_invocation_stream_kind = {.send = send_answer,
                                                 .stream = stream_answer,
                                                 .write = write_answer,
                                                 .room = room_for_answer,
                                                 .finish = finish_answer,
                                                 .free = tn_invocation_free,
                                                 .body = tn_invocation_body};
