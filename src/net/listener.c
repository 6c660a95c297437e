/*
 * net/listener.c - bind, listen, accept, hand over.
 *
 * Loop 0 accepts until the kernel has no more, and gives each connection to the loop with the fewest, in turn
 * among equals. When the process runs out of descriptors, accepting rests for a moment instead of spinning:
 * the kernel's queue holds the clients.
 */
#include "net/listener.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "net/conn.h"
#include "net/tls_conn.h"

#define BACKLOG  4096
#define PAUSE_NS (50 * TN_NS_PER_MS)
/* Connections taken before the loop looks at its other work. */
#define ACCEPT_TURN 64

typedef struct handover {
    tn_task task;
    tn_loop *loop;
    int fd;
    int32_t tag;
    tn_tls *tls;
} handover;

static void open_connection(const handover *given)
{
    tn_conn *conn = tn_conn_open(given->loop, given->fd, given->tag, NULL, NULL);
    if (conn != NULL && given->tls != NULL && !tn_tls_attach(given->tls, conn))
        tn_conn_kill(conn);
    else if (conn != NULL && given->loop->phase == TN_LOOP_DRAINING)
        tn_conn_drain(conn);
}

static void take_over(tn_task *task)
{
    handover *given = TN_CONTAINER(task, handover, task);
    open_connection(given);
    free(given);
}

static tn_loop *least_loaded(tn_net *net)
{
    static atomic_uint turn;
    tn_loop *best = NULL;
    uint64_t fewest = UINT64_MAX;
    int32_t n = 0;
    while (tn_net_loop(net, n) != NULL)
        n++;
    unsigned first = atomic_fetch_add_explicit(&turn, 1, memory_order_relaxed);
    for (int32_t i = 0; i < n; i++) {
        tn_loop *loop = tn_net_loop(net, (int32_t)((first + (unsigned)i) % (unsigned)n));
        uint64_t open = atomic_load_explicit(&loop->counts.connections_open, memory_order_relaxed) +
                        atomic_load_explicit(&loop->handed, memory_order_relaxed) -
                        atomic_load_explicit(&loop->counts.connections_total, memory_order_relaxed);
        if (open < fewest) {
            fewest = open;
            best = loop;
        }
    }
    return best;
}

static void accepted(tn_listener *listener, int fd)
{
    tn_net *net = listener->net;
    if (!tn_net_take_place(net)) {
        tn_net_count_refused(net);
        close(fd);
        return;
    }
    if (listener->path == NULL) {
        int on = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    }
    tn_loop *loop = least_loaded(net);
    tn_count(&loop->handed, 1);
    const handover what = {
        .task.run = take_over, .loop = loop, .fd = fd, .tag = listener->tag, .tls = listener->tls};
    if (loop == listener->loop) {
        open_connection(&what);
        return;
    }
    handover *given = malloc(sizeof *given);
    if (given == NULL) {
        close(fd);
        tn_net_give_place(net);
        return;
    }
    *given = what;
    tn_loop_post(loop, &given->task);
}

static void on_connection(uv_poll_t *handle, int status, int events);

static void go_on(tn_timer *timer)
{
    tn_listener *listener = TN_CONTAINER(timer, tn_listener, pause);
    if (listener->open)
        uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

static void rest(tn_listener *listener, int error)
{
    static atomic_int_least64_t logged_ns;
    int64_t now = tn_now_ns();
    if (now - atomic_load(&logged_ns) > 10 * TN_NS_PER_S) {
        atomic_store(&logged_ns, now);
        tn_warn("net", "cannot accept connections for the moment: %s", strerror(error));
    }
    uv_poll_stop(&listener->poll);
    tn_timer_start(listener->loop, &listener->pause, now + PAUSE_NS, go_on);
}

static void on_connection(uv_poll_t *handle, int status, int events)
{
    tn_listener *listener = handle->data;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            accepted(listener, fd);
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK)
            break;
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            rest(listener, errno);
            break;
        }
        /* Else one connection is broken (ECONNABORTED and the like); the next may be good. */
    }
    tn_loop_settle(listener->loop);
}

void tn_listener_last_call(tn_listener *listener)
{
    for (int i = 0; i < BACKLOG && listener->open; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            accepted(listener, fd);
        else if (errno != ECONNABORTED && errno != EINTR)
            break;
    }
}

static void open_now(tn_task *task)
{
    tn_listener *listener = TN_CONTAINER(task, tn_listener, open_task);
    if (listener->fd < 0 || listener->loop->phase != TN_LOOP_OPEN)
        return;
    int failed = uv_poll_init(&listener->loop->uv, &listener->poll, listener->fd);
    if (failed != 0) {
        tn_error("net", "cannot watch a listener: %s", uv_strerror(failed));
        return;
    }
    listener->poll.data = listener;
    listener->open = true;
    uv_poll_start(&listener->poll, UV_READABLE, on_connection);
}

