/*
 * cli/table.c - see cli/table.h. The main thread; everything read is borrowed from argv.
 */
#include "cli/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

void tn_table_help(const tn_table *t, FILE *out)
{
    for (size_t i = 0; i < t->n_flags; i++) {
        const tn_table_flag *f = &t->flags[i];
        char text[64];
        snprintf(text, sizeof text, "--%s%s%s", f->name, f->value != NULL ? "=" : "",
                 f->value != NULL ? f->value : "");
        fprintf(out, "  %-25s %s\n", text, f->help);
    }
}

static bool add_text(tn_table_texts *texts, const char *value)
{
    if (texts->n == TN_TABLE_TEXTS)
        return false;
    texts->text[texts->n++] = value;
    return true;
}

static bool set(void *options, const tn_table_flag *f, const char *value)
{
    void *to = (char *)options + f->offset;
    char *end;
    if (f->kind == TN_TABLE_BOOL && value == NULL) {
        *(bool *)to = true;
        return true;
    }
    if (value == NULL)
        return false;
    switch (f->kind) {
    case TN_TABLE_TEXT:
        *(const char **)to = value;
        return true;
    case TN_TABLE_WHOLE:
        return tn_str_i64(tn_str_from(value), to) && *(int64_t *)to > 0;
    case TN_TABLE_REAL:
        *(double *)to = strtod(value, &end);
        return end != value && *end == '\0' && *(double *)to >= 0 && *(double *)to < 1e6;
    case TN_TABLE_BOOL:
        *(bool *)to = strcmp(value, "true") == 0;
        return *(bool *)to || strcmp(value, "false") == 0;
    case TN_TABLE_TEXTS_:
        return add_text(to, value);
    }
    return false;
}

static bool is_name(const char *name, const char *text, size_t n)
{
    if (strlen(name) != n)
        return false;
    for (size_t i = 0; i < n; i++)
        if (name[i] != text[i] && !((name[i] == '-' || name[i] == '_') && (text[i] == '-' || text[i] == '_')))
            return false;
    return true;
}

static const char *should_be(tn_table_kind kind)
{
    switch (kind) {
    case TN_TABLE_WHOLE:
        return "a whole number above 0";
    case TN_TABLE_REAL:
        return "a number of seconds";
    case TN_TABLE_BOOL:
        return "true or false";
    default:
        return "given more than 16 times, or without a value";
    }
}

static bool read_flag(const tn_table *t, void *options, int argc, char **argv, int *i)
{
    const char *text = strcmp(argv[*i], "-o") == 0   ? "--output"
                       : strcmp(argv[*i], "-h") == 0 ? "--help"
                                                     : argv[*i];
    const char *name = text + (text[1] == '-' ? 2 : 1), *equal = strchr(name, '=');
    const size_t n = equal != NULL ? (size_t)(equal - name) : strlen(name);
    for (size_t k = 0; k < t->n_flags; k++) {
        const tn_table_flag *f = &t->flags[k];
        if (!is_name(f->name, name, n))
            continue;
        const char *value = equal != NULL ? equal + 1 : NULL;
        if (value == NULL && f->kind != TN_TABLE_BOOL && *i + 1 < argc)
            value = argv[++*i];
        if (set(options, f, value))
            return true;
        fprintf(stderr, "%s: --%s=%.100s: it is %s\n", t->command, f->name, value != NULL ? value : "",
                should_be(f->kind));
        return false;
    }
    fprintf(stderr, "%s: there is no flag %.100s. See %s --help\n", t->command, argv[*i], t->command);
    return false;
}

bool tn_table_read(const tn_table *t, void *options, const char **argument, int argc, char **argv)
{
    *argument = NULL;
    for (int i = 1; i < argc; i++) {
        if (argv[i][0] == '-' && argv[i][1] != '\0') {
            if (!read_flag(t, options, argc, argv, &i))
                return false;
        } else if (*argument == NULL) {
            *argument = argv[i];
        } else {
            fprintf(stderr, "%s: one model at a time: %.100s, %.100s\n", t->command, *argument, argv[i]);
            return false;
        }
    }
    return true;
}
