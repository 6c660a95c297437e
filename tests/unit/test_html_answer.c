/*
 * test_html_answer.c - dates, and the answer's JSON from outputs that are made by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "features/html_features.h"
#include "postprocess/html_answer.h"
#include "postprocess/html_dates.h"
#include "postprocess/html_text.h"

static void dates_are_found(void **state)
{
    (void)state;
    static const struct {
        const char *text, *day_first, *month_first;
    } cases[] = {
        {"July 20, 2025", "2025-07-20", "2025-07-20"},
        {"Posted on 20th of July 2025 by X", "2025-07-20", "2025-07-20"},
        {"20. Juli 2025, 17:45 Uhr", "2025-07-20", "2025-07-20"},
        {"le 3 ao\xC3\xBBt 2021", "2021-08-03", "2021-08-03"},
        {"12 de marzo de 2020", "2020-03-12", "2020-03-12"},
        {"2025-07-20T10:00:00Z", "2025-07-20", "2025-07-20"},
        {"03/04/2025", "2025-04-03", "2025-03-04"},
        {"25/04/2025", "2025-04-25", "2025-04-25"},
        {"03.04.2025", "2025-04-03", "2025-04-03"},
        {"31.12.19 12:30", "2019-12-31", "2019-12-31"},
        {"Mon, 5 May 2014, 10:00", "2014-05-05", "2014-05-05"},
        {"30 February 2020", "", ""},
        {"call 12-34-56 or 2025", "", ""},
        {"2 days ago", "", ""},
        {"99999999999999999999-12-01", "", ""},
        {"", "", ""},
    };
    char out[11];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int rc = tern_html_find_date(cases[i].text, strlen(cases[i].text), 0, out);
        assert_string_equal(out, cases[i].day_first);
        assert_int_equal(rc, cases[i].day_first[0] != '\0');
        tern_html_find_date(cases[i].text, strlen(cases[i].text), 1, out);
        assert_string_equal(out, cases[i].month_first);
    }
}

typedef struct fixture {
    tern_html *x;
    float main[64], role[64 * TERN_HTML_ROLES], page_type[TERN_HTML_PAGE_TYPES],
        language[TERN_HTML_LANGUAGES];
    tern_html_outputs y;
    char *json;
    size_t length;
} fixture;

static tern_html_settings half; /* what an empty config gives: 0.5 */

static void prepare(fixture *f, const char *page)
{
    memset(f, 0, sizeof *f);
    (void)tern_html_settings_read(&half, "{}", 2);
    f->x = tern_html_create();
    assert_non_null(f->x);
    assert_int_equal(tern_html_extract(f->x, page, strlen(page), NULL, 0, NULL, 0, 0), TERN_HTML_OK);
    assert_in_range(tern_html_block_count(f->x), 1, 64);
    f->page_type[2] = 1.0f;
    f->language[0] = 0.75f;
    f->language[1] = 0.25f;
    f->y = (tern_html_outputs){f->main, f->role, f->page_type, f->language, tern_html_block_count(f->x)};
}

static void role_is(fixture *f, uint32_t block, int role, float p)
{
    f->role[block * TERN_HTML_ROLES + (uint32_t)role] = p;
}

static void answer(fixture *f)
{
    f->json = tern_html_answer(f->x, &f->y, &half, 0, &f->length);
    assert_non_null(f->json);
    assert_int_equal(strlen(f->json), f->length);
}

static void finish(fixture *f)
{
    tern_html_answer_free(f->json);
    tern_html_free(f->x);
}

#define HOLDS(f, text)                                                                                       \
    do {                                                                                                     \
        if (strstr((f)->json, text) == NULL)                                                                 \
            fail_msg("no %s in %s", text, (f)->json);                                                        \
    } while (0)

