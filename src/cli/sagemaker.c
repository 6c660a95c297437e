/* cli/sagemaker.c - the variables of the SageMaker container. See cli/sagemaker.h and docs/sagemaker.md. */
#include "cli/sagemaker.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

#define DEFAULT_GRPC_PORT 9000
#define DEFAULT_REST_PORT 8501
#define DRAIN_MS          25000 /* the platform ends what still runs 30 s after SIGTERM */
#define BATCH_JOBS        "100000000"
enum { MAX_INSTANCES = 1024, MAX_WORKERS = 1024, MAX_SECONDS = 1000000, MAX_PAYLOAD_MB = 4096 };

/* ---- values ---- */

static const char *or_default(const char *name, const char *otherwise)
{
    const char *text = getenv(name);
    return text != NULL ? text : otherwise;
}

static bool blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static tn_str without_blanks(const char *text)
{
    tn_str s = tn_str_from(text);
    while (s.len > 0 && blank(s.ptr[0]))
        s = tn_str_sub(s, 1, s.len);
    while (s.len > 0 && blank(s.ptr[s.len - 1]))
        s.len--;
    return s;
}

bool tn_sagemaker_int(const char *text, int64_t *value)
{
    char digits[32];
    size_t n = 0;
    tn_str s = without_blanks(text);
    if (s.len > 0 && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
        if (s.ptr[0] == '-')
            digits[n++] = '-';
        s = tn_str_sub(s, 1, s.len);
    }
    for (size_t i = 0; i < s.len; i++) {
        const bool between = i > 0 && i + 1 < s.len && s.ptr[i - 1] != '_';
        if (s.ptr[i] == '_' ? !between : s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
        if (n == sizeof digits)
            return false;
        if (s.ptr[i] != '_')
            digits[n++] = s.ptr[i];
    }
    return s.len > 0 && tn_str_i64((tn_str){digits, n}, value);
}

static tern_code read_int(const char *name, int64_t otherwise, int64_t min, int64_t max, int32_t *out,
                          tern_status *st)
{
    int64_t value = otherwise;
    const char *text = getenv(name);
    if (text != NULL && (!tn_sagemaker_int(text, &value) || value < min || value > max))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s=%.100s: give a whole number of %lld to %lld", name,
                         text, (long long)min, (long long)max);
    *out = (int32_t)value;
    return TERN_OK;
}

static tern_code read_bool(const char *name, bool *out, tern_status *st)
{
    tn_str text = tn_str_from(or_default(name, "false"));
    *out = tn_str_ieq(text, TN_STR("true"));
    if (!*out && !tn_str_ieq(text, TN_STR("false")))
        return tern_fail(st, TERN_INVALID_ARGUMENT, "%s=%.*s: use true or false", name,
                         TN_FMT(tn_str_sub(text, 0, 100)));
    return TERN_OK;
}

/* FOLDER/NAME in the arena. */
static tern_code join(tn_parts *p, const char *folder, const char *name, const char **out, tern_status *st)
{
    *out = tn_arena_printf(&p->arena, "%s/%s", folder, name).ptr;
    return *out != NULL ? TERN_OK : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
}

/* ---- groups of variables ---- */

/* 2.19 stands for all before it, too. */
static tn_sagemaker_generation generation_of(const char *text)
{
    char *end;
    const unsigned long major = strtoul(text, &end, 10);
    if (end == text || *end != '.') {
        if (text[0] != '\0')
            tn_warn("sagemaker", "SAGEMAKER_TFS_VERSION=%.40s is no version such as 2.19; 2.20 is used",
                    text);
        return TN_SAGEMAKER_2_20;
    }
    const unsigned long minor = strtoul(end + 1, NULL, 10);
    return major < 2 || (major == 2 && minor < 20) ? TN_SAGEMAKER_2_19 : TN_SAGEMAKER_2_20;
}

/* What lies in the code folder. */
static tern_code read_code(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    const struct {
        const char *name, **out;
    } files[] = {{"inference.py", &sm->script},
                 {"requirements.txt", &sm->requirements},
                 {"lib", &sm->lib},
                 {"wheels", &sm->wheels}};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        tern_code code = join(p, sm->code, files[i].name, files[i].out, st);
        if (code != TERN_OK)
            return code;
        if (access(*files[i].out, F_OK) != 0)
            *files[i].out = NULL;
    }
    sm->service = sm->several || sm->script != NULL || sm->lib != NULL || sm->requirements != NULL;
    if (sm->lib != NULL && sm->requirements != NULL) {
        tn_warn("sagemaker", "modules come from %s; requirements.txt is ignored", sm->lib);
        sm->requirements = NULL;
    }
    return TERN_OK;
}

