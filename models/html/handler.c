/*
 * handler.c - the page model behind tern/handler.h: a raw HTML page in, the model's answer about it out.
 *
 * pre() extracts features and writes them straight into the host's tensor memory; post() turns the four
 * outputs into JSON, or into text. Extractors are kept in a small pool, because a warm one allocates next to
 * nothing; one call holds one from pre() to release(). attach() refuses a model that was trained on other
 * features than
 * this library extracts: its fingerprint stands in assets.extra/tern.json, with the thresholds that
 * validation chose.
 * Any number of threads; the pool is the only shared state and has a lock.
 */
#include "tern/handler.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "features/html_features.h"
#include "postprocess/html_answer.h"
#include "postprocess/html_text.h"
#include "postprocess/html_view.h"

enum { POOL = 16 };

struct tern_handler {
    const tern_handler_host *host;
    tern_html_settings settings;
    pthread_mutex_t lock;
    tern_html *idle[POOL];
    int n_idle;
};

static tern_html *take(tern_handler *h)
{
    tern_html *x = NULL;
    pthread_mutex_lock(&h->lock);
    if (h->n_idle > 0)
        x = h->idle[--h->n_idle];
    pthread_mutex_unlock(&h->lock);
    return x != NULL ? x : tern_html_create();
}

static void give_back(tern_handler *h, tern_html *x)
{
    pthread_mutex_lock(&h->lock);
    if (h->n_idle < POOL) {
        h->idle[h->n_idle++] = x;
        x = NULL;
    }
    pthread_mutex_unlock(&h->lock);
    tern_html_free(x);
}

/* ---- the model's config ---- */

/*
 * Where the value of "key" begins in a flat reading of the JSON text, or NULL. tern.json is the model's own
 * small file: keys are not repeated and no string in it holds another key in quotes.
 */
static const char *find_value(tern_str json, const char *key)
{
    size_t k = strlen(key);
    for (size_t i = 0; i + k + 2 < json.len; i++) {
        if (json.ptr[i] != '"' || memcmp(json.ptr + i + 1, key, k) != 0 || json.ptr[i + 1 + k] != '"')
            continue;
        i += k + 2;
        while (i < json.len &&
               (json.ptr[i] == ' ' || json.ptr[i] == ':' || (json.ptr[i] >= 9 && json.ptr[i] <= 13)))
            i++;
        return i < json.len ? json.ptr + i : NULL;
    }
    return NULL;
}

static tern_code check_fingerprint(const tern_handler_options *options, tern_status *st)
{
    const char *mine = tern_html_fingerprint(), *theirs = find_value(options->config, "fingerprint");
    size_t n = 0, room = theirs != NULL ? (size_t)(options->config.ptr + options->config.len - theirs) : 0;
    if (theirs == NULL || *theirs != '"')
        return tern_fail(
            st, TERN_FAILED_PRECONDITION,
            "assets.extra/tern.json names no fingerprint of its features; this handler has \"%s\".", mine);
    for (theirs++, room--; n < room && theirs[n] != '"';)
        n++;
    if (n == strlen(mine) && memcmp(theirs, mine, n) == 0)
        return TERN_OK;
    return tern_fail(
        st, TERN_FAILED_PRECONDITION,
        "The model was trained on other features (\"%.*s\") than this handler extracts (\"%s\").",
        (int)(n < 100 ? n : 100), theirs, mine);
}

static bool has_input(const tern_signature *s, const char *name)
{
    for (uint32_t i = 0; i < s->n_inputs; i++)
        if (s->inputs[i].name.len == strlen(name) &&
            memcmp(s->inputs[i].name.ptr, name, s->inputs[i].name.len) == 0)
            return true;
    return false;
}

static tern_code check_signature(const tern_handler_options *options, tern_status *st)
{
    static const char default_name[] = "serving_default";
    const tern_signature *s = NULL;
    for (uint32_t i = 0; options->signatures != NULL && i < options->signatures->n_signatures; i++) {
        const tern_signature *c = &options->signatures->signatures[i];
        if (c->name.len == sizeof default_name - 1 && memcmp(c->name.ptr, default_name, c->name.len) == 0)
            s = c;
    }
    if (s == NULL)
        return tern_fail(st, TERN_FAILED_PRECONDITION, "The model has no signature \"serving_default\".");
    for (int t = 0; t <= TERN_HTML_TENSORS; t++) {
        const char *name = t < TERN_HTML_TENSORS ? tern_html_tensor_name(t) : "node_mask";
        if (!has_input(s, name))
            return tern_fail(st, TERN_FAILED_PRECONDITION, "The model's signature has no input \"%s\".",
                             name);
    }
    return TERN_OK;
}

