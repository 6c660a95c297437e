/* base/status.c - see base/status.h. */
#include "base/status.h"

static const struct {
    const char *name;
    int http;
} codes[] = {
    [TERN_OK] = {"OK", 200},
    [TERN_CANCELLED] = {"CANCELLED", 499},
    [TERN_UNKNOWN] = {"UNKNOWN", 500},
    [TERN_INVALID_ARGUMENT] = {"INVALID_ARGUMENT", 400},
    [TERN_DEADLINE_EXCEEDED] = {"DEADLINE_EXCEEDED", 504},
    [TERN_NOT_FOUND] = {"NOT_FOUND", 404},
    [TERN_ALREADY_EXISTS] = {"ALREADY_EXISTS", 409},
    [TERN_PERMISSION_DENIED] = {"PERMISSION_DENIED", 403},
    [TERN_RESOURCE_EXHAUSTED] = {"RESOURCE_EXHAUSTED", 429},
    [TERN_FAILED_PRECONDITION] = {"FAILED_PRECONDITION", 400},
    [TERN_ABORTED] = {"ABORTED", 409},
    [TERN_OUT_OF_RANGE] = {"OUT_OF_RANGE", 400},
    [TERN_UNIMPLEMENTED] = {"UNIMPLEMENTED", 501},
    [TERN_INTERNAL] = {"INTERNAL", 500},
    [TERN_UNAVAILABLE] = {"UNAVAILABLE", 503},
    [TERN_DATA_LOSS] = {"DATA_LOSS", 500},
    [TERN_UNAUTHENTICATED] = {"UNAUTHENTICATED", 401},
};

#define N_CODES (sizeof codes / sizeof codes[0])

const char *tn_code_name(tern_code code)
{
    return (size_t)code < N_CODES ? codes[code].name : "UNKNOWN";
}

int tn_code_http(tern_code code)
{
    return (size_t)code < N_CODES ? codes[code].http : 500;
}

tern_code tn_http_code(int status)
{
    if (status < 400)
        return TERN_OK;
    /* Those that several codes share. */
    if (status == 500)
        return TERN_INTERNAL;
    if (status == 409)
        return TERN_ALREADY_EXISTS;
    for (size_t i = 0; i < N_CODES; i++)
        if (codes[i].http == status)
            return (tern_code)i;
    return status < 500 ? TERN_INVALID_ARGUMENT : TERN_INTERNAL;
}
