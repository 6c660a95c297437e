/*
 * net/tls.c - TLS between a connection and its socket: see tls.h.
 *
 * The four functions of tn_conn_io, made of SSL_read and SSL_write over a BIO that is the socket. Reading
 * goes on until the room is full or the socket is empty, and remembers which (`more`), since bytes that
 * OpenSSL has taken from the socket wake nobody. One call takes at most a turn's bytes from the socket, so
 * that records without contents (KeyUpdate) cannot hold the loop. Small pieces of the output are put together
 * into one record; large ones are encrypted where they lie. A record that did not fit into the socket is
 * tried again with the same bytes, which are still the first of the queue.
 */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "net/conn.h"
#include "net/tls_conn.h"

#define RECORD     ((size_t)16 * 1024)
#define READ_AHEAD ((size_t)64 * 1024)

struct tn_tls {
    pthread_mutex_t lock; /* ctx */
    SSL_CTX *ctx;
};

typedef struct session {
    SSL *ssl;
    size_t taken; /* bytes of the socket in this call */
    bool more;    /* reading would give something though the socket may be empty */
    bool full;    /* the turn's bytes are used up */
    bool ended;   /* the socket has nothing more to read */
    bool broken;  /* nothing can be read or written any more */
} session;

/* ---- the socket as a BIO ---- */

