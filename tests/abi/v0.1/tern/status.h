/*
 * tern/status.h - the one result type of Tern's C contract.
 *
 * A function that can fail returns a tern_code and takes a `tern_status *` as its last parameter. On success
 * it returns TERN_OK and leaves the status alone; on failure it returns the code and fills the status with
 * the same code and one clear sentence. The status is a plain value with its own buffer: nothing to free,
 * safe to copy, safe across the plugin border. Header-only, so that a plugin links nothing. No global state:
 * any thread.
 *
 * Codes are gRPC's canonical ones (google.rpc.Code, identical to absl::StatusCode and TF_Code).
 */
#ifndef TERN_STATUS_H
#define TERN_STATUS_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_MUST_USE __attribute__((warn_unused_result))
#define TERN_EXPORT   __attribute__((visibility("default")))

typedef enum tern_code {
    TERN_OK = 0,
    TERN_CANCELLED = 1,
    TERN_UNKNOWN = 2,
    TERN_INVALID_ARGUMENT = 3,
    TERN_DEADLINE_EXCEEDED = 4,
    TERN_NOT_FOUND = 5,
    TERN_ALREADY_EXISTS = 6,
    TERN_PERMISSION_DENIED = 7,
    TERN_RESOURCE_EXHAUSTED = 8,
    TERN_FAILED_PRECONDITION = 9,
    TERN_ABORTED = 10,
    TERN_OUT_OF_RANGE = 11,
    TERN_UNIMPLEMENTED = 12,
    TERN_INTERNAL = 13,
    TERN_UNAVAILABLE = 14,
    TERN_DATA_LOSS = 15,
    TERN_UNAUTHENTICATED = 16
} tern_code;

/* Longest message kept, with its NUL. Longer ones are cut. */
#define TERN_STATUS_MESSAGE_MAX 4096

typedef struct tern_status {
    tern_code code;
    uint32_t length;                       /* bytes in message, without the NUL */
    char message[TERN_STATUS_MESSAGE_MAX]; /* NUL-terminated; may hold NULs of foreign text before length */
} tern_status;

/* Makes *st an OK status. Does not clear the whole buffer: cheap. */
static inline void tern_status_init(tern_status *st)
{
    st->code = TERN_OK;
    st->length = 0;
    st->message[0] = '\0';
}

/* Fills *st from a message of given length (borrowed, may hold any bytes) and returns code. */
static inline tern_code tern_fail_bytes(tern_status *st, tern_code code, const char *message, size_t length)
{
    if (length >= TERN_STATUS_MESSAGE_MAX)
        length = TERN_STATUS_MESSAGE_MAX - 1;
    st->code = code;
    st->length = (uint32_t)length;
    if (length > 0)
        memcpy(st->message, message, length);
    st->message[length] = '\0';
    return code;
}

/* Fills *st from a printf format and returns code, so that `return tern_fail(st, CODE, "...");` is one
 * statement. */
__attribute__((format(printf, 3, 4))) static inline tern_code tern_fail(tern_status *st, tern_code code,
                                                                        const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(st->message, TERN_STATUS_MESSAGE_MAX, format, args);
    va_end(args);
    if (n < 0)
        n = 0;
    if (n >= TERN_STATUS_MESSAGE_MAX)
        n = TERN_STATUS_MESSAGE_MAX - 1;
    st->code = code;
    st->length = (uint32_t)n;
    st->message[n] = '\0';
    return code;
}

/* A slice: borrowed bytes, never assumed to end in NUL. An absent slice is {NULL, 0}. */
typedef struct tern_str {
    const char *ptr;
    size_t len;
} tern_str;

#ifdef __cplusplus
}
#endif
#endif
