/*
 * api/metrics.h - inside of the metrics' surface: the two pages, written out. Any thread; not on a loop, for
 * with a thousand models a page takes a while.
 */
#ifndef TN_API_METRICS_H
#define TN_API_METRICS_H

#include "api/server.h"

/* Tern's own series (/metrics), metrics_tern.c. */
void tn_metrics_tern(tn_server *server, tn_buf *out);
/* Its part about worker processes, metrics_workers.c. versions: those that are loaded, with a reference. */
void tn_metrics_workers(tn_server *server, tn_version *const *versions, size_t n, tn_arena *arena,
                        tn_buf *out);
/* TensorFlow Serving's, by its names (--monitoring_config_file), metrics_serving.c. */
void tn_metrics_serving(tn_server *server, tn_buf *out);

#endif
