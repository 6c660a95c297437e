/*
 * cli/help.c - what --help prints. See cli/options.h.
 *
 * For people: groups, two columns, no line over WIDTH. For programs that know the original's usage text: a
 * line for each flag, its form as core/util/command_line_flags.cc has it.
 */
#include "cli/flags.h"

#define WIDTH  100
#define COLUMN 42 /* where the help begins */

void tn_flag_text(const tn_flag *f, const tn_options *defaults, char *text, size_t size)
{
    const void *value = (const char *)defaults + f->offset;
    switch (f->type) {
    case TN_FLAG_BOOL:
        snprintf(text, size, "--%s=%s", f->name, *(const bool *)value ? "true" : "false");
        break;
    case TN_FLAG_INT:
    case TN_FLAG_INT64:
        snprintf(text, size, "--%s=%lld", f->name, (long long)*(const int64_t *)value);
        break;
    case TN_FLAG_FLOAT:
        snprintf(text, size, "--%s=%f", f->name, *(const double *)value);
        break;
    case TN_FLAG_TEXT:
        snprintf(text, size, "--%s=\"%s\"", f->name, *(const char *const *)value);
        break;
    }
}

/* From column `at` on, words of the text; further lines begin at COLUMN. */
static void print_wrapped(int at, const char *text)
{
    while (*text != '\0') {
        int word = (int)strcspn(text, " ");
        if (at > COLUMN && at + 1 + word > WIDTH) {
            printf("\n%*s", COLUMN, "");
            at = COLUMN;
        } else if (at > COLUMN) {
            putchar(' ');
            at++;
        }
        printf("%.*s", word, text);
        at += word;
        text += word + (text[word] == ' ');
    }
    putchar('\n');
}

static void print_flag(const tn_options *defaults, const tn_flag *f)
{
    char text[256], help[512];
    tn_flag_text(f, defaults, text, sizeof text);
    if (f->type == TN_FLAG_FLOAT)
        snprintf(text, sizeof text, "--%s=%g", f->name,
                 *(const double *)((const char *)defaults + f->offset));
    snprintf(help, sizeof help, "%s%s", f->help, f->effect ? "" : " (no effect here)");
    if (2 + (int)strlen(text) < COLUMN)
        printf("  %-*s", COLUMN - 2, text);
    else
        printf("  %s\n%*s", text, COLUMN, "");
    print_wrapped(COLUMN, help);
}

void tn_options_help(void)
{
    const tn_options defaults = tn_options_default(TN_MANNER_TERN);
    const char *group = "";
    printf(
        "usage: tern serve --model_base_path=DIR [--model_name=NAME] [flags]\n"
        "       tern serve --model_config_file=FILE [flags]\n\n"
        "Serves TensorFlow SavedModels over REST and gRPC. Flags are --flag=value or --flag value; a bare\n"
        "--flag means true. Without both flags above, the environment variables MODEL_NAME and\n"
        "MODEL_BASE_PATH name the model ${MODEL_BASE_PATH}/${MODEL_NAME}.\n");
    for (const tn_flag *f = tn_flags; f->name != NULL; f++) {
        if (strcmp(group, f->group) != 0) {
            group = f->group;
            printf("\n%s:\n", group);
        }
        print_flag(&defaults, f);
    }
}

void tn_options_usage(const char *program)
{
    static const char *const types[] = {"bool", "int32", "int64", "float", "string"};
    const tn_options defaults = tn_options_default(TN_MANNER_SERVING);
    printf("usage: %s\nFlags:\n", program);
    for (const tn_flag *f = tn_flags; f->name != NULL; f++) {
        char text[256];
        tn_flag_text(f, &defaults, text, sizeof text);
        printf("\t%-33s\t%s\t%s\n", text, types[f->type], f->help);
    }
    fflush(stdout);
}
