/*
 * api/reflection.c - see api/reflection.h.
 *
 * The descriptors were serialized in the build (api/descriptors.h), so an answer is heads and copies.
 * Numbers of fields are those of grpc/reflection/v1/reflection.proto.
 */
#include "api/reflection.h"

#include <stdlib.h>

#include "api/descriptors.h"
#include "codec/pb_wire.h"

enum {
    ASK_FILE = 3,
    ASK_SYMBOL = 4,
    ASK_EXTENSION = 5,
    ASK_EXTENSION_NUMBERS = 6,
    ASK_SERVICES = 7,
    SAY_HOST = 1,
    SAY_REQUEST = 2,
    SAY_FILES = 4,
    SAY_EXTENSION_NUMBERS = 5,
    SAY_SERVICES = 6,
    SAY_ERROR = 7,
    MAX_FILES = 256
};

typedef struct question {
    tn_str host;
    uint32_t kind; /* 0: none */
    tn_str what;
} question;

static size_t field_size(uint32_t field, size_t length)
{
    return tn_pb_head_size(field, length) + length;
}

static bool read_question(tn_str request, question *q)
{
    tn_pb at = tn_pb_from(request);
    tn_pb_field f;
    *q = (question){0};
    while (tn_pb_more(&at)) {
        if (!tn_pb_next(&at, &f))
            return false;
        if (f.type != TN_PB_BYTES)
            continue;
        if (f.number == 1)
            q->host = f.bytes;
        else if (f.number >= ASK_FILE && f.number <= ASK_SERVICES) {
            q->kind = f.number;
            q->what = f.bytes;
        }
    }
    return true;
}

static void say_error(tn_buf *out, tern_code code, tn_str words)
{
    uint8_t number[12] = {1 << 3};
    size_t n = 1 + tn_pb_put_varint(number + 1, (uint64_t)code);
    tn_pb_add_head(out, SAY_ERROR, n + field_size(2, words.len));
    tn_buf_append(out, number, n);
    tn_pb_add_bytes(out, 2, words);
}

/* ---- files and symbols ---- */

static int find_file(tn_str name)
{
    for (size_t i = 0; i < tn_descriptor_n_files; i++)
        if (tn_str_eq(name, tn_str_from(tn_descriptor_files[i].name)))
            return (int)i;
    return -1;
}

static int compare_symbols(const void *key, const void *item)
{
    return tn_str_cmp(*(const tn_str *)key, tn_str_from(((const tn_descriptor_symbol *)item)->name));
}

static int find_symbol(tn_str name)
{
    const tn_descriptor_symbol *found = bsearch(&name, tn_descriptor_symbols, tn_descriptor_n_symbols,
                                                sizeof *tn_descriptor_symbols, compare_symbols);
    return found != NULL ? found->file : -1;
}

/* The file, then what it imports, each once. */
static void say_files(tn_buf *out, int file)
{
    short order[MAX_FILES];
    bool seen[MAX_FILES] = {false};
    size_t n = 0, length = 0;
    order[n++] = (short)file;
    seen[file] = true;
    for (size_t i = 0; i < n; i++)
        for (const short *import = tn_descriptor_files[order[i]].imports; *import >= 0; import++)
            if (!seen[*import]) {
                seen[*import] = true;
                order[n++] = *import;
            }
    for (size_t i = 0; i < n; i++)
        length += field_size(1, tn_descriptor_files[order[i]].len);
    tn_pb_add_head(out, SAY_FILES, length);
    for (size_t i = 0; i < n; i++) {
        const tn_descriptor_file *f = &tn_descriptor_files[order[i]];
        tn_pb_add_bytes(out, 1, (tn_str){(const char *)f->bytes, f->len});
    }
}

static void say_file_or_error(tn_buf *out, int file, tn_str words)
{
    if (file >= 0 && tn_descriptor_n_files <= MAX_FILES)
        say_files(out, file);
    else
        say_error(out, TERN_NOT_FOUND, words);
}

/* None of the messages has extensions. */
static void say_no_extensions(tn_buf *out, tn_str type)
{
    if (find_symbol(type) < 0) {
        say_error(out, TERN_NOT_FOUND, TN_STR("Type not found."));
        return;
    }
    tn_pb_add_head(out, SAY_EXTENSION_NUMBERS, field_size(1, type.len));
    tn_pb_add_bytes(out, 1, type);
}

static void say_services(tn_buf *out, const tn_str *services, size_t n)
{
    size_t length = 0;
    for (size_t i = 0; i < n; i++)
        length += field_size(1, field_size(1, services[i].len));
    tn_pb_add_head(out, SAY_SERVICES, length);
    for (size_t i = 0; i < n; i++) {
        tn_pb_add_head(out, 1, field_size(1, services[i].len));
        tn_pb_add_bytes(out, 1, services[i]);
    }
}

tern_code tn_reflection_answer(tn_str request, const tn_str *services, size_t n_services, tn_buf *out,
                               tern_status *st)
{
    question q;
    if (!read_question(request, &q))
        return tern_fail(st, TERN_INTERNAL, "The message is no ServerReflectionRequest");
    tn_pb_add_bytes(out, SAY_HOST, q.host);
    tn_pb_add_bytes(out, SAY_REQUEST, request);
    switch (q.kind) {
    case ASK_FILE:
        say_file_or_error(out, find_file(q.what), TN_STR("File not found."));
        break;
    case ASK_SYMBOL:
        say_file_or_error(out, find_symbol(q.what), TN_STR("Symbol not found."));
        break;
    case ASK_EXTENSION:
        say_error(out, TERN_NOT_FOUND, TN_STR("Extension not found."));
        break;
    case ASK_EXTENSION_NUMBERS:
        say_no_extensions(out, q.what);
        break;
    case ASK_SERVICES:
        say_services(out, services, n_services);
        break;
    default:
        say_error(out, TERN_INVALID_ARGUMENT, TN_STR("The request asks for nothing that is known."));
    }
    return out->failed ? tern_fail(st, TERN_RESOURCE_EXHAUSTED, "The answer of this reflection is too large")
                       : TERN_OK;
}
