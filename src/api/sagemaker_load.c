/*
 * api/sagemaker_load.c - POST /models: one more model, while serving. See api/sagemaker_models.h.
 *
 * The request waits detached and its load goes through four hands: its loop reads the body and claims the
 * name; the table's thread looks at the folder and opens the ports; the loaders load; the loop answers.
 * Checks come in the original's order (python_service.py: _handle_load_model_post, _load_model), texts are
 * its own.
 */
#include "api/sagemaker_load.h"

#include <limits.h>
#include <unistd.h>

#include "api/sagemaker_folder.h"
#include "api/sagemaker_service.h"
#include "api/sagemaker_table.h"
#include "api/script.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "codec/json.h"
#include "codec/python_text.h"
#include "codec/service_request.h"

#define MAX_BODY       (1u << 20)
#define MAX_DEPTH      200
#define TICK_NS        TN_NS_PER_S
#define SCRIPT_LOOK_NS (20 * TN_NS_PER_MS)
#define DESCRIPTORS    9 /* that a Python service has open for sure: what os.path.exists() says of them */
#define NO_MEMORY      "Memory exhausted: not enough memory to start TFS instance"
#define NO_PORTS       "Memory exhausted: no available ports to load the model."
#define SHUTTING_DOWN  "The server is shutting down"

typedef struct load {
    tn_model_op op;
    tn_task task;
    tn_change change;
    tn_timer timer;
    tn_loaded *entry;
    tn_str url;
    bool url_raises; /* Python stumbles over it */
    tn_folder folder;
    int64_t memory_left;
    bool ports_open;
    const char *code; /* the folder of its script, or NULL: it has none */
    tn_script_pool *pool;
    int64_t until_ns, absent_ns;
} load;

/* ---- how it ends ---- */

static bool from_2_20(const tn_request *r)
{
    return r->server->sagemaker->generation >= TN_SAGEMAKER_2_20;
}

/* The script is not looked at any more; remove: nor to be kept. */
static void end_script(load *l, bool remove)
{
    tn_server *server = l->op.request->server;
    if (l->pool != NULL && remove)
        tn_scripts_remove(server->scripts, l->op.name);
    tn_script_pool_release(l->pool);
    l->pool = NULL;
}

static void end_failed(load *l, tn_op_form form, int status, tn_str text)
{
    tn_sagemaker_models *s = l->op.request->server->sagemaker->loaded;
    tn_loaded *entry = l->entry;
    end_script(l, true);
    if (entry != NULL)
        tn_warn("sagemaker", "model %.*s was not loaded from %.*s: status %d, %.*s", TN_FMT(l->op.name),
                TN_FMT(l->url), status, TN_FMT(text));
    l->entry = NULL;
    if (entry != NULL)
        tn_table_gone(s, entry);
    tn_model_op_end(&l->op, form, status, text);
}

static void end_loaded(load *l)
{
    tn_sagemaker_models *s = l->op.request->server->sagemaker->loaded;
    const tn_loaded *e = l->entry;
    const tn_str text =
        tn_arena_printf(&l->op.request->call.arena,
                        "Successfully loaded model %.*s, listening on rest port %d and grpc port %d.",
                        TN_FMT(l->op.name), e->rest[e->n - 1]->bound, e->grpc[e->n - 1]->bound);
    end_script(l, false);
    tn_table_loaded(s, l->entry);
    tn_model_op_end(&l->op, TN_OP_SUCCESS, 200, text);
}

/* The first error of its versions. */
static tern_code loader_error(load *l)
{
    tn_request *r = l->op.request;
    const tn_version_status *versions;
    uint32_t n = 0;
    tern_status st;
    if (tn_models_status(r->server->models, l->op.name, false, 0, &r->call.arena, &versions, &n, &st) !=
        TERN_OK)
        return TERN_OK;
    for (uint32_t i = 0; i < n; i++)
        if (versions[i].error_code != TERN_OK)
            return versions[i].error_code;
    return TERN_OK;
}

/*
 * The model is configured, but will not become available. Up to 2.19 a model server that ends at its start is
 * an exception that nobody catches; in 2.20 it is waited for like a slow one.
 */
static void end_broken(load *l, tn_str why)
{
    tn_request *r = l->op.request;
    const bool memory = loader_error(l) == TERN_RESOURCE_EXHAUSTED;
    tn_models_remove(r->server->models, l->op.name);
    if (memory)
        end_failed(l, TN_OP_TEXT, 507, TN_STR(NO_MEMORY));
    else if (from_2_20(r))
        end_failed(l, TN_OP_TEXT, 408,
                   tn_arena_printf(&r->call.arena, "Model %.*s did not become available: %.*s",
                                   TN_FMT(l->op.name), TN_FMT(tn_str_sub(why, 0, 4096))));
    else
        end_failed(l, TN_OP_FALCON, 500, why);
}

