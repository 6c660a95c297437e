/*
 * cli/ssl_config.c - --ssl_config_file: keys for TLS, read at the start, and again when the file changes or
 * at SIGHUP. See cli/parts.h.
 *
 * The file is tensorflow.serving.SSLConfig in text form, its keys and certificates PEM inside strings. It
 * secures the gRPC port and socket, as in the original (BuildServerCredentialsFromSSLConfigFile of
 * model_servers/server.cc); REST too when --rest_api_tls says so. Where the original aborts at a bad file,
 * the start fails with a sentence; a bad file later leaves the old keys at work.
 */
#include <errno.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/log.h"
#include "cli/parts.h"
#include "codec/pb_text.h"
#include "net/tls.h"
#include "server_config.pb-c.h"

#define LOOK_AGAIN_S 5

/* Puts the flag and the file in front. */
static tern_code in_file(const tn_parts *p, tern_status *st)
{
    char said[sizeof st->message];
    snprintf(said, sizeof said, "%.*s", (int)st->length, st->message);
    return tern_fail(st, st->code, "--ssl_config_file=%s: %s", p->o.ssl_config_file, said);
}

static tern_code use_keys(tn_parts *p, const Tensorflow__Serving__SSLConfig *config, tern_status *st)
{
    const tn_tls_keys keys = {.key = tn_str_from(config->server_key),
                              .cert = tn_str_from(config->server_cert),
                              .ca = tn_str_from(config->custom_ca),
                              .client_verify = config->client_verify};
    if (keys.key.len == 0 || keys.cert.len == 0)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "%s is missing; give server_key and server_cert in PEM form",
                         keys.key.len == 0 ? "server_key" : "server_cert");
    return p->tls == NULL ? tn_tls_new(&keys, &p->tls, st) : tn_tls_change(p->tls, &keys, st);
}

static tern_code read_keys(tn_parts *p, tern_status *st)
{
    tn_arena arena;
    tn_str text;
    ProtobufCMessage *message = NULL;
    tn_arena_init(&arena, 64u << 20);
    tern_code code = tn_config_read(p->o.ssl_config_file, &arena, &text, st);
    if (code == TERN_OK) {
        code = tn_pb_text_parse(text, &tensorflow__serving__sslconfig__descriptor, &message, st);
        if (code == TERN_OK)
            code = use_keys(p, (const void *)message, st);
        if (code != TERN_OK)
            in_file(p, st);
    }
    if (message != NULL)
        protobuf_c_message_free_unpacked(message, NULL);
    tn_arena_free(&arena);
    return code;
}

/* What tells one state of the file from another, links followed: a rotated secret is a new link. */
static tn_file_state look(const char *path)
{
    struct stat info;
    if (stat(path, &info) != 0)
        return (tn_file_state){0};
    return (tn_file_state){(uint64_t)info.st_ino, (int64_t)info.st_size,
                           info.st_mtim.tv_sec * TN_NS_PER_S + info.st_mtim.tv_nsec};
}

static bool same(const tn_file_state *a, const tn_file_state *b)
{
    return a->inode == b->inode && a->size == b->size && a->mtime_ns == b->mtime_ns;
}

tern_code tn_parts_tls(tn_parts *p, tern_status *st)
{
    if (p->o.ssl_config_file[0] == '\0')
        return TERN_OK;
    p->tls_seen = look(p->o.ssl_config_file);
    return read_keys(p, st);
}

void tn_parts_secure(tn_parts *p)
{
    if (p->tls == NULL)
        return;
    tn_net_secure(p->server.net, TN_LISTENER_GRPC, p->tls);
    if (p->o.rest_api_tls)
        tn_net_secure(p->server.net, TN_LISTENER_REST, p->tls);
}

static void read_again(tn_parts *p, bool asked)
{
    tern_status st;
    tn_file_state now = look(p->o.ssl_config_file);
    if (!asked && same(&now, &p->tls_seen))
        return;
    p->tls_seen = now;
    if (read_keys(p, &st) == TERN_OK)
        tn_info("serve", "new keys from %s; connections from now on use them", p->o.ssl_config_file);
    else
        tn_error("serve", "%.*s; the old keys stay", (int)st.length, st.message);
}

int tn_parts_wait(tn_parts *p, const sigset_t *stop)
{
    sigset_t all = *stop;
    const struct timespec pause = {.tv_sec = LOOK_AGAIN_S};
    if (tn_parts_hears_hangup(&p->o))
        sigaddset(&all, SIGHUP);
    for (;;) {
        int number = sigtimedwait(&all, NULL, p->tls != NULL ? &pause : NULL);
        if (number > 0 && number != SIGHUP)
            return number;
        if (number == SIGHUP && p->server.access_log != NULL)
            tn_log_writer_reopen(p->server.access_log);
        if (p->tls != NULL && (number == SIGHUP || errno == EAGAIN))
            read_again(p, number == SIGHUP);
    }
}
