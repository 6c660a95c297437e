/*
 * handler/worker.c - the process of an isolated handler: one plugin, one call at a time. See
 * handler/isolated.h for what goes over the socket, and handler/job.c for what a handler is held to: that is
 * the same code as in the server, on a call that has a version of its own without an engine.
 *
 * The page that it shares with the server holds the call that it has begun. Whatever it does to its memory,
 * the server takes nothing from it but what it has checked.
 */
#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "handler/attached.h"
#include "handler/isolated.h"
#include "handler/setup.h"

#define SOCKET_FD  3
#define PAGE_FD    4
#define PAGE_BYTES 4096
#define ARENA_MAX  ((size_t)1 << 30)
#define SETUP_MAX  ((size_t)64 << 20)
#define FDS_MAX    16
#define NEED_MIN   ((size_t)64 << 10)
/*
 * What malloc() keeps of what was freed: the next document wants as much, and pages cost more than they hold.
 */
#define KEPT_FREE (512 << 20)
#define MMAP_FROM (32 << 20) /* the most that glibc takes */

typedef struct mapping {
    uint64_t id;
    char *ptr;
    size_t size;
} mapping;

/* The process. */
typedef struct worker {
    uint64_t *page;
    tn_arena arena; /* the options */
    tern_handler_options options;
    tn_version version;
    tn_handler_attached attached;
    mapping *maps;
    size_t n_maps, room_maps;
    tn_call call;
    tn_handler_job job;
    /* Where the call may write. */
    tn_frame_ref room;
    char in[TN_FRAME_MAX], out[TN_FRAME_MAX];
} worker;

static const tn_call_steps steps = {.name = "handler"};

/* What the server did is not as agreed, or it is gone: there is nobody to tell. */
static _Noreturn void give_up(const char *why)
{
    tn_warn("handler", "worker: %s", why);
    _exit(1);
}

/* ---- frames ---- */

static void put_frame(tn_frame_writer *w)
{
    const size_t n = tn_frame_end(w);
    ssize_t sent;
    do
        sent = send(SOCKET_FD, w->buf, n, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    if (n == 0 || sent < 0)
        give_up(n == 0 ? "a frame became too large" : "the server is gone");
}

static void map_segments(worker *w, const tn_frame *frame, const int *fds, size_t n_fds)
{
    size_t at = 0, k = 0;
    tn_frame_field field;
    tn_frame_ref ref;
    while (tn_frame_next(frame, &at, &field)) {
        if (field.tag != TN_TAG_MAP || !tn_frame_as_ref(field.bytes, &ref))
            continue;
        if (k == n_fds)
            give_up("a segment came without its descriptor");
        if (w->n_maps == w->room_maps) {
            w->room_maps = w->room_maps == 0 ? 64 : 2 * w->room_maps;
            w->maps = realloc(w->maps, w->room_maps * sizeof *w->maps);
        }
        if (w->maps == NULL)
            give_up("no memory");
        char *ptr = mmap(NULL, (size_t)ref.size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[k], 0);
        close(fds[k++]);
        if (ptr == MAP_FAILED)
            give_up("a segment cannot be mapped");
        w->maps[w->n_maps++] = (mapping){ref.segment, ptr, (size_t)ref.size};
    }
}

static void forget_segment(worker *w, const tn_frame *frame)
{
    tn_frame_ref ref;
    if (!tn_frame_get_ref(frame, TN_TAG_SEGMENT, &ref))
        return;
    for (size_t i = 0; i < w->n_maps; i++)
        if (w->maps[i].id == ref.segment) {
            munmap(w->maps[i].ptr, w->maps[i].size);
            w->maps[i] = w->maps[--w->n_maps];
            return;
        }
}

static size_t take_fds(struct msghdr *message, int *fds)
{
    size_t n = 0;
    for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c != NULL; c = CMSG_NXTHDR(message, c))
        if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
            for (size_t at = CMSG_LEN(0); at + sizeof *fds <= c->cmsg_len && n < FDS_MAX; at += sizeof *fds)
                memcpy(&fds[n++], (char *)c + at, sizeof *fds);
    return n;
}

