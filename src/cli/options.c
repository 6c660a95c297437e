/*
 * cli/options.c - the parsers of the two manners. See cli/options.h.
 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/status.h"
#include "cli/flags.h"

const tn_flag tn_flags[] = {
#define X(type, name, value, effect, group, help)                                                            \
    {#name, TN_FLAG_##type, offsetof(tn_options, name), effect, group, help},
    TN_FLAGS(X)
#undef X
#define X(name, value, help) {#name, TN_FLAG_INT64, offsetof(tn_options, limits.name), true, "Limits", help},
        TN_LIMITS(X)
#undef X
            {0}};

#define N_FLAGS (sizeof tn_flags / sizeof tn_flags[0] - 1)

/* Which flags stood on the command line; for tn_options_given(). */
static bool given[N_FLAGS];

tn_options tn_options_default(tn_manner manner)
{
    tn_options o = {
#define X(type, name, value, effect, group, help) .name = (value),
        TN_FLAGS(X)
#undef X
    };
    o.limits = tn_limits_default();
    if (manner == TN_MANNER_TERN) {
        o.rest_api_port = 8501;
        o.enable_grpc_healthcheck_service = true;
        o.rest_api_tls = true;
        o.rest_extensions = true;
        o.sagemaker_extras = true;
        o.limits.max_error_bytes = TERN_STATUS_MESSAGE_MAX - 1;
    } else {
        /* Without effect here, but programs may read them in the usage text. */
        int64_t cores = sysconf(_SC_NPROCESSORS_ONLN);
        o.rest_api_num_threads = o.grpc_max_threads = 4 * cores;
        o.num_tflite_pools = cores;
    }
    return o;
}

/* ---- values ---- */

static bool read_bool(tn_str text, bool *value)
{
    *value = text.ptr == NULL || tn_str_ieq(text, TN_STR("true")) || tn_str_eq(text, TN_STR("1"));
    return *value || tn_str_ieq(text, TN_STR("false")) || tn_str_eq(text, TN_STR("0"));
}

/* As sscanf's "%d" or "%ld" reads the whole text: blanks before it, a sign, limits instead of errors. */
static bool scan_int(const char *text, bool wide, int64_t *value)
{
    char *end;
    long long n = strtoll(text, &end, 10);
    *value = wide ? n : (int32_t)n;
    return end != text && *end == '\0';
}

/* As sscanf's "%f". */
static bool scan_float(const char *text, double *value)
{
    char *end;
    *value = (double)strtof(text, &end);
    return end != text && *end == '\0' && strchr(text, '(') == NULL;
}

static bool read_int(tn_str text, bool wide, int64_t *value)
{
    return tn_str_i64(text, value) && (wide || (*value >= INT32_MIN && *value <= INT32_MAX));
}

static bool read_float(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0;
}

/* text: NUL-terminated value, or absent for a bare flag. */
static bool set(tn_options *o, tn_manner manner, const tn_flag *f, tn_str text)
{
    void *target = (char *)o + f->offset;
    bool serving = manner == TN_MANNER_SERVING, wide = f->type == TN_FLAG_INT64;
    if (f->type != TN_FLAG_BOOL && text.ptr == NULL)
        return false;
    given[f - tn_flags] = true;
    switch (f->type) {
    case TN_FLAG_BOOL:
        return read_bool(text, target);
    case TN_FLAG_INT:
    case TN_FLAG_INT64:
        return serving ? scan_int(text.ptr, wide, target) : read_int(text, wide, target);
    case TN_FLAG_FLOAT:
        return serving ? scan_float(text.ptr, target) : read_float(text.ptr, target);
    case TN_FLAG_TEXT:
        *(const char **)target = text.ptr;
        return true;
    }
    return false;
}

/* ---- names ---- */

typedef struct argument {
    const tn_flag *flag; /* NULL: unknown */
    tn_str name;         /* without "--" */
    tn_str value;        /* after '=', or absent */
} argument;

static argument split(const char *text)
{
    tn_str body = tn_str_from(text);
    argument a = {.name = body};
    if (!tn_str_starts(body, TN_STR("--")))
        return a;
    body = tn_str_sub(body, 2, body.len);
    ptrdiff_t equals = tn_str_chr(body, '=');
    a.name = equals >= 0 ? tn_str_sub(body, 0, (size_t)equals) : body;
    if (equals >= 0)
        a.value = tn_str_sub(body, (size_t)equals + 1, body.len);
    for (size_t i = 0; i < N_FLAGS && a.flag == NULL; i++)
        if (tn_str_eq(a.name, tn_str_from(tn_flags[i].name)))
            a.flag = &tn_flags[i];
    return a;
}