static void detach(tern_handler *h)
{
    if (h == NULL)
        return;
    for (int i = 0; i < h->n_idle; i++)
        tern_html_free(h->idle[i]);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static tern_code attach(const tern_handler_host *host, const tern_handler_options *options,
                        tern_handler **handler, tern_status *st)
{
    *handler = NULL;
    tern_code rc = check_fingerprint(options, st);
    if (rc == TERN_OK)
        rc = check_signature(options, st);
    if (rc != TERN_OK)
        return rc;
    tern_handler *h = calloc(1, sizeof *h);
    if (h == NULL || pthread_mutex_init(&h->lock, NULL) != 0) {
        free(h);
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Out of memory.");
    }
    h->host = host;
    (void)tern_html_settings_read(&h->settings, options->config.ptr, options->config.len);
    *handler = h;
    return TERN_OK;
}

/* ---- a request ---- */

static tern_code code_of(int rc)
{
    switch (rc) {
    case TERN_HTML_DEADLINE:
        return TERN_DEADLINE_EXCEEDED;
    case TERN_HTML_MEMORY:
        return TERN_RESOURCE_EXHAUSTED;
    default:
        return TERN_INVALID_ARGUMENT;
    }
}

static tern_code write_inputs(tern_handler *h, const tern_html *x, tern_handler_call *call, tern_status *st)
{
    void *data;
    for (int t = 0; t < TERN_HTML_TENSORS; t++) {
        int64_t dims[3] = {1, 0, 0};
        int32_t rank = 1 + tern_html_tensor_shape(x, t, dims + 1);
        const char *name = tern_html_tensor_name(t);
        tern_code rc =
            h->host->new_input(call, (tern_str){name, strlen(name)}, TERN_INT32, rank, dims, &data, st);
        if (rc != TERN_OK)
            return rc;
        tern_html_tensor_fill(x, t, data);
    }
    int64_t dims[2] = {1, tern_html_block_count(x)};
    tern_code rc = h->host->new_input(call, (tern_str){"node_mask", 9}, TERN_FLOAT, 2, dims, &data, st);
    for (int64_t i = 0; rc == TERN_OK && i < dims[1]; i++)
        ((float *)data)[i] = 1.0f;
    return rc;
}

typedef struct arriving {
    const tern_handler_host *host;
    tern_handler_call *call;
} arriving;

static size_t arrived(void *context, size_t n)
{
    const arriving *a = context;
    return a->host->arrived(a->call, n);
}

static tern_code pre(tern_handler *h, const tern_handler_request *r, tern_handler_call *call, void **state,
                     tern_status *st)
{
    tern_html *x = take(h);
    if (x == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Out of memory.");
    *state = x;
    arriving a = {h->host, call};
    int rc;
    if (TERN_HAS(h->host, arrived) && h->host->arrived(call, 0) < r->body.len)
        rc = tern_html_extract_arriving(x, r->body.ptr, r->body.len, r->content_type.ptr, r->content_type.len,
                                        r->url.ptr, r->url.len, r->deadline_ns, arrived, &a);
    else
        rc = tern_html_extract(x, r->body.ptr, r->body.len, r->content_type.ptr, r->content_type.len,
                               r->url.ptr, r->url.len, r->deadline_ns);
    if (rc != TERN_HTML_OK)
        return tern_fail(st, code_of(rc), "%s", tern_html_message(x));
    return write_inputs(h, x, call, st);
}

/* The output's floats when it has exactly that many, else NULL. */
static const float *floats(tern_handler *h, tern_handler_call *call, const char *name, size_t count)
{
    const tern_tensor *t = h->host->output(call, (tern_str){name, strlen(name)});
    return t != NULL && t->dtype == TERN_FLOAT && t->size == count * sizeof(float) ? t->data : NULL;
}

/* Whether the client asks for that type before all others. */
static bool is_asked_for(tern_str accept, const char *type)
{
    const size_t n = strlen(type);
    return accept.len >= n && strncasecmp(accept.ptr, type, n) == 0 &&
           (accept.len == n || accept.ptr[n] == ';' || accept.ptr[n] == ',' || accept.ptr[n] == ' ');
}

/* Whether the query has name=1. */
static bool has_parameter(const tern_handler_request *r, const char *name)
{
    const size_t n = strlen(name);
    const tern_str t = TERN_HAS(r, target) ? r->target : (tern_str){NULL, 0};
    const char *query = t.len > 0 ? memchr(t.ptr, '?', t.len) : NULL;
    for (size_t i = query != NULL ? (size_t)(query - t.ptr) : t.len; i + n + 2 < t.len; i++)
        if ((t.ptr[i] == '?' || t.ptr[i] == '&') && memcmp(t.ptr + i + 1, name, n) == 0 &&
            t.ptr[i + n + 1] == '=' && t.ptr[i + n + 2] == '1' &&
            (i + n + 3 == t.len || t.ptr[i + n + 3] == '&'))
            return true;
    return false;
}

typedef enum form { JSON, TEXT, MARKDOWN, VIEW } form;

/* JSON; the main content alone, as text or Markdown (RFC 7763); or the coloured document. */
static form form_of(const tern_handler_request *r)
{
    return is_asked_for(r->accept, "text/markdown") ? MARKDOWN
           : is_asked_for(r->accept, "text/plain")  ? TEXT
           : is_asked_for(r->accept, "text/html")   ? VIEW
                                                    : JSON;
}

static char *make_answer(const tern_handler *h, const tern_handler_request *r, form f, const tern_html *x,
                         const tern_html_outputs *y, size_t *length)
{
    switch (f) {
    case TEXT:
    case MARKDOWN:
        return tern_html_text(x, y, &h->settings, f == MARKDOWN, length);
    case VIEW:
        return tern_html_view(x, y, &h->settings, length);
    default:
        return tern_html_answer(x, y, &h->settings, has_parameter(r, "evidence"), length);
    }
}

static tern_code send(tern_handler *h, tern_handler_call *call, form f, const char *answer, size_t length,
                      tern_status *st)
{
    static const char *const types[] = {NULL, "text/plain; charset=utf-8", "text/markdown; charset=utf-8",
                                        "text/html; charset=utf-8"};
    static const char policy[] = "content-security-policy";
    tern_code rc = TERN_OK;
    if (types[f] != NULL)
        h->host->set_content_type(call, (tern_str){types[f], strlen(types[f])});
    if (f == VIEW && TERN_HAS(h->host, add_header))
        rc = h->host->add_header(call, (tern_str){policy, sizeof policy - 1},
                                 (tern_str){TN_HTML_VIEW_POLICY, sizeof TN_HTML_VIEW_POLICY - 1}, st);
    return rc == TERN_OK ? h->host->write(call, answer, length, st) : rc;
}

static tern_code post(tern_handler *h, const tern_handler_request *r, tern_handler_call *call, void *state,
                      tern_status *st)
{
    const form f = form_of(r);
    tern_html *x = state;
    uint32_t n = tern_html_block_count(x);
    tern_html_outputs y = {
        .main = floats(h, call, "main", n),
        .role = floats(h, call, "role", (size_t)n * TERN_HTML_ROLES),
        .page_type = floats(h, call, "page_type", TERN_HTML_PAGE_TYPES),
        .language = floats(h, call, "language", TERN_HTML_LANGUAGES),
        .n = n,
    };
    if (y.main == NULL || y.role == NULL || y.page_type == NULL || y.language == NULL)
        return tern_fail(
            st, TERN_INTERNAL,
            "The model's outputs are not the page model's (main, role, page_type, language) for %u blocks.",
            n);
    size_t length;
    char *answer = make_answer(h, r, f, x, &y, &length);
    if (answer == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "Out of memory.");
    const tern_code rc = send(h, call, f, answer, length, st);
    tern_html_answer_free(answer);
    return rc;
}

static void release(tern_handler *h, void *state)
{
    give_back(h, state);
}

TERN_EXPORT const tern_handler_api *tern_handler_entry(uint32_t host_abi_version);

const tern_handler_api *tern_handler_entry(uint32_t host_abi_version)
{
    static const tern_handler_api api = {
        .struct_size = sizeof(tern_handler_api),
        .abi_version = TERN_HANDLER_ABI,
        .name = "html",
        .content_types = "text/html,application/xhtml+xml",
        .attach = attach,
        .detach = detach,
        .pre = pre,
        .post = post,
        .release = release,
        .flags = TERN_HANDLER_ARRIVING,
    };
    return host_abi_version >= TERN_HANDLER_ABI ? &api : NULL;
}
