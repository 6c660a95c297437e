/*
 * cli/options.c - see cli/options.h. The parser follows TensorFlow's (core/util/command_line_flags.cc) in the
 * serving manner.
 */
#include "cli/options.h"

#include <errno.h>
#include <stdlib.h>

#include "base/log.h"

typedef enum flag_type { FLAG_BOOL, FLAG_INT, FLAG_FLOAT, FLAG_TEXT } flag_type;

typedef struct flag {
    const char *name;
    flag_type type;
    size_t offset; /* in tn_options */
    bool effect;
    const char *group;
    const char *help;
} flag;

static const flag flags[] = {
#define X(type, name, value, effect, group, help)                                                            \
    {#name, FLAG_##type, offsetof(tn_options, name), effect, group, help},
    TN_FLAGS(X)
#undef X
#define X(name, value, help) {#name, FLAG_INT, offsetof(tn_options, limits.name), true, "Limits", help},
        TN_LIMITS(X)
#undef X
};

#define N_FLAGS (sizeof flags / sizeof flags[0])

/* Which flags stood on the command line; for tn_options_log_unused(). */
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
    }
    return o;
}

static bool parse_bool(tn_str text, bool *value)
{
    /* --flag, =true, =True, =1 and their opposites, as the original takes them. */
    if (text.ptr == NULL || tn_str_ieq(text, TN_STR("true")) || tn_str_eq(text, TN_STR("1"))) {
        *value = true;
        return true;
    }
    *value = false;
    return tn_str_ieq(text, TN_STR("false")) || tn_str_eq(text, TN_STR("0"));
}

static bool parse_float(const char *text, double *value)
{
    char *end;
    errno = 0;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && errno == 0;
}

/* text: NUL-terminated value, or absent for a bare flag. */
static bool set(tn_options *o, const flag *f, tn_str text)
{
    void *target = (char *)o + f->offset;
    if (f->type != FLAG_BOOL && text.ptr == NULL)
        return false;
    switch (f->type) {
    case FLAG_BOOL:
        return parse_bool(text, target);
    case FLAG_INT:
        return tn_str_i64(text, target);
    case FLAG_FLOAT:
        return parse_float(text.ptr, target);
    case FLAG_TEXT:
        *(const char **)target = text.ptr;
        return true;
    }
    return false;
}

static const flag *find(tn_str name)
{
    for (size_t i = 0; i < N_FLAGS; i++)
        if (tn_str_eq(name, tn_str_from(flags[i].name)))
            return &flags[i];
    return NULL;
}

/* Levenshtein distance, bounded by the longest flag name. */
static size_t distance(tn_str a, tn_str b)
{
    enum { LONGEST = 63 };
    size_t row[LONGEST + 1];
    if (a.len > LONGEST || b.len > LONGEST)
        return LONGEST;
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
        size_t d = distance(name, tn_str_from(flags[i].name));
        if (d < least) {
            least = d;
            best = flags[i].name;
        }
    }
    return best;
}

static tn_parse_result unknown(tn_manner manner, const char *arg, tn_str name)
{
    if (manner == TN_MANNER_SERVING) {
        printf("unknown argument: %s\n", arg);
        tn_options_help(manner);
        return TN_PARSE_OK;
    }
    const char *near = nearest(name);
    if (near != NULL)
        fprintf(stderr, "tern serve: there is no flag %s; did you mean --%s? See tern serve --help\n", arg,
                near);
    else
        fprintf(stderr, "tern serve: there is no flag %s. See tern serve --help\n", arg);
    return TN_PARSE_BAD;
}

static tn_parse_result bad_value(tn_manner manner, const flag *f, const char *arg)
{
    static const char *const kinds[] = {"true or false", "a whole number", "a number", "a value"};
    if (manner == TN_MANNER_SERVING)
        tn_options_help(manner);
    else
        fprintf(stderr, "tern serve: %s: --%s wants %s\n", arg, f->name, kinds[f->type]);
    return TN_PARSE_BAD;
}

/* One argument, and in Tern's manner the next one as its value. *i moves on. */
static tn_parse_result parse_one(tn_options *o, tn_manner manner, int argc, char **argv, int *i)
{
    const char *arg = argv[*i];
    tn_str body = tn_str_from(arg);
    if (!tn_str_starts(body, TN_STR("--")))
        return unknown(manner, arg, body);
    body = tn_str_sub(body, 2, body.len);
    ptrdiff_t equals = tn_str_chr(body, '=');
    tn_str name = equals >= 0 ? tn_str_sub(body, 0, (size_t)equals) : body;
    tn_str value = equals >= 0 ? tn_str_sub(body, (size_t)equals + 1, body.len) : TN_STR_NONE;
    if (tn_str_eq(name, TN_STR("help")))
        return TN_PARSE_HELP;
    const flag *f = find(name);
    if (f == NULL)
        return unknown(manner, arg, name);
    if (equals < 0 && f->type != FLAG_BOOL) {
        if (manner == TN_MANNER_SERVING)
            return unknown(manner, arg, name);
        if (*i + 1 < argc)
            value = tn_str_from(argv[++*i]);
    }
    if (!set(o, f, value))
        return bad_value(manner, f, arg);
    given[f - flags] = true;
    return TN_PARSE_OK;
}

tn_parse_result tn_options_parse(tn_options *o, tn_manner manner, int argc, char **argv)
{
    tn_parse_result result = TN_PARSE_OK;
    for (int i = 1; i < argc && result == TN_PARSE_OK; i++)
        result = parse_one(o, manner, argc, argv, &i);
    return result;
}

void tn_options_log_unused(const tn_options *o)
{
    (void)o;
    for (size_t i = 0; i < N_FLAGS; i++)
        if (given[i] && !flags[i].effect)
            tn_warn("flags", "--%s is accepted and has no effect in this version", flags[i].name);
}

static void print_flag(const tn_options *defaults, const flag *f)
{
    const void *value = (const char *)defaults + f->offset;
    printf("  --%s", f->name);
    int width = (int)strlen(f->name);
    printf("%*s %s", width < 44 ? 44 - width : 0, "", f->help);
    switch (f->type) {
    case FLAG_BOOL:
        printf(" (%s)", *(const bool *)value ? "true" : "false");
        break;
    case FLAG_INT:
        printf(" (%lld)", (long long)*(const int64_t *)value);
        break;
    case FLAG_FLOAT:
        printf(" (%g)", *(const double *)value);
        break;
    case FLAG_TEXT:
        if ((*(const char *const *)value)[0] != '\0')
            printf(" (%s)", *(const char *const *)value);
        break;
    }
    printf("%s\n", f->effect ? "" : " [no effect here]");
}

void tn_options_help(tn_manner manner)
{
    const tn_options defaults = tn_options_default(manner);
    const char *group = "";
    if (manner == TN_MANNER_TERN)
        printf("usage: tern serve --model_base_path=DIR [--model_name=NAME] [flags]\n"
               "       tern serve --model_config_file=FILE [flags]\n\n"
               "Serves TensorFlow SavedModels over REST and gRPC. Flags are --flag=value or --flag value.\n");
    else
        printf("usage: tensorflow_model_server\nFlags:\n");
    for (size_t i = 0; i < N_FLAGS; i++) {
        if (strcmp(group, flags[i].group) != 0) {
            group = flags[i].group;
            printf("\n%s:\n", group);
        }
        print_flag(&defaults, &flags[i]);
    }
}