static int socket_read(BIO *bio, char *room, size_t n, size_t *got)
{
    tn_conn *conn = BIO_get_data(bio);
    session *s = conn->io_user;
    BIO_clear_retry_flags(bio);
    *got = 0;
    s->full = s->taken >= TN_CONN_TURN_BYTES;
    if (s->full) {
        BIO_set_retry_read(bio);
        return 0;
    }
    ssize_t read;
    do
        read = recv(conn->fd, room, n, 0);
    while (read < 0 && errno == EINTR);
    if (read < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_read(bio);
    s->ended = read == 0;
    if (read <= 0)
        return 0;
    s->taken += (size_t)read;
    *got = (size_t)read;
    return 1;
}

static int socket_write(BIO *bio, const char *bytes, size_t n, size_t *put)
{
    tn_conn *conn = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    *put = 0;
    ssize_t sent;
    do
        sent = send(conn->fd, bytes, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        BIO_set_retry_write(bio);
    if (sent <= 0)
        return 0;
    *put = (size_t)sent;
    return 1;
}

static long socket_control(BIO *bio, int command, long n, void *arg)
{
    const tn_conn *conn = BIO_get_data(bio);
    const session *s = conn->io_user;
    (void)n;
    (void)arg;
    return command == BIO_CTRL_FLUSH || (command == BIO_CTRL_EOF && s->ended);
}

static BIO_METHOD *socket_method;
static pthread_once_t socket_method_once = PTHREAD_ONCE_INIT;

static void free_socket_method(void)
{
    BIO_meth_free(socket_method);
}

static void make_socket_method(void)
{
    socket_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "tern");
    if (socket_method == NULL)
        return;
    BIO_meth_set_read_ex(socket_method, socket_read);
    BIO_meth_set_write_ex(socket_method, socket_write);
    BIO_meth_set_ctrl(socket_method, socket_control);
    atexit(free_socket_method);
}

/* ---- the connection's io ---- */

static const char plain_http[] =
    "HTTP/1.0 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    "This port speaks TLS: use https.\n";

/*
 * The handshake or the stream is broken. OpenSSL has sent its alert; the client gets time to read it before
 * the socket closes.
 */
static ssize_t break_off(tn_conn *conn, int error)
{
    session *s = conn->io_user;
    bool in_handshake = !SSL_is_init_finished(s->ssl);
    unsigned long code = ERR_peek_error();
    s->broken = true;
    if (error == SSL_ERROR_SYSCALL)
        return -ECONNRESET;
    const char *reason = ERR_reason_error_string(code);
    tn_debug("net", "TLS %s: %s", in_handshake ? "handshake" : "connection",
             reason != NULL ? reason : "protocol error");
    tn_conn_count_error(conn);
    ERR_clear_error();
    if (!in_handshake)
        return -EPROTO;
    if (ERR_GET_REASON(code) == SSL_R_HTTP_REQUEST) {
        ssize_t sent = send(conn->fd, plain_http, sizeof plain_http - 1, MSG_NOSIGNAL);
        (void)sent;
    }
    tn_conn_close_after(conn, true);
    return -EAGAIN;
}

/* What follows a broken handshake is read only to be dropped. */
static ssize_t drop(const tn_conn *conn, char *room, size_t n)
{
    ssize_t got = recv(conn->fd, room, n, 0);
    return got < 0 ? -errno : got;
}

static ssize_t tls_recv(tn_conn *conn, char *room, size_t n)
{
    session *s = conn->io_user;
    size_t got = 0, part;
    s->more = false;
    s->taken = 0;
    if (s->broken)
        return drop(conn, room, n);
    ERR_clear_error();
    while (got < n && SSL_read_ex(s->ssl, room + got, n - got, &part) == 1)
        got += part;
    if (got == n) {
        s->more = true;
        return (ssize_t)got;
    }
    int error = SSL_get_error(s->ssl, 0);
    switch (error) {
    case SSL_ERROR_WANT_READ:
        s->more = s->full;
        return got > 0 ? (ssize_t)got : -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        s->more = conn->blocked = true;
        return got > 0 ? (ssize_t)got : -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        s->more = got > 0;
        return (ssize_t)got;
    default:
        if (got == 0)
            return break_off(conn, error);
        s->more = true; /* the error comes again */
        return (ssize_t)got;
    }
}

/* The next bytes of the vector, at most a record, in one piece. */
static const char *next_record(const struct iovec *iov, size_t n, size_t at, size_t *len)
{
    static _Thread_local char gathered[RECORD];
    size_t filled = 0;
    *len = iov[0].iov_len - at;
    if (*len >= RECORD || n == 1)
        return (const char *)iov[0].iov_base + at;
    for (size_t i = 0; i < n && filled < RECORD; i++) {
        size_t left = iov[i].iov_len - (i == 0 ? at : 0);
        size_t part = left < RECORD - filled ? left : RECORD - filled;
        memcpy(gathered + filled, (const char *)iov[i].iov_base + (i == 0 ? at : 0), part);
        filled += part;
    }
    *len = filled;
    return gathered;
}

static ssize_t tls_send(tn_conn *conn, const struct iovec *iov, size_t n)
{
    session *s = conn->io_user;
    size_t done = 0, at = 0;
    if (s->broken)
        return -EPIPE;
    ERR_clear_error();
    while (n > 0) {
        size_t len, put;
        const char *bytes = next_record(iov, n, at, &len);
        if (SSL_write_ex(s->ssl, bytes, len, &put) != 1) {
            if (SSL_get_error(s->ssl, 0) == SSL_ERROR_WANT_WRITE)
                break;
            s->broken = true;
            ERR_clear_error();
            return -EPIPE;
        }
        done += put;
        for (at += put; n > 0 && at >= iov->iov_len; iov++, n--)
            at -= iov->iov_len;
    }
    return done > 0 ? (ssize_t)done : -EAGAIN;
}

/* Says close_notify, once, as far as the socket takes it now. */
static void say_end(tn_conn *conn)
{
    session *s = conn->io_user;
    if (s->broken || conn->blocked || !SSL_is_init_finished(s->ssl))
        return;
    ERR_clear_error();
    if ((SSL_get_shutdown(s->ssl) & SSL_SENT_SHUTDOWN) == 0 && SSL_shutdown(s->ssl) < 0)
        ERR_clear_error();
}

static void tls_shut(tn_conn *conn)
{
    say_end(conn);
    shutdown(conn->fd, SHUT_WR);
}

static void tls_close(tn_conn *conn)
{
    session *s = conn->io_user;
    say_end(conn);
    SSL_free(s->ssl);
    tn_pool_give(&conn->loop->pool, s);
    close(conn->fd);
}

static bool tls_pending(const tn_conn *conn)
{
    const session *s = conn->io_user;
    return s->more && !conn->blocked;
}

static const tn_conn_io tls_io = {tls_recv, tls_send, tls_shut, tls_close, tls_pending};

bool tn_tls_attach(tn_tls *tls, tn_conn *conn)
{
    session *s = tn_pool_take(&conn->loop->pool, sizeof *s);
    if (s == NULL)
        return false;
    *s = (session){0};
    pthread_mutex_lock(&tls->lock);
    s->ssl = SSL_new(tls->ctx);
    pthread_mutex_unlock(&tls->lock);
    BIO *bio = s->ssl != NULL ? BIO_new(socket_method) : NULL;
    if (bio == NULL) {
        SSL_free(s->ssl);
        tn_pool_give(&conn->loop->pool, s);
        ERR_clear_error();
        return false;
    }
    BIO_set_data(bio, conn);
    BIO_set_init(bio, 1);
    SSL_set_bio(s->ssl, bio, bio);
    SSL_set_accept_state(s->ssl);
    conn->io = &tls_io;
    conn->io_user = s;
    return true;
}

/* ---- keys ---- */

/* One sentence of what OpenSSL said first. */
static tern_code wrong(tern_status *st, const char *field, const char *what)
{
    const char *reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return tern_fail(st, TERN_INVALID_ARGUMENT, "%s: %s (%s)", field, what,
                     reason != NULL ? reason : "nothing found");
}

/* Nobody is there to be asked for a passphrase. */
static int no_passphrase(char *room, int size, int writing, void *user)
{
    (void)room;
    (void)size;
    (void)writing;
    (void)user;
    return -1;
}

static BIO *pem_of(tn_str text)
{
    return BIO_new_mem_buf(text.ptr != NULL ? text.ptr : "", (int)text.len);
}

static tern_code use_cert(SSL_CTX *ctx, tn_str pem, tern_status *st)
{
    BIO *bio = pem_of(pem);
    X509 *cert = bio != NULL ? PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, NULL) : NULL;
    tern_code code = TERN_OK;
    if (cert == NULL)
        code = wrong(st, "server_cert", "there is no certificate in PEM form");
    else if (SSL_CTX_use_certificate(ctx, cert) != 1)
        code = wrong(st, "server_cert", "the certificate cannot be used");
    X509_free(cert);
    while (code == TERN_OK && (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        if (SSL_CTX_add0_chain_cert(ctx, cert) != 1) {
            X509_free(cert);
            code = wrong(st, "server_cert", "a certificate of the chain cannot be used");
        }
    }
    BIO_free(bio);
    ERR_clear_error(); /* the end of the text is an error to PEM_read */
    return code;
}

static tern_code use_key(SSL_CTX *ctx, tn_str pem, tern_status *st)
{
    BIO *bio = pem_of(pem);
    EVP_PKEY *key = bio != NULL ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
    tern_code code = TERN_OK;
    if (key == NULL)
        code = wrong(st, "server_key", "there is no private key in PEM form without a passphrase");
    else if (SSL_CTX_use_PrivateKey(ctx, key) != 1 || SSL_CTX_check_private_key(ctx) != 1)
        code = wrong(st, "server_key", "the key does not belong to server_cert");
    EVP_PKEY_free(key);
    BIO_free(bio);
    return code;
}

static tern_code use_ca(SSL_CTX *ctx, tn_str pem, tern_status *st)
{
    X509_STORE *store = SSL_CTX_get_cert_store(ctx);
    BIO *bio = pem_of(pem);
    X509 *cert;
    size_t n = 0;
    bool good = bio != NULL;
    while (good && (cert = PEM_read_bio_X509(bio, NULL, no_passphrase, NULL)) != NULL) {
        good = X509_STORE_add_cert(store, cert) == 1 && SSL_CTX_add_client_CA(ctx, cert) == 1;
        X509_free(cert);
        n++;
    }
    BIO_free(bio);
    if (!good || n == 0)
        return wrong(st, "custom_ca", "there is no certificate in PEM form");
    ERR_clear_error();
    return TERN_OK;
}

/* The server's choice among the client's protocols (RFC 7301, 3.2). */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_len,
                           const unsigned char *in, unsigned in_len, void *arg)
{
    static const unsigned char ours[] = "\x02h2\x08http/1.1";
    unsigned char *chosen;
    (void)ssl;
    (void)arg;
    if (SSL_select_next_proto(&chosen, out_len, ours, sizeof ours - 1, in, in_len) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static void set_manners(SSL_CTX *ctx)
{
    static const unsigned char name[] = "tern";
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    /* Those that HTTP/2 allows (RFC 9113, 9.2.2); TLS 1.3 has its own. */
    SSL_CTX_set_cipher_list(ctx, "ECDHE+AESGCM:ECDHE+CHACHA20");
    /* HTTP tells its own end, so a missing close_notify cuts no request short unnoticed. */
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                              SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_read_ahead(ctx, 1);
    SSL_CTX_set_default_read_buffer_len(ctx, READ_AHEAD);
    /* Clients keep their sessions themselves (tickets); the server stores none. */
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_session_id_context(ctx, name, sizeof name - 1);
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, NULL);
}

static tern_code make_context(const tn_tls_keys *keys, SSL_CTX **out, tern_status *st)
{
    tern_code code = TERN_OK;
    if (keys->key.len > INT32_MAX || keys->cert.len > INT32_MAX || keys->ca.len > INT32_MAX)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "the keys are too long");
    pthread_once(&socket_method_once, make_socket_method);
    SSL_CTX *ctx = socket_method != NULL ? SSL_CTX_new(TLS_server_method()) : NULL;
    if (ctx == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for TLS");
    set_manners(ctx);
    code = use_cert(ctx, keys->cert, st);
    if (code == TERN_OK)
        code = use_key(ctx, keys->key, st);
    if (code == TERN_OK && keys->ca.len > 0)
        code = use_ca(ctx, keys->ca, st);
    else if (code == TERN_OK && keys->client_verify)
        SSL_CTX_set_default_verify_paths(ctx);
    if (keys->client_verify)
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    if (code != TERN_OK) {
        SSL_CTX_free(ctx);
        return code;
    }
    *out = ctx;
    return TERN_OK;
}

tern_code tn_tls_new(const tn_tls_keys *keys, tn_tls **out, tern_status *st)
{
    tn_tls *tls = calloc(1, sizeof *tls);
    *out = NULL;
    if (tls == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for TLS");
    tern_code code = make_context(keys, &tls->ctx, st);
    if (code != TERN_OK) {
        free(tls);
        return code;
    }
    pthread_mutex_init(&tls->lock, NULL);
    *out = tls;
    return TERN_OK;
}

tern_code tn_tls_change(tn_tls *tls, const tn_tls_keys *keys, tern_status *st)
{
    SSL_CTX *ctx;
    tern_code code = make_context(keys, &ctx, st);
    if (code != TERN_OK)
        return code;
    pthread_mutex_lock(&tls->lock);
    SSL_CTX *old = tls->ctx;
    tls->ctx = ctx;
    pthread_mutex_unlock(&tls->lock);
    SSL_CTX_free(old); /* connections hold their own reference */
    return TERN_OK;
}

void tn_tls_free(tn_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_CTX_free(tls->ctx);
    pthread_mutex_destroy(&tls->lock);
    free(tls);
}