static void end_late(load *l)
{
    tn_request *r = l->op.request;
    /* there is nothing that takes long: a version is no model, or not a whole one */
    if (!tn_models_is_loading(r->server->models, l->op.name)) {
        end_broken(l, TN_STR("none of its versions is a whole model"));
        return;
    }
    tn_models_remove(r->server->models, l->op.name);
    end_failed(l, TN_OP_TEXT, 408,
               tn_arena_printf(&r->call.arena, "Timed out after %d seconds", r->server->sagemaker->wait_s));
}

/* ---- waiting for the loaders ---- */

static void loaded_on_loop(tn_task *task)
{
    load *l = TN_CONTAINER(task, load, task);
    tn_request *r = l->op.request;
    const tn_str why = {l->change.status.message, l->change.status.length};
    tn_timer_stop(r->loop, &l->timer);
    if (l->change.status.code == TERN_OK)
        end_loaded(l);
    else if (l->change.status.code == TERN_UNAVAILABLE)
        end_failed(l, TN_OP_ERROR, 503, why);
    else
        end_broken(l, why);
}

/* Any thread. */
static void on_done(tn_change *change)
{
    load *l = TN_CONTAINER(change, load, change);
    l->task.run = loaded_on_loop;
    tn_loop_post(l->op.request->loop, &l->task);
}

static void on_tick(tn_timer *timer)
{
    load *l = TN_CONTAINER(timer, load, timer);
    tn_request *r = l->op.request;
    tern_status st;
    const int64_t now = tn_now_ns();
    const bool late = now >= l->until_ns;
    const bool vain = (late || now >= l->absent_ns) && tn_models_overdue(r->server->models, &l->change, &st);
    if (!late && !vain) {
        const int64_t next = now + TICK_NS;
        tn_timer_start(r->loop, timer, next < l->until_ns ? next : l->until_ns, on_tick);
    } else if (tn_models_forget(r->server->models, &l->change)) { /* else on_done() is on its way */
        if (vain)
            end_broken(l, (tn_str){st.message, st.length});
        else
            end_late(l);
    }
}

static void load_model(load *l)
{
    tn_request *r = l->op.request;
    const tn_sagemaker *sm = r->server->sagemaker;
    const tn_model_config config = {.name = l->op.name,
                                    .base_path = l->url,
                                    .platform = TN_STR("tensorflow"),
                                    .policy = TN_POLICY_SPECIFIC,
                                    .specific = l->folder.versions,
                                    .n_specific = l->folder.n};
    const int64_t now = tn_now_ns();
    tern_status st;
    l->change = (tn_change){.done = on_done, .every = true};
    l->until_ns = now + sm->wait_s * TN_NS_PER_S;
    l->absent_ns = now + r->server->limits.reload_absent_ms * TN_NS_PER_MS;
    tn_timer_start(r->loop, &l->timer, now + TICK_NS < l->until_ns ? now + TICK_NS : l->until_ns, on_tick);
    tern_code code = tn_models_add(r->server->models, &config, &l->change, &st);
    if (code == TERN_OK)
        return;
    tn_timer_stop(r->loop, &l->timer);
    end_failed(l, TN_OP_ERROR,
               code == TERN_UNAVAILABLE      ? 503
               : code == TERN_ALREADY_EXISTS ? 409
                                             : 500,
               tn_arena_dup(&r->call.arena, (tn_str){st.message, st.length}));
}

/* ---- what comes before ---- */

/* The script is there, if there is one. */
static void check_and_load(load *l)
{
    tn_request *r = l->op.request;
    const tn_sagemaker *sm = r->server->sagemaker;
    if (sm->batching && !from_2_20(r)) /* it writes a file into a folder that it has not made */
        end_failed(l, TN_OP_TEXT, 500, TN_STR("No such file or directory"));
    else if (l->folder.n == 0 || l->folder.strange)
        end_failed(l, TN_OP_TEXT, 408,
                   tn_arena_printf(&r->call.arena, "%s right below %.*s",
                                   l->folder.n == 0 ? "There is no version"
                                                    : "There is a folder whose name is no version's number",
                                   TN_FMT(l->url)));
    else if (!tn_table_reserve(sm->loaded, l->entry, l->folder.bytes, l->memory_left))
        end_failed(l, TN_OP_TEXT, 507, TN_STR(NO_MEMORY));
    else
        load_model(l);
}

