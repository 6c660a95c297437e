/*
 * base/log.h - one line a message, to stderr: "2026-11-23T03:20:01.123Z I net: listening ...". Any thread; a
 * line is one write().
 */
#ifndef TN_BASE_LOG_H
#define TN_BASE_LOG_H

#include "tern/engine.h"

void tn_log_level(tern_log_level lowest);
void tn_log(tern_log_level level, const char *component, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* For tern_host.log. */
void tn_log_plugin(tern_log_level level, const char *component, const char *message);

#define tn_debug(component, ...) tn_log(TERN_LOG_DEBUG, component, __VA_ARGS__)
#define tn_info(component, ...)  tn_log(TERN_LOG_INFO, component, __VA_ARGS__)
#define tn_warn(component, ...)  tn_log(TERN_LOG_WARNING, component, __VA_ARGS__)
#define tn_error(component, ...) tn_log(TERN_LOG_ERROR, component, __VA_ARGS__)

#endif
