/*
 * api/reflection.h - what gRPC's server reflection answers: grpc.reflection.v1 and v1alpha, whose messages
 * are the same (grpc/doc/server-reflection.md). Pure; any thread.
 */
#ifndef TN_API_REFLECTION_H
#define TN_API_REFLECTION_H

#include "base/buf.h"

/*
 * Appends the ServerReflectionResponse to a serialized ServerReflectionRequest. services: full names of what
 * is served. Files come with all that they import. What is not known is an answer, too; INTERNAL only when
 * request is no such message, RESOURCE_EXHAUSTED when out is full.
 */
TERN_MUST_USE tern_code tn_reflection_answer(tn_str request, const tn_str *services, size_t n_services,
                                             tn_buf *out, tern_status *st);

#endif