static tern_code read_folders(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    tn_str base = tn_str_from(or_default("SAGEMAKER_BASE_DIR", "/opt/ml"));
    while (base.len > 1 && base.ptr[base.len - 1] == '/')
        base.len--;
    if (base.len == 0 || base.ptr[0] != '/')
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "SAGEMAKER_BASE_DIR=%.*s: give an absolute path, the folder that holds model/",
                         TN_FMT(tn_str_sub(base, 0, 100)));
    sm->base = tn_arena_dup(&p->arena, base).ptr;
    tern_code code =
        sm->base != NULL ? TERN_OK : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    if (code == TERN_OK)
        code = join(p, sm->base, "model", &sm->model, st);
    if (code == TERN_OK)
        code = join(p, sm->base, "models", &sm->models, st);
    if (code == TERN_OK)
        code = join(p, sm->several ? sm->base : sm->model, "code", &sm->code, st);
    return code == TERN_OK ? read_code(p, st) : code;
}
static tern_code read_scripts(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    const char *python = p->o.python[0] != '\0' ? p->o.python : or_default("TERN_PYTHON", "");
    sm->python = python[0] != '\0' ? python : "python3";
    sm->worker_class = tn_str_from(or_default("SAGEMAKER_GUNICORN_WORKER_CLASS", "gevent"));
    sm->log_level = tn_str_from(or_default("SAGEMAKER_GUNICORN_LOGLEVEL", "info"));
    sm->workers = sm->threads = 1;
    tern_code code = read_int("SAGEMAKER_GUNICORN_TIMEOUT_SECONDS", 30, 0, MAX_SECONDS, &sm->timeout_s, st);
    if (code == TERN_OK)
        code = read_int("SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS", 60, 0, MAX_SECONDS, &sm->read_timeout_s,
                        st);
    /* Without the service nobody looks at these. */
    if (code == TERN_OK && sm->service)
        code = read_int("SAGEMAKER_GUNICORN_WORKERS", 1, 1, MAX_WORKERS, &sm->workers, st);
    if (code == TERN_OK && sm->service)
        code = read_int("SAGEMAKER_GUNICORN_THREADS", 1, 1, MAX_WORKERS, &sm->threads, st);
    const bool own = getenv("SAGEMAKER_GUNICORN_TIMEOUT_SECONDS") != NULL;
    const bool nginx = getenv("SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS") != NULL;
    sm->script_timeout_s =
        !own || (nginx && sm->read_timeout_s > sm->timeout_s) ? sm->read_timeout_s : sm->timeout_s;
    if (own && sm->timeout_s == 0)
        sm->script_timeout_s = 0;
    if (sm->read_timeout_s < sm->timeout_s)
        sm->read_timeout_s = sm->timeout_s;
    if (code == TERN_OK && getenv("SAGEMAKER_MULTI_MODEL_UNIVERSAL_BUCKET") != NULL)
        tn_warn(
            "sagemaker",
            "SAGEMAKER_MULTI_MODEL_UNIVERSAL_BUCKET has no effect: nothing is fetched; put the code into %s",
            sm->code);
    return code;
}

/* "lo-hi"; what stands behind a second '-' is not looked at, as in the original. */
static tern_code read_range(tn_sagemaker *sm, const char *text, tern_status *st)
{
    char low[32], high[32];
    int64_t lo, hi;
    const char *dash = strchr(text, '-');
    const char *end = dash != NULL ? strchr(dash + 1, '-') : NULL;
    const size_t n_low = dash != NULL ? (size_t)(dash - text) : 0;
    const size_t n_high = dash == NULL ? 0 : end != NULL ? (size_t)(end - dash - 1) : strlen(dash + 1);
    if (dash == NULL || n_low >= sizeof low || n_high >= sizeof high)
        goto bad;
    snprintf(low, sizeof low, "%.*s", (int)n_low, text);
    snprintf(high, sizeof high, "%.*s", (int)n_high, dash + 1);
    if (!tn_sagemaker_int(low, &lo) || !tn_sagemaker_int(high, &hi) || lo < 0 || hi > UINT16_MAX || lo > hi)
        goto bad;
    if (lo + 2 * (int64_t)sm->instances > hi)
        return tern_fail(
            st, TERN_INVALID_ARGUMENT,
            "SAGEMAKER_SAFE_PORT_RANGE=%.40s has not enough ports: %d model server(s) need %lld-%lld or more",
            text, sm->instances, (long long)lo, (long long)lo + 2 * sm->instances);
    sm->has_port_range = true;
    sm->port_low = (int32_t)lo;
    sm->port_high = (int32_t)hi;
    return TERN_OK;
bad:
    return tern_fail(st, TERN_INVALID_ARGUMENT,
                     "SAGEMAKER_SAFE_PORT_RANGE=%.100s: give two ports of 0 to 65535 such as 9000-9999",
                     text);
}

