/*
 * observe/trace.h - the trace that a request belongs to: W3C Trace Context (www.w3.org/TR/trace-context),
 * section 3. Parsing and writing are pure.
 */
#ifndef TN_OBSERVE_TRACE_H
#define TN_OBSERVE_TRACE_H

#include "base/buf.h"

typedef struct tn_trace {
    unsigned char trace_id[16];
    unsigned char parent_id[8]; /* who called; zeros: nobody */
    unsigned char span_id[8];   /* this request */
    bool sampled;               /* the caller records; kept as it came */
} tn_trace;

/* Length of a traceparent of version 00. */
#define TN_TRACEPARENT 55
/* Longest tracestate that is passed on, and most members of it (3.3.1.1, 3.3.1.5). */
#define TN_TRACESTATE_MAX     512
#define TN_TRACESTATE_MEMBERS 32

/*
 * A traceparent field's value (3.2): sets trace_id, parent_id and sampled, and span_id to zeros. false, and
 * nothing set, when it is none: then the trace begins here. Versions above 00 are read as far as 00 goes;
 * version ff, upper case, zeros as an id, and 00 with anything behind it are refused.
 */
bool tn_trace_parse(tn_str value, tn_trace *trace);
/* Whether a tracestate (3.3.1) is well-formed and short enough to be passed on. */
bool tn_tracestate_good(tn_str value);
/* Makes a new span_id; and with it a new trace, not sampled, when `fresh`. Any thread, no lock. */
void tn_trace_begin(tn_trace *trace, bool fresh);
/* The traceparent for those that this request calls or answers: its own span as parent. */
void tn_trace_write(const tn_trace *trace, char text[TN_TRACEPARENT]);
/* A number that nobody can rely on to be secret. Any thread, no lock. */
uint64_t tn_random(void);
/* Length of a UUID's text (RFC 9562), and a new one of version 4: unique, not secret. */
#define TN_UUID 36
void tn_uuid(char text[TN_UUID]);
/* n bytes as 2 n lower-case digits. */
void tn_hex(const unsigned char *bytes, size_t n, char *text);

#endif