void tn_listener_watch(tn_listener *listener, tn_loop *loop)
{
    listener->loop = loop;
    listener->open_task.run = open_now;
    tn_loop_post(loop, &listener->open_task);
}

void tn_listener_shut(tn_listener *listener)
{
    if (listener->open) {
        tn_timer_stop(listener->loop, &listener->pause);
        uv_close((uv_handle_t *)&listener->poll, NULL);
        listener->open = false;
    }
    if (listener->fd >= 0)
        close(listener->fd);
    listener->fd = -1;
    if (listener->path != NULL)
        unlink(listener->path);
}

void tn_listener_free(tn_listener *listener)
{
    if (listener->fd >= 0)
        close(listener->fd);
    if (listener->path != NULL && listener->fd >= 0)
        unlink(listener->path);
    free(listener->path);
    free(listener);
}

/* Binding. */

static int listen_at(int family, const struct sockaddr *address, socklen_t len, int *fd)
{
    int on = 1, off = 0, saved;
    *fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (*fd < 0)
        return errno;
    if (family != AF_UNIX)
        setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (family == AF_INET6)
        setsockopt(*fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (bind(*fd, address, len) == 0 && listen(*fd, BACKLOG) == 0)
        return 0;
    saved = errno;
    close(*fd);
    *fd = -1;
    return saved;
}

static tern_code new_listener(tn_net *net, int fd, int32_t tag, tn_listener **out, tern_status *st)
{
    tn_listener *listener = calloc(1, sizeof *listener);
    if (listener == NULL) {
        close(fd);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for a listener");
    }
    listener->net = net;
    listener->fd = fd;
    listener->tag = tag;
    *out = listener;
    return TERN_OK;
}

static int port_of(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } name;
    socklen_t len = sizeof name;
    memset(&name, 0, sizeof name);
    if (getsockname(fd, &name.any, &len) != 0)
        return 0;
    return ntohs(name.any.sa_family == AF_INET6 ? name.v6.sin6_port : name.v4.sin_port);
}

tern_code tn_listener_bind(tn_net *net, const char *address, int port, int32_t tag, tn_listener **out,
                           int *bound_port, tern_status *st)
{
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV},
                    *found = NULL;
    int fd = -1, failed = 0;
    if (port < 0 || port > 65535)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%d is no port", port);
    snprintf(service, sizeof service, "%d", port);
    const char *node = address != NULL ? address : "::";
    int unknown = getaddrinfo(node, service, &hints, &found);
    if (unknown != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "cannot listen on %s port %d: %s", node, port,
                         gai_strerror(unknown));
    for (const struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next)
        failed = listen_at(at->ai_family, at->ai_addr, at->ai_addrlen, &fd);
    freeaddrinfo(found);
    if (fd < 0 && address == NULL && failed != EADDRINUSE && failed != EACCES) {
        /* A machine without IPv6. */
        struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        failed = listen_at(AF_INET, (const struct sockaddr *)&any, sizeof any, &fd);
    }
    if (fd < 0)
        return tern_fail(st, TERN_UNAVAILABLE, "cannot listen on %s port %d: %s", node, port,
                         strerror(failed));
    if (bound_port != NULL)
        *bound_port = port_of(fd);
    return new_listener(net, fd, tag, out, st);
}

/*
 * A socket file that nobody listens on any more may be replaced; a living one, or another kind of file, not.
 */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat info;
    if (lstat(address->sun_path, &info) != 0 || !S_ISSOCK(info.st_mode))
        return false;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool stale = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

tern_code tn_listener_bind_unix(tn_net *net, const char *path, int32_t tag, tn_listener **out,
                                tern_status *st)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(path);
    int fd = -1;
    if (len == 0 || len >= sizeof address.sun_path)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "the path of a Unix socket has 1 to %zu bytes: %s",
                         sizeof address.sun_path - 1, path);
    memcpy(address.sun_path, path, len);
    if (is_stale(&address))
        unlink(path);
    int failed = listen_at(AF_UNIX, (const struct sockaddr *)&address, sizeof address, &fd);
    if (failed != 0)
        return tern_fail(st, TERN_UNAVAILABLE, "cannot listen on %s: %s", path, strerror(failed));
    tern_code code = new_listener(net, fd, tag, out, st);
    if (code != TERN_OK)
        return code;
    (*out)->path = strdup(path);
    if ((*out)->path == NULL) {
        unlink(path);
        tn_listener_free(*out);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "no memory for a listener");
    }
    return TERN_OK;
}