static tern_code choose_ports(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    const bool any = sm->has_port_range && sm->port_low == 0; /* free ones: for tests */
    int *grpc = tn_arena_array(&p->arena, (size_t)sm->instances, sizeof *grpc);
    int *rest = tn_arena_array(&p->arena, (size_t)sm->instances, sizeof *rest);
    if (grpc == NULL || rest == NULL)
        return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
    for (int32_t i = 0; i < sm->instances; i++) {
        grpc[i] = any ? 0 : sm->has_port_range ? sm->port_low + 2 * i : DEFAULT_GRPC_PORT;
        rest[i] = any ? 0 : sm->has_port_range ? sm->port_low + 2 * i + 1 : DEFAULT_REST_PORT;
    }
    sm->grpc_ports = grpc;
    sm->rest_ports = rest;
    return TERN_OK;
}

static tern_code read_ports(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    const char *range = getenv("SAGEMAKER_SAFE_PORT_RANGE");
    tern_code code = read_int("SAGEMAKER_TFS_INSTANCE_COUNT", 1, 1, MAX_INSTANCES, &sm->instances, st);
    if (code == TERN_OK)
        code = read_int("SAGEMAKER_BIND_TO_PORT", 8080, 0, UINT16_MAX, &p->sagemaker_port, st);
    if (code == TERN_OK && range != NULL)
        code = read_range(sm, range, st);
    else if (code == TERN_OK && (sm->several || sm->instances > 1))
        code =
            tern_fail(st, TERN_INVALID_ARGUMENT,
                      "SAGEMAKER_SAFE_PORT_RANGE is not set: %s needs it; give two ports such as 9000-9999",
                      sm->several ? "SAGEMAKER_MULTI_MODEL=true" : "SAGEMAKER_TFS_INSTANCE_COUNT above 1");
    if (code != TERN_OK)
        return code;
    return choose_ports(p, st);
}

/* ---- batching ---- */

static tern_code read_batching(tn_parts *p, tern_status *st)
{
    static const char *const keys[][2] = {{"max_batch_size", "SAGEMAKER_TFS_MAX_BATCH_SIZE"},
                                          {"batch_timeout_micros", "SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS"},
                                          {"num_batch_threads", "SAGEMAKER_TFS_NUM_BATCH_THREADS"},
                                          {"max_enqueued_batches", "SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES"}};
    char cores[24], why[512];
    tn_batch_params *params = &p->batching.params;
    tn_str text = TN_STR("");
    snprintf(cores, sizeof cores, "%ld", sysconf(_SC_NPROCESSORS_ONLN));
    const char *const otherwise[] = {"8", "1000", cores,
                                     getenv("SAGEMAKER_BATCH") != NULL ? BATCH_JOBS : cores};
    for (int i = 0; i < 4; i++) {
        const char *value = or_default(keys[i][1], otherwise[i]);
        tn_str line = tn_arena_printf(&p->arena, "%s { value: %s }\n", keys[i][0], value);
        text = tn_arena_printf(&p->arena, "%.*s%.*s", TN_FMT(text), TN_FMT(line));
        if (line.ptr == NULL || text.ptr == NULL)
            return tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
        if (tn_batch_params_parse(line, &p->arena, params, st) != TERN_OK) {
            snprintf(why, sizeof why, "%.*s", (int)st->length, st->message);
            return tern_fail(st, TERN_INVALID_ARGUMENT, "%s=%.100s: give a whole number (%s)", keys[i][1],
                             value, why);
        }
    }
    tern_code code = tn_batch_params_parse(text, &p->arena, params, st);
    if (code == TERN_OK)
        code = tn_batch_params_check_threads(params, st);
    if (code == TERN_OK)
        code = tn_batch_params_check(params, st);
    if (code == TERN_OK)
        return TERN_OK;
    snprintf(why, sizeof why, "%.*s", (int)st->length, st->message);
    return tern_fail(st, TERN_INVALID_ARGUMENT,
                     "SAGEMAKER_TFS_ENABLE_BATCHING: the variables of batching: %s", why);
}