/* Levenshtein distance; SIZE_MAX when a name is longer than any flag's. */
static size_t distance(tn_str a, tn_str b)
{
    enum { LONGEST = 63 };
    size_t row[LONGEST + 1];
    if (a.len > LONGEST || b.len > LONGEST)
        return SIZE_MAX;
    for (size_t j = 0; j <= b.len; j++)
        row[j] = j;
    for (size_t i = 1; i <= a.len; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= b.len; j++) {
            size_t keep = corner + (a.ptr[i - 1] != b.ptr[j - 1]);
            corner = row[j];
            size_t best = row[j] < row[j - 1] ? row[j] + 1 : row[j - 1] + 1;
            row[j] = keep < best ? keep : best;
        }
    }
    return row[b.len];
}

static const char *nearest(tn_str name)
{
    const char *best = NULL;
    size_t least = name.len / 2 + 1;
    for (size_t i = 0; i < N_FLAGS; i++) {
        size_t d = distance(name, tn_str_from(tn_flags[i].name));
        if (d < least) {
            least = d;
            best = tn_flags[i].name;
        }
    }
    return best;
}

/* ---- the two manners ---- */

static tn_parse_result parse_serving(tn_options *o, int argc, char **argv)
{
    const char *unknown = NULL;
    bool good = true;
    for (int i = 1; i < argc; i++) {
        argument a = split(argv[i]);
        bool last = strcmp(argv[i], "--") == 0; /* what follows is not looked at */
        if (a.flag == NULL || (a.value.ptr == NULL && a.flag->type != TN_FLAG_BOOL)) {
            unknown = unknown != NULL ? unknown : argv[i];
        } else if (!set(o, TN_MANNER_SERVING, a.flag, a.value)) {
            tn_error("flags", "Couldn't interpret value %.*s for flag %s.", TN_FMT(a.value), a.flag->name);
            good = false;
        }
        if (last)
            break;
    }
    if (!good || (unknown != NULL && strcmp(unknown, "--help") == 0)) {
        tn_options_usage(argv[0]);
        return TN_PARSE_BAD;
    }
    if (unknown != NULL && !o->version) {
        printf("unknown argument: %s\n", unknown);
        tn_options_usage(argv[0]);
    }
    return TN_PARSE_OK;
}

static tn_parse_result refuse_unknown(const char *arg, tn_str name)
{
    const char *near = nearest(name);
    if (near != NULL)
        fprintf(stderr, "tern serve: there is no flag %.200s; did you mean --%s? See tern serve --help\n",
                arg, near);
    else
        fprintf(stderr, "tern serve: there is no flag %.200s. See tern serve --help\n", arg);
    return TN_PARSE_BAD;
}

/* One argument, and maybe the next one as its value. *i moves on. */
static tn_parse_result parse_one(tn_options *o, int argc, char **argv, int *i)
{
    static const char *const kinds[] = {"true or false", "a whole number of 32 bits", "a whole number",
                                        "a number", "a value"};
    const char *arg = argv[*i];
    argument a = split(arg);
    if (strcmp(arg, "-h") == 0 || (arg[0] == '-' && tn_str_eq(a.name, TN_STR("help"))))
        return TN_PARSE_HELP;
    if (a.flag == NULL)
        return refuse_unknown(arg, a.name);
    if (a.value.ptr == NULL && a.flag->type != TN_FLAG_BOOL && *i + 1 < argc)
        a.value = tn_str_from(argv[++*i]);
    if (set(o, TN_MANNER_TERN, a.flag, a.value))
        return TN_PARSE_OK;
    if (a.value.ptr != NULL)
        fprintf(stderr, "tern serve: --%s=%.200s: --%s wants %s\n", a.flag->name, a.value.ptr, a.flag->name,
                kinds[a.flag->type]);
    else
        fprintf(stderr, "tern serve: --%s has no value: it wants %s\n", a.flag->name, kinds[a.flag->type]);
    return TN_PARSE_BAD;
}

tn_parse_result tn_options_parse(tn_options *o, tn_manner manner, int argc, char **argv)
{
    tn_parse_result result = TN_PARSE_OK;
    if (manner == TN_MANNER_SERVING)
        return parse_serving(o, argc, argv);
    for (int i = 1; i < argc && result == TN_PARSE_OK; i++)
        result = parse_one(o, argc, argv, &i);
    return result;
}

bool tn_options_given(const char *name)
{
    for (size_t i = 0; i < N_FLAGS; i++)
        if (given[i] && strcmp(tn_flags[i].name, name) == 0)
            return true;
    return false;
}

void tn_options_log_unused(void)
{
    for (size_t i = 0; i < N_FLAGS; i++)
        if (given[i] && !tn_flags[i].effect)
            tn_warn("flags", "--%s is accepted and has no effect in this version", tn_flags[i].name);
}
