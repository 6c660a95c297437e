/*
 * html_floor.c - what HTML costs at least: lexbor's parse of a page alone, beside the whole way from the
 * page's bytes to the model's tensors.
 *
 *   html_floor PAGE...
 *
 * For every line "parse I N" or "features I N" on standard input the I-th page (from 0) is taken N times, and
 * the mean microseconds of this thread's processor time are printed. Both keep their parser and its memory from
 * page to page, as each library's manual has it.
 */
#include <lexbor/html/html.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "html_features.h"

#define MAX_PAGES 64
#define MAX_BYTES (64u << 20)

typedef struct page {
    char *bytes;
    size_t length;
} page;

static const char content_type[] = "text/html; charset=utf-8";

static void fail(const char *what)
{
    fprintf(stderr, "html_floor: %s\n", what);
    exit(1);
}

static int64_t cpu_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return t.tv_sec * TN_NS_PER_S + t.tv_nsec;
}

static page read_page(const char *path)
{
    page p = {.bytes = malloc(MAX_BYTES)};
    FILE *f = fopen(path, "rb");
    if (f == NULL || p.bytes == NULL)
        fail(path);
    p.length = fread(p.bytes, 1, MAX_BYTES, f);
    fclose(f);
    return p;
}

static void parse(lxb_html_document_t *document, const page *p)
{
    if (lxb_html_document_parse(document, (const lxb_char_t *)p->bytes, p->length) != LXB_STATUS_OK)
        fail("lexbor cannot parse it");
}

/* Tensors as the server makes them: each into memory of its own size. */
static void extract(tern_html *x, const page *p)
{
    if (tern_html_extract(x, p->bytes, p->length, content_type, sizeof content_type - 1, NULL, 0, 0) !=
        TERN_HTML_OK)
        fail(tern_html_message(x));
    for (int i = 0; i < TERN_HTML_TENSORS; i++) {
        int64_t shape[2] = {1, 1};
        const int rank = tern_html_tensor_shape(x, i, shape);
        int32_t *out = malloc((size_t)(shape[0] * (rank > 1 ? shape[1] : 1)) * sizeof *out + 1);
        if (out == NULL)
            fail("out of memory");
        tern_html_tensor_fill(x, i, out);
        free(out);
    }
}

int main(int argc, char **argv)
{
    static page pages[MAX_PAGES];
    char line[64], what[16];
    int which, times;
    const int n = argc - 1;
    lxb_html_document_t *document = lxb_html_document_create();
    tern_html *x = tern_html_create();
    if (n < 1 || n > MAX_PAGES || document == NULL || x == NULL)
        fail("usage: html_floor PAGE...");
    for (int i = 0; i < n; i++)
        pages[i] = read_page(argv[1 + i]);
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (sscanf(line, "%15s %d %d", what, &which, &times) != 3 || which < 0 || which >= n || times < 1)
            fail("a line is: parse|features PAGE TIMES");
        const int64_t start = cpu_ns();
        for (int i = 0; i < times; i++) {
            if (strcmp(what, "parse") == 0)
                parse(document, &pages[which]);
            else
                extract(x, &pages[which]);
        }
        printf("%.3f\n", (double)(cpu_ns() - start) / times / 1e3);
        fflush(stdout);
    }
    tern_html_free(x);
    lxb_html_document_destroy(document);
    for (int i = 0; i < n; i++)
        free(pages[i].bytes);
    return 0;
}