static void answer_has_every_field(void **state)
{
    (void)state;
    fixture f;
    prepare(&f, "<title>T</title><h1>The \"T\" title</h1><p>By Jane Doe | 3 May 2024<p>First \\ "
                "text.<p>Second.<footer>f");
    role_is(&f, 0, TERN_HTML_ROLE_TITLE, 0.9f);
    role_is(&f, 1, TERN_HTML_ROLE_AUTHOR, 0.8f);
    role_is(&f, 1, TERN_HTML_ROLE_DATE, 0.15f);
    role_is(&f, 4, 6, 1.0f);
    f.main[2] = 0.98765f;
    f.main[3] = 0.5f;
    answer(&f);
    HOLDS(&f, "\"page_type\": {\"label\": \"forum\", \"probability\": 1.0000, \"probabilities\": "
              "{\"article\": 0.0000");
    HOLDS(&f, "\"language\": {\"label\": \"en\", \"probability\": 0.7500");
    HOLDS(&f, "\"title\": \"The \\\"T\\\" title\"");
    HOLDS(&f, "\"author\": \"Jane Doe\"");
    HOLDS(&f, "\"date\": \"2024-05-03\""); /* out of the author's line: no block was sure to be a date */
    HOLDS(&f, "\"main_content\": \"First \\\\ text.\\nSecond.\"");
    HOLDS(&f, "\"truncated\": false");
    HOLDS(&f, "\"role\": \"footer\", \"role_probability\": 1.0000");
    HOLDS(&f, "\"main\": 0.9877");
    finish(&f);
}

static void nothing_known_is_null(void **state)
{
    (void)state;
    fixture f;
    prepare(&f, "<p>x");
    answer(&f);
    HOLDS(&f,
          "\"title\": null, \"author\": null, \"date\": null, \"confidence\": {\"main_content\": 0.0000, ");
    finish(&f);
}

static void meta_stands_in(void **state)
{
    (void)state;
    fixture f;
    prepare(&f, "<meta property=og:title content='Stated &lt;title>'><meta name=author content='A. Writer'>"
                "<meta property=article:published_time content='2021-02-03T23:00:00+01:00'><p>x");
    answer(&f);
    HOLDS(&f, "\"title\": \"Stated <title>\", \"author\": \"A. Writer\", \"date\": \"2021-02-03\"");
    finish(&f);
}

static void name_after_an_empty_by(void **state)
{
    (void)state;
    fixture f;
    prepare(&f, "<div>Written by</div><div>Ines Halvorsen</div><p>x");
    role_is(&f, 0, TERN_HTML_ROLE_AUTHOR, 0.9f);
    answer(&f);
    HOLDS(&f, "\"author\": \"Ines Halvorsen\"");
    finish(&f);
}

/* Numbers that are none, and outputs for another number of blocks. */
static void odd_outputs_are_safe(void **state)
{
    (void)state;
    fixture f;
    prepare(&f, "<p>a<p>b");
    f.main[0] = NAN;
    f.main[1] = INFINITY;
    for (int i = 0; i < TERN_HTML_PAGE_TYPES; i++)
        f.page_type[i] = NAN;
    role_is(&f, 0, TERN_HTML_ROLE_TITLE, NAN);
    answer(&f);
    HOLDS(&f, "\"main\": 0.0000");
    HOLDS(&f, "\"main\": 1.0000");
    HOLDS(&f, "\"main_content\": \"b\"");
    f.y.n = 1;
    size_t n;
    assert_null(tern_html_answer(f.x, &f.y, &half, 0, &n));
    finish(&f);
}

static void control_bytes_are_escaped(void **state)
{
    (void)state;
    fixture f;
    prepare(&f, "<meta property=og:title content='a&#9;b&#10;c&#1;d words of a title \xE2\x82\xAC'><p>x");
    answer(&f);
    HOLDS(&f, "\"title\": \"a\\tb\\nc\\u0001d words of a title \xE2\x82\xAC\"");
    finish(&f);
}

static void text_is(const char *page, bool markdown, const char *expected)
{
    fixture f;
    size_t length;
    prepare(&f, page);
    for (uint32_t i = 0; i < f.y.n; i++)
        f.main[i] = 1.0f;
    char *text = tern_html_text(f.x, &f.y, &half, markdown, &length);
    assert_non_null(text);
    assert_int_equal(length, strlen(text));
    assert_string_equal(text, expected);
    tern_html_answer_free(text);
    tern_html_free(f.x);
}