/*
 * Python does not say when it is ready, but to who waits: the loop looks again and again, for as long as a
 * load takes.
 */
static void on_script_tick(tn_timer *timer)
{
    load *l = TN_CONTAINER(timer, load, timer);
    tn_request *r = l->op.request;
    tern_status why;
    const tn_script_state state = tn_script_pool_state(l->pool, &why);
    if (state == TN_SCRIPT_READY)
        check_and_load(l);
    else if (state == TN_SCRIPT_BROKEN)
        end_failed(l, TN_OP_FALCON, 500, (tn_str){why.message, why.length});
    else if (atomic_load(&r->server->draining))
        end_failed(l, TN_OP_ERROR, 503, TN_STR(SHUTTING_DOWN));
    else
        tn_timer_start(r->loop, timer, tn_now_ns() + SCRIPT_LOOK_NS, on_script_tick);
}

/*
 * The script is imported before the model is loaded; what goes wrong there is an exception that nobody
 * catches.
 */
static void import_script(load *l)
{
    tn_request *r = l->op.request;
    tern_status st;
    if (l->code == NULL || r->server->scripts == NULL) {
        check_and_load(l);
        return;
    }
    if (tn_scripts_add(r->server->scripts, l->op.name, l->code, false, NULL, NULL, &st) == TERN_OK)
        l->pool = tn_scripts_find(r->server->scripts, l->op.name);
    if (l->pool != NULL)
        on_script_tick(&l->timer);
    else
        end_failed(l, TN_OP_ERROR, 503, tn_arena_dup(&r->call.arena, (tn_str){st.message, st.length}));
}

static void looked(tn_task *task)
{
    load *l = TN_CONTAINER(task, load, task);
    tn_request *r = l->op.request;
    if (l->url_raises)
        end_failed(l, TN_OP_FALCON, 500, TN_STR("the url is no string"));
    else if (!l->folder.valid)
        end_failed(l, TN_OP_ERROR, 404,
                   TN_OP_TEXT_OF(r, TN_STR("Could not find valid base path "), l->url,
                                 TN_STR(" for servable "), l->op.name));
    else if (!tn_service_is_model_name(l->op.name))
        end_failed(l, TN_OP_ERROR, 400, tn_model_bad_name(r, l->op.name));
    else if (!l->ports_open)
        end_failed(l, TN_OP_ERROR, 507, TN_STR(NO_PORTS));
    else
        import_script(l);
}

/* BASE/models/NAME/model/code, where there is an inference.py in it; the url does not count. */
static const char *script_folder(load *l)
{
    tn_request *r = l->op.request;
    if (!tn_service_is_model_name(l->op.name))
        return NULL;
    const tn_str folder = tn_arena_printf(&r->call.arena, "%s/%.*s/model/code", r->server->sagemaker->models,
                                          TN_FMT(l->op.name));
    const tn_str script = tn_arena_printf(&r->call.arena, "%.*s/inference.py", TN_FMT(folder));
    return script.ptr != NULL && access(script.ptr, F_OK) == 0 ? folder.ptr : NULL;
}

/* On the table's thread, which alone has the request and its arena meanwhile. */
static void look(tn_task *task)
{
    load *l = TN_CONTAINER(task, load, task);
    tn_request *r = l->op.request;
    tn_sagemaker_models *s = r->server->sagemaker->loaded;
    const bool absolute = l->url.len > 0 && l->url.ptr[0] == '/' && tn_str_chr(l->url, '\0') < 0;
    if (absolute && !l->url_raises)
        tn_folder_look(l->url.ptr, &r->call.arena, &l->folder);
    l->ports_open = l->folder.valid && tn_table_open_ports(s, l->entry);
    l->memory_left = tn_memory_left();
    l->code = script_folder(l);
    l->task.run = looked;
    tn_loop_post(r->loop, &l->task);
}

/* On the loop: at first, and again when somebody else's load of this name has ended. */
static void begin(load *l)
{
    tn_request *r = l->op.request;
    tn_sagemaker_models *s = r->server->sagemaker->loaded;
    switch (tn_table_claim(s, l->op.name, &l->op.waiter, &l->entry)) {
    case TN_CLAIM_MADE:
        l->task.run = look;
        if (!tn_worker_do(s->worker, &l->task))
            end_failed(l, TN_OP_ERROR, 503, TN_STR("Too many models are being loaded; try again later"));
        return;
    case TN_CLAIM_WAIT:
        return;
    case TN_CLAIM_LOADED:
        end_failed(l, TN_OP_ERROR, 409,
                   TN_OP_TEXT_OF(r, TN_STR("Model "), l->op.name, TN_STR(" is already loaded.")));
        return;
    case TN_CLAIM_NO_PORTS:
        end_failed(l, TN_OP_ERROR, 507, TN_STR(NO_PORTS));
        return;
    default:
        end_failed(l, TN_OP_ERROR, 503, TN_STR("No memory for this request; try again later"));
    }
}

