/*
 * fuzz_html.c - the whole extraction of a page, its tensors and its answer, from any bytes.
 *
 * The first byte chooses what the caller says: a Content-Type with or without charset, an address. Every
 * block's text must lie in the extractor's memory and be valid UTF-8 (the answer is checked by its own
 * writer); a second extraction of the same page must give the same number of blocks, and one without the
 * lexer (html_lexer.h) the same tensors.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "features/html_features.h"
#include "features/html_internal.h"
#include "postprocess/html_answer.h"
#include "postprocess/html_text.h"
#include "postprocess/html_view.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int condition)
{
    if (!condition)
        abort();
}

static void check_results(tern_html *x)
{
    uint32_t n = tern_html_block_count(x);
    require(n >= 1 && n <= TN_HTML_MAX_BLOCKS);
    for (uint32_t i = 0; i < n; i++) {
        tern_html_block b;
        require(tern_html_block_at(x, i, &b) == 0);
        require(tn_html_is_utf8(b.text, b.length));
        require(b.context >> TERN_HTML_CONTEXT_BITS == 0);
    }
    for (int t = 0; t < TERN_HTML_TENSORS; t++) {
        int64_t shape[2];
        int rank = tern_html_tensor_shape(x, t, shape);
        size_t count = (size_t)(shape[0] * (rank == 2 ? shape[1] : 1));
        int32_t *out = malloc(count * sizeof *out);
        require(out != NULL);
        tern_html_tensor_fill(x, t, out);
        for (size_t i = 0; i < count; i++)
            require(out[i] >= 0 && (t == TERN_HTML_NUMERIC || out[i] < (int32_t)TN_HTML_TEXT_VOCAB));
        free(out);
    }
    size_t length;
    float *y = calloc((size_t)n * (1 + TERN_HTML_ROLES) + 16, sizeof *y);
    require(y != NULL);
    for (size_t i = 0; i < (size_t)n * (1 + TERN_HTML_ROLES); i++)
        y[i] = (float)(i % 7) / 7.0f;
    tern_html_outputs o = {y, y + n, y, y, n};
    tern_html_settings t;
    static const char config[] = "{\"thresholds\": {\"main\": 0.3}}";
    require(tern_html_settings_read(&t, config, sizeof config - 1));
    for (int form = 0; form < 6; form++) {
        char *text = form < 2   ? tern_html_answer(x, &o, &t, form, &length)
                     : form < 4 ? tern_html_text(x, &o, &t, form == 3, &length)
                     : form < 5 ? tern_html_view(x, &o, &t, &length)
                                : tern_html_candidates_json(x, &o, &length);
        require(text != NULL && tn_html_is_utf8(text, length) && strlen(text) == length);
        tern_html_answer_free(text);
    }
    free(y);
}

static void require_equal(tern_html *x, tern_html *y)
{
    for (int t = 0; t < TERN_HTML_TENSORS; t++) {
        int64_t shape[2], other[2];
        const int rank = tern_html_tensor_shape(x, t, shape);
        const size_t count = (size_t)(shape[0] * (rank == 2 ? shape[1] : 1));
        require(tern_html_tensor_shape(y, t, other) == rank && shape[0] == other[0]);
        int32_t *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b);
        require(a != NULL && b != NULL);
        tern_html_tensor_fill(x, t, a);
        tern_html_tensor_fill(y, t, b);
        require(memcmp(a, b, count * sizeof *a) == 0);
        free(a);
        free(b);
    }
}

/* The page as far as it has arrived; the rest is no text of it. */
typedef struct sender {
    const uint8_t *page;
    uint8_t *there;
    size_t have, stop;
} sender;

static size_t arrived(void *context, size_t n)
{
    sender *s = context;
    if (n > s->stop)
        n = s->stop;
    for (; s->have < n; s->have++)
        s->there[s->have] = s->page[s->have];
    return s->have;
}

/* Read while it arrives, a page is what it is as a whole; a part of it is none. */
static void check_arriving(const uint8_t *page, size_t size, const char *type, uint32_t blocks)
{
    static tern_html *x;
    if (x == NULL)
        x = tern_html_create();
    sender s = {.page = page, .there = malloc(size + 1), .stop = size};
    require(x != NULL && s.there != NULL);
    memset(s.there, 0xFF, size);
    int rc = tern_html_extract_arriving(x, s.there, size, type, strlen(type), NULL, 0, 0, arrived, &s);
    require(rc == TERN_HTML_OK ? tern_html_block_count(x) == blocks : rc == TERN_HTML_ARRIVING);
    s.have = 0;
    s.stop = size / 2;
    memset(s.there, 0xFF, size);
    if (s.stop < size)
        require(tern_html_extract_arriving(x, s.there, size, type, strlen(type), NULL, 0, 0, arrived, &s) ==
                TERN_HTML_ARRIVING);
    free(s.there);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tern_html *x, *plain;
    static const char *const types[] = {"",
                                        "text/html",
                                        "text/html; charset=utf-8",
                                        "text/html; charset=iso-8859-1",
                                        "text/html;charset=\"shift_jis\"",
                                        "text/html; charset=utf-16le",
                                        "text/html; charset=gb18030",
                                        "text/html; charset=iso-8859-15"};
    static const char url[] = "https://blog.example/2020/my-Post_1?q=2";
    if (x == NULL) {
        x = tern_html_create();
        plain = tern_html_create();
        require(x != NULL && plain != NULL);
        tn_html_guard_plain(plain);
    }
    if (size == 0)
        return 0;
    const char *type = types[data[0] & 7];
    size_t url_length = data[0] & 8 ? sizeof url - 1 : 0;
    int rc = tern_html_extract(x, data + 1, size - 1, type, strlen(type), url, url_length, 0);
    if (rc != TERN_HTML_OK) {
        require(tern_html_message(x)[0] != '\0' && tern_html_block_count(x) == 0);
        return 0;
    }
    uint32_t n = tern_html_block_count(x);
    check_results(x);
    require(tern_html_extract(x, data + 1, size - 1, type, strlen(type), url, url_length, 0) == TERN_HTML_OK);
    require(tern_html_block_count(x) == n);
    require(tern_html_extract(plain, data + 1, size - 1, type, strlen(type), url, url_length, 0) ==
            TERN_HTML_OK);
    require_equal(x, plain);
    check_arriving(data + 1, size - 1, type, n);
    return 0;
}