/* The original hands the text to its model server, which wants a number of 32 bits. */
static tern_code read_parallelism(const char *name, int64_t *out, tern_status *st)
{
    int32_t value = 0;
    const char *text = getenv(name);
    tern_code code =
        text != NULL && text[0] != '\0' ? read_int(name, 0, INT32_MIN, INT32_MAX, &value, st) : TERN_OK;
    *out = value;
    return code;
}

static tern_code read_margin(tern_status *st)
{
    char *end;
    const char *text = or_default("SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN", "0.2");
    tn_str number = without_blanks(text);
    (void)strtod(text, &end);
    if (number.len == 0 || end < number.ptr + number.len)
        return tern_fail(st, TERN_INVALID_ARGUMENT,
                         "SAGEMAKER_TFS_FRACTIONAL_GPU_MEM_MARGIN=%.100s: give a number such as 0.2", text);
    return TERN_OK;
}

static tern_code read_servers(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    const int64_t wait = sm->generation == TN_SAGEMAKER_2_20 ? 60 : 55 / sm->instances;
    tern_code code = read_int("SAGEMAKER_TFS_WAIT_TIME_SECONDS", wait, 0, MAX_SECONDS, &sm->wait_s, st);
    if (code == TERN_OK)
        code = read_margin(st);
    if (code == TERN_OK)
        code =
            read_parallelism("SAGEMAKER_TFS_INTER_OP_PARALLELISM", &p->o.tensorflow_inter_op_parallelism, st);
    if (code == TERN_OK)
        code =
            read_parallelism("SAGEMAKER_TFS_INTRA_OP_PARALLELISM", &p->o.tensorflow_intra_op_parallelism, st);
    if (code == TERN_OK)
        code = read_bool("SAGEMAKER_TFS_ENABLE_BATCHING", &sm->batching, st);
    if (code != TERN_OK || !sm->batching)
        return code;
    p->o.enable_batching = true;
    return TERN_OK;
}

/* ---- models ---- */

static tern_code find_models(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    const char *wanted = or_default("SAGEMAKER_TFS_DEFAULT_MODEL_NAME", "None");
    sm->default_model = tn_str_from(wanted);
    if (sm->several)
        return TERN_OK;
    tern_code code = tn_sagemaker_find(sm->model, &p->arena, &p->configs, &p->n_configs, st);
    if (code != TERN_OK)
        return code;
    if (strcmp(wanted, "None") == 0) {
        sm->default_model = p->configs[0].name;
        tn_info("sagemaker", "the default model is %.*s", TN_FMT(sm->default_model));
        return TERN_OK;
    }
    for (uint32_t i = 0; i < p->n_configs; i++)
        if (tn_str_eq(p->configs[i].name, sm->default_model))
            return TERN_OK;
    return tern_fail(st, TERN_NOT_FOUND,
                     "SAGEMAKER_TFS_DEFAULT_MODEL_NAME=%.100s: no model below %s has that name", wanted,
                     sm->model);
}

/* ---- beyond the container ---- */

/* The platform asks for them before a batch transform; its own variables say what was asked of it. */
static tern_code read_extras(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    int32_t transforms, megabytes;
    char why[512];
    tern_code code = read_bool("TERN_SAGEMAKER_EXTRAS", &sm->extras, st);
    if (tn_options_given("sagemaker_extras") || getenv("TERN_SAGEMAKER_EXTRAS") == NULL)
        sm->extras = p->o.sagemaker_extras;
    if (code != TERN_OK || (!sm->extras && getenv("SAGEMAKER_BATCH") == NULL))
        return code;
    const char *strategy = or_default("SAGEMAKER_BATCH_STRATEGY", "MULTI_RECORD");
    tn_str multi = TN_STR("MULTI_RECORD"), single = TN_STR("SINGLE_RECORD");
    const bool one = tn_str_ieq(tn_str_from(strategy), single) ||
                     tn_str_ieq(tn_str_from(strategy), TN_STR("SingleRecord"));
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (read_int("SAGEMAKER_MAX_CONCURRENT_TRANSFORMS", cores, 0, MAX_INSTANCES, &transforms, st) !=
            TERN_OK ||
        read_int("SAGEMAKER_MAX_PAYLOAD_IN_MB", 6, 0, MAX_PAYLOAD_MB, &megabytes, st) != TERN_OK) {
        snprintf(why, sizeof why, "%.*s", (int)st->length, st->message);
        tn_warn("sagemaker", "%s; the default is used", why); /* nobody looked at it so far */
        transforms = (int32_t)cores;
        megabytes = 6;
    }
    tn_str text = tn_arena_printf(
        &p->arena, "{\"MaxConcurrentTransforms\": %d, \"BatchStrategy\": \"%s\", \"MaxPayloadInMB\": %d}",
        transforms > 0 ? transforms : (int32_t)cores, one ? single.ptr : multi.ptr, megabytes);
    sm->execution_parameters = text.ptr;
    return text.ptr != NULL ? TERN_OK : tern_fail(st, TERN_RESOURCE_EXHAUSTED, "No memory to start");
}

