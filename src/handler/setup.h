/*
 * handler/setup.h - what a worker process of a handler is told when it starts: the options of attach(), as
 * bytes; and the text in which that stands in its environment. Pure, any thread.
 *
 * Numbers are little-endian; a text is u32 length and bytes, an absent one has the length 2^32 - 1. The
 * writer is the server, so what is read is believed but for its lengths.
 */
#ifndef TN_HANDLER_SETUP_H
#define TN_HANDLER_SETUP_H

#include "base/arena.h"
#include "base/buf.h"
#include "tern/handler.h"

void tn_setup_write(const tern_handler_options *options, tn_buf *out);
/* All of *options lives in the arena, or in the bytes. INVALID_ARGUMENT when the bytes are not what was
 * written. */
TERN_MUST_USE tern_code tn_setup_read(tn_str bytes, tn_arena *arena, tern_handler_options *options,
                                      tern_status *st);

/* The head of a request, in the same manner: everything but body and deadline. */
void tn_setup_write_head(const tern_handler_request *request, tn_buf *out);
size_t tn_setup_head_size(const tern_handler_request *request);
TERN_MUST_USE tern_code tn_setup_read_head(tn_str bytes, tn_arena *arena, tern_handler_request *request,
                                           tern_status *st);

/*
 * The bytes as variables of an environment, base64, none of them longer than Linux takes:
 * TERN_HANDLER_SETUP_0=..., _1. Returns owned: a list that ends with NULL, after the n strings of `before`
 * (borrowed); free() it and *texts. NULL when memory is short.
 */
const char **tn_setup_environment(tn_str bytes, const char *const *before, char **texts);
/* And back, out of the process's own, which is cleaned of them. {NULL,0} when there is none. */
tn_str tn_setup_from_environment(tn_arena *arena);

#endif