/* The next frame but those about memory; its bytes are in w->in. false: the server has closed. */
static bool get_frame(worker *w, tn_frame *frame)
{
    union {
        struct cmsghdr head;
        char room[CMSG_SPACE(FDS_MAX * sizeof(int))];
    } control;
    for (;;) {
        int fds[FDS_MAX];
        tern_status st;
        struct iovec one = {.iov_base = w->in, .iov_len = sizeof w->in};
        struct msghdr message = {
            .msg_iov = &one, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t n = recvmsg(SOCKET_FD, &message, MSG_CMSG_CLOEXEC);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        if (tn_frame_read((tn_str){w->in, (size_t)n}, frame, &st) != TERN_OK)
            give_up(st.message);
        if (frame->type == TN_FRAME_MAP)
            map_segments(w, frame, fds, take_fds(&message, fds));
        else if (frame->type == TN_FRAME_FORGET)
            forget_segment(w, frame);
        else if (frame->type != TN_FRAME_CANCEL) /* that is seen in the call's mark */
            return true;
    }
}

static char *at_ref(const worker *w, const tn_frame_ref *ref)
{
    for (size_t i = 0; i < w->n_maps; i++)
        if (w->maps[i].id == ref->segment && ref->offset <= w->maps[i].size &&
            ref->size <= w->maps[i].size - ref->offset)
            return w->maps[i].ptr + ref->offset;
    give_up("a place in no segment of the call");
}

/* ---- room for what the server is to see ---- */

static uint64_t aligned(uint64_t n)
{
    return (n + TERN_ALIGNMENT - 1) & ~(uint64_t)(TERN_ALIGNMENT - 1);
}

/* Asks for a segment of that size. */
static tern_code more_room(worker *w, uint64_t size, tern_status *st)
{
    tn_frame_writer out;
    tn_frame frame;
    char buf[64];
    tn_frame_begin(&out, buf, sizeof buf, TN_FRAME_NEED, *w->page);
    tn_frame_put_u64(&out, TN_TAG_SIZE, size < NEED_MIN ? NEED_MIN : size);
    put_frame(&out);
    if (!get_frame(w, &frame) || frame.type != TN_FRAME_ROOM)
        give_up("no answer to a wish for memory");
    if (tn_frame_get_ref(&frame, TN_TAG_SEGMENT, &w->room))
        return TERN_OK;
    const tn_str why = tn_frame_get(&frame, TN_TAG_ERROR);
    return tern_fail_bytes(st, TERN_RESOURCE_EXHAUSTED, why.ptr, why.len);
}

/* A place of that size, 64-byte aligned. */
static tern_code place(worker *w, uint64_t size, tn_frame_ref *ref, char **at, tern_status *st)
{
    uint64_t begin = aligned(w->room.offset), end = w->room.offset + w->room.size;
    if (w->room.segment == 0 || begin > end || size > end - begin) {
        tern_code code = more_room(w, size, st);
        if (code != TERN_OK)
            return code;
        begin = aligned(w->room.offset);
        end = w->room.offset + w->room.size;
    }
    *ref = (tn_frame_ref){w->room.segment, begin, size};
    *at = at_ref(w, ref);
    w->room.size = end - begin - size;
    w->room.offset = begin + size;
    return TERN_OK;
}

static tern_code place_bytes(worker *w, const void *bytes, size_t size, tn_frame_ref *ref, tern_status *st)
{
    char *at;
    *ref = (tn_frame_ref){0};
    if (size == 0)
        return TERN_OK;
    tern_code code = place(w, size, ref, &at, st);
    if (code == TERN_OK)
        memcpy(at, bytes, size);
    return code;
}

/* ---- a call ---- */

static tern_code begin_call(worker *w, const tn_frame *frame, tern_status *st)
{
    tn_frame_ref head, body;
    uint64_t deadline;
    if (!tn_frame_get_ref(frame, TN_ISOLATED_HEAD, &head) ||
        !tn_frame_get_ref(frame, TN_ISOLATED_BODY, &body) ||
        !tn_frame_get_ref(frame, TN_ISOLATED_ROOM, &w->room) ||
        !tn_frame_get_u64(frame, TN_ISOLATED_DEADLINE, &deadline))
        give_up("a call without its fields");
    tn_call_init(&w->call, &steps, ARENA_MAX);
    w->call.version = &w->version;
    w->call.deadline_ns = (int64_t)deadline;
    w->job = (tn_handler_job){.call = &w->call, .max_response = (size_t)w->options.max_answer_bytes};
    tern_code code = tn_setup_read_head((tn_str){at_ref(w, &head), (size_t)head.size}, &w->call.arena,
                                        &w->job.request, st);
    if (code != TERN_OK)
        return code;
    const tn_frame_ref mark = {head.segment, 0, sizeof(tn_isolated_mark)};
    w->job.gone = &((tn_isolated_mark *)(void *)at_ref(w, &mark))->gone;
    w->job.request.body = (tn_str){at_ref(w, &body), (size_t)body.size};
    w->job.request.deadline_ns = (int64_t)deadline;
    return TERN_OK;
}

static tern_code put_inputs(worker *w, tn_frame_writer *out, const tn_call_part *part, tern_status *st)
{
    tern_code code = TERN_OK;
    tn_frame_put(out, TN_ISOLATED_SIGNATURE, part->signature->name);
    for (uint32_t i = 0; i < part->n_outputs; i++)
        tn_frame_put(out, TN_ISOLATED_WANTED, part->signature->outputs[part->output_ids[i]].name);
    for (uint32_t i = 0; code == TERN_OK && i < part->n_inputs; i++) {
        const tern_tensor *t = &part->inputs[i];
        tn_frame_tensor said = {
            .name = part->signature->inputs[part->input_ids[i]].name, .dtype = t->dtype, .rank = t->rank};
        if (t->rank > 0)
            memcpy(said.dims, t->dims, (size_t)t->rank * sizeof *t->dims);
        code = place_bytes(w, t->data, t->size, &said.at, st);
        tn_frame_put_tensor(out, &said);
    }
    return code;
}

/* The call's signatures, the first one as a part like the others. */
static tn_call_part part_of(const tn_call *call, uint32_t k)
{
    if (k > 0)
        return call->more[k - 1];
    return (tn_call_part){.signature = call->signature,
                          .inputs = call->inputs,
                          .input_ids = call->input_ids,
                          .n_inputs = call->n_inputs,
                          .outputs = call->outputs,
                          .output_ids = call->output_ids,
                          .n_outputs = call->n_outputs};
}

static tern_code ask(worker *w, tern_status *st)
{
    tn_frame_writer out;
    tern_code code = TERN_OK;
    tn_frame_begin(&out, w->out, sizeof w->out, TN_FRAME_ASK, *w->page);
    for (uint32_t k = 0; code == TERN_OK && k <= w->call.n_more; k++) {
        const tn_call_part part = part_of(&w->call, k);
        code = put_inputs(w, &out, &part, st);
    }
    if (code == TERN_OK && out.failed)
        code = tern_fail(st, TERN_RESOURCE_EXHAUSTED,
                         "The names and shapes of so many inputs do not fit into the %zu bytes that an "
                         "isolated handler has for them",
                         TN_FRAME_MAX);
    if (code == TERN_OK)
        put_frame(&out);
    return code;
}

/* Tensors that lie in the server's segments; the dims are copied, for the frame goes. */
static void take_output(worker *w, const tn_frame_field *field, tern_tensor *t)
{
    tn_frame_tensor said;
    if (!tn_frame_as_tensor(field, &said))
        give_up("an output that is no tensor");
    int64_t *dims = tn_arena_array(&w->call.arena, (size_t)said.rank, sizeof *dims);
    if (dims == NULL)
        give_up("no memory");
    if (said.rank > 0)
        memcpy(dims, said.dims, (size_t)said.rank * sizeof *dims);
    *t = (tern_tensor){.dtype = said.dtype,
                       .rank = said.rank,
                       .dims = dims,
                       .data = said.at.size > 0 ? at_ref(w, &said.at) : NULL,
                       .size = (size_t)said.at.size};
}

static void take_outputs(worker *w, const tn_frame *frame)
{
    tn_call *call = &w->call;
    size_t at = 0;
    uint32_t k = 0, i = 0;
    tn_call_part part = {0};
    tn_frame_field field;
    while (tn_frame_next(frame, &at, &field)) {
        if (field.tag == TN_ISOLATED_SIGNATURE) {
            if (i != part.n_outputs || k > call->n_more)
                give_up("outputs that were not asked for");
            part = part_of(call, k);
            part.outputs = tn_arena_zalloc(&call->arena, part.n_outputs * sizeof *part.outputs);
            if (part.outputs == NULL)
                give_up("no memory");
            *(k == 0 ? &call->outputs : &call->more[k - 1].outputs) = part.outputs;
            k++;
            i = 0;
        } else if (field.tag == TN_TAG_TENSOR) {
            if (i == part.n_outputs)
                give_up("outputs that were not asked for");
            take_output(w, &field, &part.outputs[i++]);
        }
    }
    if (k != call->n_more + 1 || i != part.n_outputs)
        give_up("outputs that are not whole");
}

/* Runs the model in the server: between pre() and post(). false: it came to nothing, and post() is not
 * called. */
static bool run(worker *w, tern_code *code, tern_status *st)
{
    tn_frame frame;
    uint64_t failed;
    *code = ask(w, st);
    if (*code != TERN_OK)
        return false;
    if (!get_frame(w, &frame) || frame.type != TN_FRAME_RESULT || frame.call != *w->page)
        give_up("no result of a run");
    if (tn_frame_get_u64(&frame, TN_ISOLATED_CODE, &failed)) {
        const tn_str why = tn_frame_get(&frame, TN_TAG_ERROR);
        *code = tern_fail_bytes(st, (tern_code)failed, why.ptr, why.len);
        return false;
    }
    if (!tn_frame_get_ref(&frame, TN_ISOLATED_ROOM, &w->room))
        w->room = (tn_frame_ref){0};
    take_outputs(w, &frame);
    return true;
}

static void put_header(tn_frame_writer *out, const tern_handler_header *h)
{
    const uint32_t n = (uint32_t)h->name.len;
    char *to = tn_frame_room(out, TN_ISOLATED_HEADER, sizeof n + h->name.len + h->value.len);
    if (to == NULL)
        return;
    memcpy(to, &n, sizeof n);
    memcpy(to + sizeof n, h->name.ptr, h->name.len);
    if (h->value.len > 0)
        memcpy(to + sizeof n + h->name.len, h->value.ptr, h->value.len);
}

static void make_answer(worker *w, tern_code code, tern_status *st, tn_frame_writer *out)
{
    tn_handler_job *job = &w->job;
    tn_frame_ref body = {0};
    if (code == TERN_OK)
        code = place_bytes(w, job->body.ptr, job->body.len, &body, st);
    tn_frame_begin(out, w->out, sizeof w->out, TN_FRAME_ANSWER, *w->page);
    if (code == TERN_OK) {
        tn_frame_put_ref(out, TN_ISOLATED_BODY, &body);
        tn_frame_put(out, TN_ISOLATED_TYPE, job->content_type);
        for (uint32_t i = 0; i < job->n_headers; i++)
            put_header(out, &job->headers[i]);
        tn_frame_put_u64(out, TN_ISOLATED_CODE, TERN_OK);
        tn_frame_put_u64(out, TN_ISOLATED_STATUS, (uint64_t)job->status);
    }
    if (out->failed) {
        code = tern_fail(st, TERN_INTERNAL,
                         "Handler %s: the header fields of its answer are larger than the %zu bytes that an "
                         "isolated handler has for them",
                         w->attached.api->name, TN_FRAME_MAX);
        tn_frame_begin(out, w->out, sizeof w->out, TN_FRAME_ANSWER, *w->page);
    }
    if (code != TERN_OK) {
        tn_frame_put_u64(out, TN_ISOLATED_CODE, (uint64_t)code);
        tn_frame_put_u64(out, TN_ISOLATED_STATUS, (uint64_t)job->status);
        tn_frame_put(out, TN_TAG_ERROR, (tn_str){st->message, st->length});
    }
}

static void serve_call(worker *w, const tn_frame *frame)
{
    tern_status st;
    tn_frame_writer out;
    __atomic_store_n(w->page, frame->call, __ATOMIC_RELAXED);
    tern_code code = begin_call(w, frame, &st);
    if (code == TERN_OK)
        code = tn_handler_pre(&w->job, &st);
    if (code == TERN_OK && !w->job.answered && run(w, &code, &st))
        code = tn_handler_post(&w->job, &st);
    make_answer(w, code, &st, &out);
    /* What goes wrong in release() is this call's, too: it is not over before. */
    tn_handler_job_finish(&w->job);
    w->call.version = NULL; /* it is ours, and not counted */
    tn_call_finish(&w->call);
    put_frame(&out);
}

/* ---- the process ---- */

static tern_code get_ready(worker *w, const char *path, tern_status *st)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    /* Whoever ends the server's group of processes ends the server, which sees to its workers. */
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    mallopt(M_TRIM_THRESHOLD, KEPT_FREE);
    mallopt(M_MMAP_THRESHOLD, MMAP_FROM);
    w->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, PAGE_FD, 0);
    if (w->page == MAP_FAILED)
        return tern_fail(st, TERN_FAILED_PRECONDITION,
                         "tern handler-worker is started by the server, not by hand");
    tn_arena_init(&w->arena, SETUP_MAX);
    tn_str setup = tn_setup_from_environment(&w->arena);
    tern_code code = tn_setup_read(setup, &w->arena, &w->options, st);
    if (code != TERN_OK)
        return code;
    w->version.model = w->options.model;
    w->version.number = w->options.version;
    w->version.directory = w->options.directory;
    w->version.signatures = w->options.signatures;
    w->version.attached = &w->attached;
    code = tn_handler_open(path, &w->attached.api, st);
    return code == TERN_OK ? tn_handler_attach(&w->attached, &w->options, st) : code;
}