/* ---- all ---- */

/* What the variables say is not to be said twice. */
static tern_code check_flags(tern_status *st)
{
    static const char *const flags[] = {
        "model_base_path",     "model_config_file", "port",     "rest_api_port",
        "default_model",       "enable_batching",   "batching", "batching_parameters_file",
        "platform_config_file"};
    for (size_t i = 0; i < sizeof flags / sizeof flags[0]; i++)
        if (tn_options_given(flags[i]))
            return tern_fail(
                st, TERN_INVALID_ARGUMENT,
                "--%s does not go with --sagemaker, where variables of the environment say it; leave it out",
                flags[i]);
    return TERN_OK;
}

/* The model server inside answers as the original's does. */
static void settle_flags(tn_parts *p)
{
    const tn_sagemaker *sm = &p->sagemaker;
    setenv("OMP_NUM_THREADS", "1", 0);
    p->o.max_num_load_retries = 0;
    if (!tn_options_given("rest_extensions"))
        p->o.rest_extensions = false;
    if (!tn_options_given("max_error_bytes"))
        p->o.limits.max_error_bytes = tn_limits_default().max_error_bytes;
    if (!tn_options_given("drain_timeout_ms"))
        p->o.limits.drain_timeout_ms = DRAIN_MS;
    if (!tn_options_given("rest_api_timeout_in_ms") && sm->read_timeout_s > 0 &&
        p->o.rest_api_timeout_in_ms > sm->read_timeout_s * INT64_C(1000))
        p->o.rest_api_timeout_in_ms = sm->read_timeout_s * INT64_C(1000);
}

tern_code tn_parts_sagemaker(tn_parts *p, tern_status *st)
{
    tn_sagemaker *sm = &p->sagemaker;
    pthread_mutex_init(&sm->lock, NULL);
    sm->generation = generation_of(or_default("SAGEMAKER_TFS_VERSION", ""));
    if (tn_str_ieq(tn_str_from(getenv("SAGEMAKER_TFS_NGINX_LOGLEVEL")), TN_STR("debug")) &&
        !tn_options_given("log_level"))
        tn_log_level(TERN_LOG_DEBUG);
    tern_code code = check_flags(st);
    if (code == TERN_OK)
        code = read_bool("SAGEMAKER_MULTI_MODEL", &sm->several, st);
    if (code == TERN_OK)
        code = read_folders(p, st);
    if (code == TERN_OK)
        code = read_scripts(p, st);
    if (code == TERN_OK)
        code = read_ports(p, st);
    if (code == TERN_OK)
        code = read_servers(p, st);
    if (code == TERN_OK)
        code = read_extras(p, st);
    if (code == TERN_OK)
        code = find_models(p, st);
    if (code != TERN_OK)
        return code;
    settle_flags(p);
    p->server.sagemaker = sm;
    tn_info("sagemaker", "behaves like the container of TensorFlow %s%s, %s",
            sm->generation == TN_SAGEMAKER_2_20 ? "2.20" : "2.19 and before",
            sm->several ? ", several models" : "",
            sm->script != NULL ? "with inference.py"
            : sm->service      ? "as its Python service"
                               : "without a script");
    return TERN_OK;
}

tern_code tn_parts_sagemaker_batching(tn_parts *p, tern_status *st)
{
    tern_code code = tn_parts_batching(p, st);
    return code == TERN_OK && p->sagemaker.batching ? read_batching(p, st) : code;
}