static void begin_again(tn_task *task)
{
    begin(TN_CONTAINER(TN_CONTAINER(task, tn_waiter, task), load, op.waiter));
}

/* ---- the request ---- */

/* The last member of that name, as in a dict. */
static const tn_json *member(const tn_json *object, tn_str key)
{
    const tn_json *found = NULL;
    for (const tn_json *child = object->first; child != NULL; child = child->next)
        if (tn_str_eq(child->key, key))
            found = child;
    return found;
}

static tn_str text_of(const tn_json *value, tn_arena *arena)
{
    tn_buf text;
    tn_buf_init(&text, 2 * MAX_BODY);
    tn_python_str(&text, value);
    tn_str copy = text.failed ? TN_STR_NONE : tn_arena_dup(arena, tn_buf_view(&text));
    tn_buf_free(&text);
    return copy;
}

/*
 * os.path.exists() takes strings and file descriptors: a small number is one that is open, and then is no
 * path; of a large one nothing is found.
 */
static bool url_raises(const tn_json *url)
{
    if (url->type == TN_JSON_STRING)
        return false;
    if (url->type != TN_JSON_NUMBER)
        return true;
    int64_t number;
    if (!tn_str_i64(url->string, &number) || number > INT_MAX || number < INT_MIN)
        return true;
    return number >= 0 && number <= DESCRIPTORS;
}

/* 0, or the status that it is refused with; 400 with a text. */
static int read_name(tn_request *r, const tn_json *name, load *l)
{
    const bool string = name->type == TN_JSON_STRING;
    if (!from_2_20(r)) {
        if (name->type == TN_JSON_ARRAY || name->type == TN_JSON_OBJECT)
            return 500; /* no key of a dict */
        l->op.name = text_of(name, &r->call.arena);
        return l->op.name.ptr != NULL ? 0 : 500;
    }
    if (tn_python_truth(name) && !string)
        return 500; /* nothing that a pattern could be matched with */
    l->op.name = text_of(name, &r->call.arena);
    if (l->op.name.ptr == NULL)
        return 500;
    return string && tn_service_is_model_name(l->op.name) ? 0 : 400;
}

/* 0, or the status that the request is refused with. */
static int read_request(tn_request *r, load *l, bool *string)
{
    const tn_str text = tn_region_view(&r->body);
    const tn_json *root;
    tern_status st;
    if (text.len > MAX_BODY)
        return 413;
    if (!tn_str_is_utf8(text) || tn_str_starts(text, TN_STR("\xEF\xBB\xBF")) ||
        tn_json_parse(text, MAX_DEPTH, &r->call.arena, &root, &st) != TERN_OK || root->type != TN_JSON_OBJECT)
        return 500;
    const tn_json *name = member(root, TN_STR("model_name")), *url = member(root, TN_STR("url"));
    if (name == NULL || url == NULL)
        return 500;
    *string = name->type == TN_JSON_STRING;
    const int refused = read_name(r, name, l);
    l->url_raises = url_raises(url);
    l->url = text_of(url, &r->call.arena);
    return refused != 0 ? refused : l->url.ptr != NULL ? 0 : 500;
}

static void on_body(tn_request *r)
{
    bool string = false;
    load *l = tn_arena_zalloc(&r->call.arena, sizeof *l);
    const int refused = l != NULL ? read_request(r, l, &string) : 503;
    tn_region_free(&r->body);
    if (refused == 400 && string) {
        tn_service_request_own_error(r, 400, tn_model_bad_name(r, l->op.name));
    } else if (refused == 400) {
        tn_service_request_own_error(r, 400, TN_OP_TEXT_OF(r, TN_STR("invalid model_name: "), l->op.name));
    } else if (refused != 0) {
        tn_service_request_error(r, refused, TN_STR_NONE, TN_STR_NONE);
    } else {
        tn_model_op_start(&l->op, r, begin_again);
        begin(l);
    }
}

void tn_sagemaker_load(tn_server *server, tn_exchange *ex)
{
    tn_request *r = tn_model_op_request(server, ex);
    if (r != NULL)
        tn_request_read_body(r, on_body);
}