static void say_ready(worker *w)
{
    const tern_handler_api *api = w->attached.api;
    tn_frame_writer out;
    char note[1024];
    int n = snprintf(note, sizeof note, "%s\n%s\n%s", api->name, api->content_types,
                     TERN_HAS(api, version) && api->version != NULL ? api->version : "");
    tn_frame_begin(&out, w->out, sizeof w->out, TN_FRAME_READY, 0);
    tn_frame_put_u64(&out, TN_TAG_CAPACITY, 1);
    tn_frame_put(&out, TN_TAG_NOTE, (tn_str){note, (size_t)n < sizeof note ? (size_t)n : sizeof note - 1});
    put_frame(&out);
}

int tn_handler_worker(const char *path)
{
    worker *w = calloc(1, sizeof *w);
    tn_frame frame;
    tern_status st;
    if (w == NULL)
        return 1;
    if (get_ready(w, path, &st) != TERN_OK) {
        tn_frame_writer out;
        fprintf(stderr, "tern handler-worker: %s\n", st.message);
        tn_frame_begin(&out, w->out, sizeof w->out, TN_FRAME_FAILED, 0);
        tn_frame_put(&out, TN_TAG_ERROR, (tn_str){st.message, st.length});
        (void)!send(SOCKET_FD, w->out, tn_frame_end(&out), MSG_NOSIGNAL);
        tn_arena_free(&w->arena);
        free(w);
        return 1;
    }
    say_ready(w);
    while (get_frame(w, &frame))
        if (frame.type == TN_FRAME_CALL)
            serve_call(w, &frame);
    w->attached.api->detach(w->attached.handler);
    tn_arena_free(&w->call.arena);
    tn_arena_free(&w->arena);
    for (size_t i = 0; i < w->n_maps; i++)
        munmap(w->maps[i].ptr, w->maps[i].size);
    free(w->maps);
    munmap(w->page, PAGE_BYTES);
    free(w);
    return 0;
}
