/*
 * actor_handler.c - a handler that does what the first line of the document says; see test_handlers.py. For
 * models of example_models.py.
 */
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tern/handler.h"

struct tern_handler {
    int unused;
};

/* What pre() leaves to post(). */
typedef struct act {
    char word[32];
    long number;
    tern_str rest; /* of the body, which stays */
} act;

static const tern_handler_host *host;

static tern_str str(const char *z)
{
    return (tern_str){z, strlen(z)};
}

static void sleep_ms(long ms)
{
    nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000}, NULL);
}

static int says(tern_str text, const char *word)
{
    return text.len > 0 && memmem(text.ptr, text.len, word, strlen(word)) != NULL;
}

static tern_code attach(const tern_handler_host *h, const tern_handler_options *options,
                        tern_handler **handler, tern_status *st)
{
    static tern_handler only;
    if (says(options->config, "\"crash\""))
        abort();
    if (says(options->config, "\"fail\""))
        return tern_fail(st, TERN_FAILED_PRECONDITION, "This model is not for actors");
    if (__atomic_load_n(&host, __ATOMIC_RELAXED) != h) /* other versions' calls may be reading it */
        __atomic_store_n(&host, h, __ATOMIC_RELAXED);
    *handler = &only;
    return TERN_OK;
}

static void detach(tern_handler *h)
{
}

static int is(const act *a, const char *word)
{
    return strcmp(a->word, word) == 0;
}

static void read_act(tern_str body, act *a)
{
    size_t n = 0, line = 0;
    while (line < body.len && body.ptr[line] != '\n')
        line++;
    while (n < line && n < sizeof a->word - 1 && body.ptr[n] != ' ') {
        a->word[n] = body.ptr[n];
        n++;
    }
    for (n++; n < line && body.ptr[n] >= '0' && body.ptr[n] <= '9'; n++)
        a->number = a->number * 10 + (body.ptr[n] - '0');
    a->rest = line < body.len ? (tern_str){body.ptr + line + 1, body.len - line - 1} : (tern_str){"", 0};
}

/* ---- pre ---- */

static tern_code one_float(tern_handler_call *call, const char *alias, float value, tern_status *st)
{
    const int64_t dims[1] = {1};
    void *data;
    tern_code code = host->new_input(call, str(alias), TERN_FLOAT, 1, dims, &data, st);
    if (code == TERN_OK)
        *(float *)data = value;
    return code;
}

/* Words of the rest, as strings. */
static tern_code words(tern_handler_call *call, tern_str text, tern_status *st)
{
    tern_str list[1000];
    int64_t n = 0;
    for (size_t i = 0; i < text.len && n < 1000;) {
        size_t from = i;
        while (i < text.len && text.ptr[i] != ' ')
            i++;
        list[n++] = (tern_str){text.ptr + from, i++ - from};
    }
    tern_code code = host->set_signature(call, str("string"), st);
    return code == TERN_OK ? tern_handler_add_strings(host, call, str("x"), 1, &n, list, (size_t)n, st)
                           : code;
}

/* Two signatures; of the second one output. */
static tern_code both(tern_handler_call *call, tern_status *st)
{
    const int64_t dims[1] = {2};
    void *data;
    tern_code code = one_float(call, "x", 4, st);
    if (code == TERN_OK)
        code = host->add_signature(call, str("pair"), st);
    if (code == TERN_OK)
        code = host->want_output(call, str("b"), st);
    if (code == TERN_OK)
        code = one_float(call, "a", 1, st);
    if (code == TERN_OK)
        code = host->new_input(call, str("b"), TERN_INT32, 1, dims, &data, st);
    if (code == TERN_OK) {
        ((int32_t *)data)[0] = 7;
        ((int32_t *)data)[1] = 8;
    }
    return code;
}

static tern_code now(tern_handler_call *call, tern_str rest, tern_status *st)
{
    tern_code code = host->answer_now(call, st);
    if (code == TERN_OK)
        code = host->set_status(call, 203, st);
    if (code == TERN_OK)
        code = host->add_header(call, str("X-Amzn-SageMaker-Custom-Attributes"), str("kept=1"), st);
    if (code == TERN_OK) {
        host->set_content_type(call, str("text/x-now; charset=utf-8"));
        code = host->write(call, rest.ptr, rest.len, st);
    }
    return code;
}

static tern_code tell_request(tern_handler_call *call, const tern_handler_request *r, tern_status *st)
{
    tern_code code = host->answer_now(call, st);
    if (code == TERN_OK)
        code = host->write(call, r->target.ptr, r->target.len, st);
    for (uint32_t i = 0; i < r->n_headers && code == TERN_OK; i++) {
        char line[1024];
        int n = snprintf(line, sizeof line, "\n%.*s: %.*s", (int)r->headers[i].name.len,
                         r->headers[i].name.ptr, (int)r->headers[i].value.len, r->headers[i].value.ptr);
        code = host->write(call, line, n < 1024 ? (size_t)n : 1023, st);
    }
    return code;
}

/* Until nobody waits; then it says so in the log. */
static tern_code wait_for_nobody(tern_handler_call *call, tern_status *st)
{
    host->host->log(TERN_LOG_WARNING, "actor", "waiting");
    while (!host->cancelled(call))
        sleep_ms(2);
    host->host->log(TERN_LOG_WARNING, "actor", "nobody waits any more");
    return tern_fail(st, TERN_CANCELLED, "Nobody waits any more");
}

static tern_code leak(long megabytes)
{
    for (long i = 0; i < megabytes; i++) {
        volatile char *p = malloc(1 << 20);
        for (size_t k = 0; p != NULL && k < 1 << 20; k += 4096)
            p[k] = 1;
    }
    return TERN_OK;
}