static void markdown_keeps_the_form(void **state)
{
    (void)state;
    static const char page[] = "<h2>A *bold* title</h2><p>One.<p>Two <b>b</b>.<ul><li>a<li>b</ul>"
                               "<blockquote><p>said</blockquote><pre>x = 1\n  y</pre><p>end";
    text_is(page, false, "A *bold* title\nOne.\nTwo b.\na\nb\nsaid\nx = 1 y\nend\n");
    text_is(page, true,
            "## A \\*bold\\* title\n\nOne.\n\nTwo b.\n\n- a\n- b\n\n> said\n\n```\nx = 1 y\n```\n\nend\n");
}

static void markdown_escapes_what_would_be_a_mark(void **state)
{
    (void)state;
    text_is("<p># no heading<p>- no item<p>12. no item<p>a # b - c 1.5", true,
            "\\# no heading\n\n\\- no item\n\n12\\. no item\n\na # b - c 1.5\n");
    text_is("<p>[a](b) &lt;i> `c` \\", true, "\\[a\\](b) \\<i\\> \\`c\\` \\\\\n");
    text_is("<pre>```</pre>", true, "\\`\\`\\`\n");
}

static void markdown_keeps_links(void **state)
{
    (void)state;
    text_is(
        "<p>See <a href=/a?b=1&amp;c=2>the <b>first</b> one</a> and <a href='x (1).html'>another</a>, not "
        "<a href='javascript:alert(1)'>this</a> nor <a href='#top'>that</a>.",
        true, "See [the first one](/a?b=1&c=2) and [another](x%20%281%29.html), not this nor that.\n");
    text_is("<a href=/card><h3>A card</h3><p>with a text</a><p>and <a href=two>two</a> <a href=three>two</a>",
            true, "### [A card](/card)\n\n[with a text](/card)\n\nand [two](two) [two](three)\n");
    text_is("<p>a <!-- <a href=x>b</a> --> b <script>'<a href=y>b</a>'</script>b", true, "a b b\n");
    text_is(
        "<p><a href='\x01javascript:x'>a</a> <a href=' data:x'>b</a> <a href=>c</a> <a href='unclosed>d</a>",
        true, "a b c\n");
}

static void markdown_keeps_tables_of_data(void **state)
{
    (void)state;
    text_is("<p>before<table><thead><tr><th>Name<th>Size</thead><tr><td>a|b<td><p>1<p>kg<tr><td>c</"
            "table><p>after",
            true, "before\n\n| Name | Size |\n| --- | --- |\n| a\\|b | 1 kg |\n| c | |\n\nafter\n");
    text_is("<table><tr><td>only<tr><td>one<tr><td>column</table>", true, "only\n\none\n\ncolumn\n");
    text_is("<table><tr><td>a<td>b</table><table><tr><td>c<td>d<tr><td>e<td>f</table>", true,
            "a\n\nb\n\n| c | d |\n| --- | --- |\n| e | f |\n");
}

static void text_of_nothing(void **state)
{
    (void)state;
    fixture f;
    size_t length;
    prepare(&f, "<p>unwanted");
    for (int markdown = 0; markdown < 2; markdown++) {
        char *text = tern_html_text(f.x, &f.y, &half, markdown, &length);
        assert_string_equal(text, "");
        tern_html_answer_free(text);
    }
    tern_html_free(f.x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dates_are_found),
        cmocka_unit_test(answer_has_every_field),
        cmocka_unit_test(nothing_known_is_null),
        cmocka_unit_test(meta_stands_in),
        cmocka_unit_test(name_after_an_empty_by),
        cmocka_unit_test(odd_outputs_are_safe),
        cmocka_unit_test(control_bytes_are_escaped),
        cmocka_unit_test(markdown_keeps_the_form),
        cmocka_unit_test(markdown_escapes_what_would_be_a_mark),
        cmocka_unit_test(markdown_keeps_links),
        cmocka_unit_test(markdown_keeps_tables_of_data),
        cmocka_unit_test(text_of_nothing),
    };
    return cmocka_run_group_tests_name("html_answer", tests, NULL, NULL);
}