static tern_code misbehave(const act *a, const char *when)
{
    char word[32];
    snprintf(word, sizeof word, "crash-%s", when);
    if (is(a, word))
        abort();
    snprintf(word, sizeof word, "exit-%s", when);
    if (is(a, word))
        _exit(0);
    snprintf(word, sizeof word, "hang-%s", when);
    while (is(a, word))
        pause();
    return TERN_OK;
}

static tern_code pre(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                     void **state, tern_status *st)
{
    act *a = calloc(1, sizeof *a);
    *state = a;
    if (host->arrived(call, request->body.len) < request->body.len)
        return tern_fail(st, TERN_ABORTED, "Not the whole act is there");
    read_act(request->body, a);
    misbehave(a, "pre");
    if (is(a, "words"))
        return words(call, a->rest, st);
    if (is(a, "both"))
        return both(call, st);
    if (is(a, "now"))
        return now(call, a->rest, st);
    if (is(a, "request"))
        return tell_request(call, request, st);
    if (is(a, "wait"))
        return wait_for_nobody(call, st);
    if (is(a, "fail") && host->set_status(call, (int)a->number, st) == TERN_OK)
        return tern_fail(st, TERN_INVALID_ARGUMENT, "As you \"wish\": %.*s", (int)a->rest.len, a->rest.ptr);
    if (is(a, "slow")) {
        host->host->log(TERN_LOG_INFO, "actor", "slowly");
        sleep_ms(a->number);
    }
    if (is(a, "leak"))
        leak(a->number);
    if (is(a, "wrong"))
        return one_float(call, "no", 1, st);
    if (is(a, "fails") && host->set_signature(call, str("fails"), st) != TERN_OK)
        return st->code;
    if (is(a, "hold") && host->set_signature(call, str("hold"), st) != TERN_OK)
        return st->code;
    if (is(a, "stuck") && host->set_signature(call, str("stuck"), st) != TERN_OK)
        return st->code;
    return one_float(call, "x", (float)request->body.len, st);
}

/* ---- post ---- */

static tern_code tell(tern_handler_call *call, const tern_tensor *t, tern_status *st)
{
    char text[64];
    int n = 0;
    if (t == NULL)
        return host->write(call, "none", 4, st);
    if (t->dtype == TERN_FLOAT)
        n = snprintf(text, sizeof text, "%.9g", (double)((const float *)t->data)[0]);
    else if (t->dtype == TERN_INT32)
        n = snprintf(text, sizeof text, "%d,%d", ((const int32_t *)t->data)[0],
                     ((const int32_t *)t->data)[1]);
    if (t->dtype != TERN_STRING)
        return host->write(call, text, (size_t)n, st);
    tern_code code = TERN_OK;
    const int64_t count = t->dims[0];
    const uint64_t *offsets = t->data;
    const char *bytes = (const char *)(offsets + count + 1);
    for (int64_t i = 0; i < count && code == TERN_OK; i++) {
        code = host->write(call, bytes + offsets[i], (size_t)(offsets[i + 1] - offsets[i]), st);
        if (code == TERN_OK)
            code = host->write(call, "|", 1, st);
    }
    return code;
}

static tern_code big(tern_handler_call *call, long size, tern_status *st)
{
    void *room;
    tern_code code = TERN_OK;
    for (long done = 0; done < size && code == TERN_OK; done += 1000) {
        const size_t n = size - done < 1000 ? (size_t)(size - done) : 1000;
        code = host->reserve(call, n, &room, st);
        if (code != TERN_OK)
            return code;
        memset(room, 'b', n);
        host->commit(call, n);
    }
    return code;
}

static tern_code post(tern_handler *h, const tern_handler_request *request, tern_handler_call *call,
                      void *state, tern_status *st)
{
    const act *a = state;
    misbehave(a, "post");
    host->set_content_type(call, str("text/plain"));
    if (is(a, "big"))
        return big(call, a->number, st);
    if (is(a, "words"))
        return tell(call, host->output(call, str("y")), st);
    if (is(a, "evil"))
        return host->add_header(call, str("x-a"), str("b\r\nx-c: d"), st);
    if (is(a, "status")) {
        tern_code code = host->set_status(call, (int)a->number, st);
        return code == TERN_OK ? host->write(call, a->rest.ptr, a->rest.len, st) : code;
    }
    if (!is(a, "both"))
        return tell(call, host->output(call, str("y")), st);
    tern_code code = tell(call, host->output_of(call, str("serving_default"), str("y")), st);
    if (code == TERN_OK)
        code = host->write(call, " ", 1, st);
    if (code == TERN_OK)
        code = tell(call, host->output_of(call, str("pair"), str("a")), st);
    if (code == TERN_OK)
        code = host->write(call, " ", 1, st);
    return code == TERN_OK ? tell(call, host->output_of(call, str("pair"), str("b")), st) : code;
}

static void release(tern_handler *h, void *state)
{
    misbehave(state, "release");
    free(state);
}

static const tern_handler_api api = {
    .struct_size = sizeof(tern_handler_api),
    .abi_version = TERN_HANDLER_ABI,
    .name = "actor",
    .content_types = "text/x-act,application/json,image/*",
    .attach = attach,
    .detach = detach,
    .pre = pre,
    .post = post,
    .release = release,
    .version = "1.2.3",
    .flags = TERN_HANDLER_ARRIVING,
};

TERN_EXPORT const tern_handler_api *tern_handler_entry(uint32_t host_abi_version);

const tern_handler_api *tern_handler_entry(uint32_t host_abi_version)
{
    return host_abi_version == TERN_HANDLER_ABI ? &api : NULL;
}
