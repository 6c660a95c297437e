/*
 * test_html_facts.c - where title, author and date come from: JSON-LD, <meta>, names, CSS paths, settings,
 * and the view.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "postprocess/html_names.h"
#include "postprocess/html_view.h"
#include "postprocess/html_write.h"

enum { BLOCKS = 64 };

typedef struct fixture {
    tern_html *x;
    float main[BLOCKS], role[BLOCKS * TERN_HTML_ROLES], page_type[TERN_HTML_PAGE_TYPES],
        language[TERN_HTML_LANGUAGES];
    tern_html_outputs y;
    tern_html_settings settings;
    tn_arena arena;
    tn_html_facts *facts;
} fixture;

/* title: the block that the network takes for the title, or -1. */
static void prepare_titled(fixture *f, const char *page, int title)
{
    memset(f, 0, sizeof *f);
    f->x = tern_html_create();
    assert_non_null(f->x);
    assert_int_equal(tern_html_extract(f->x, page, strlen(page), NULL, 0, NULL, 0, 0), TERN_HTML_OK);
    assert_in_range(tern_html_block_count(f->x), 1, BLOCKS);
    f->page_type[0] = 1.0f;
    f->language[0] = 1.0f;
    if (title >= 0)
        f->role[title * TERN_HTML_ROLES + TERN_HTML_ROLE_TITLE] = 0.9f;
    f->y = (tern_html_outputs){f->main, f->role, f->page_type, f->language, tern_html_block_count(f->x)};
    assert_true(tern_html_settings_read(&f->settings, "{}", 2));
    tn_arena_init(&f->arena, (size_t)16 << 20);
    f->facts = tn_html_facts_find(f->x, &f->y, &f->arena);
    assert_non_null(f->facts);
}

static void prepare(fixture *f, const char *page)
{
    prepare_titled(f, page, -1);
}

static void finish(fixture *f)
{
    tn_arena_free(&f->arena);
    tern_html_free(f->x);
}

static const tn_html_candidate *candidate(const fixture *f, tn_html_field field, const char *text)
{
    const tn_html_candidates *l = &f->facts->fields[field];
    for (int i = 0; i < l->n; i++)
        if (tn_str_eq(l->c[i].text, tn_str_from(text)))
            return &l->c[i];
    return NULL;
}

static bool found_in(const tn_html_candidate *c, const char *source, const char *name)
{
    for (int i = 0; c != NULL && i < c->n_refs; i++)
        if (tn_str_eq(c->refs[i].source, tn_str_from(source)) &&
            tn_str_eq(c->refs[i].name, tn_str_from(name)))
            return true;
    return false;
}

static void json_ld_is_read(void **state)
{
    (void)state;
    fixture f;
    prepare(
        &f,
        "<script type='application/ld+json'>{\"@graph\": [{\"@type\": \"NewsArticle\", \"headline\": "
        "\"A\nlong &amp; "
        "good title\", \"datePublished\": \"2024-05-03T10:00:00+02:00\", \"author\": {\"@id\": \"#jane\"}},"
        "{\"@type\": \"Person\", \"@id\": \"#jane\", \"name\": \"Jane Doe\"}]};</script>"
        "<script type=application/ld+json>{\"@type\": \"Article\", \"author\": [{\"name\": \"John Roe\"}, "
        "{\"name\": \"Ann Poe\"}]}</script><script type='application/ld+json'>{not json</script><p>x");
    assert_true(
        found_in(candidate(&f, TN_HTML_TITLE, "A long & good title"), "json-ld", "NewsArticle.headline"));
    assert_true(found_in(candidate(&f, TN_HTML_AUTHOR, "Jane Doe"), "json-ld", "NewsArticle.author.name"));
    assert_true(found_in(candidate(&f, TN_HTML_AUTHOR, "John Roe"), "json-ld", "Article.author.name"));
    assert_non_null(candidate(&f, TN_HTML_AUTHOR, "John Roe, Ann Poe"));
    assert_true(found_in(candidate(&f, TN_HTML_DATE, "2024-05-03"), "json-ld", "NewsArticle.datePublished"));
    finish(&f);
}

static void sources_that_agree_are_one_candidate(void **state)
{
    (void)state;
    fixture f;
    prepare_titled(
        &f,
        "<title>A night train - The Site</title><meta property=og:title content='A Night Train'>"
        "<meta property=og:site_name content='The Site'><h1>A night train</h1><p class=byline>By Jane Doe"
        "<p><time datetime=2024-05-03>May 3, 2024</time><meta name=author content='Jane Doe'>",
        0);
    const tn_html_candidates *l = &f.facts->fields[TN_HTML_TITLE];
    assert_true(l->best >= 0);
    const tn_html_candidate *c = &l->c[l->best];
    assert_true(tn_str_eq(c->text, TN_STR("A night train")));
    assert_true(found_in(c, "block", NULL) && found_in(c, "meta", "og:title") && found_in(c, "title", NULL));
    assert_true(c->probability > 0.5f);
    c = candidate(&f, TN_HTML_AUTHOR, "Jane Doe");
    assert_true(found_in(c, "block", NULL) && found_in(c, "meta", "author"));
    assert_true(found_in(candidate(&f, TN_HTML_DATE, "2024-05-03"), "time", NULL));
    float sum = l->none;
    for (int i = 0; i < l->n; i++)
        sum += l->c[i].probability;
    assert_true(sum > 0.999f && sum < 1.001f);
    finish(&f);
}

static void names_are_cut_out(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
        bool by;
    } cases[] = {
        {"By Jane Doe | May 3, 2025", "Jane Doe", true},
        {"Posted on May 3 by Jane Doe", "Jane Doe", true},
        {"ByJane Doe", "Jane Doe", true},
        {"Jane WriterFounder at X", "Jane Writer", false},
        {"Ann MacDonald", "Ann MacDonald", false},
        {"Jane Doe Senior Editor", "Jane Doe", false},
        {"Tanja Karrasch3.11.2023", "Tanja Karrasch", false},
        {"Von M\xC3\xBCller", "M\xC3\xBCller", true},
        {"Jane Doe, Ph.D.", "Jane Doe, Ph.D.", false},
        {"December 3, 2025", "", false},
        {"Share this", "", false},
        {"By", "", false},
        {" , ", "", false},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool by;
        const tn_str name = tn_html_name_in(tn_str_from(cases[i].text), &by);
        assert_int_equal(name.len, strlen(cases[i].name));
        assert_memory_equal(name.len > 0 ? name.ptr : "", cases[i].name, name.len);
        if (name.len > 0)
            assert_int_equal(by, cases[i].by);
    }
    assert_true(tn_html_name_of_group(TN_STR("The Editorial Team")));
    assert_false(tn_html_name_of_group(TN_STR("Jane Teamer")));
}

static void path_is(const fixture *f, uint32_t block, const char *expected)
{
    tn_buf out;
    tn_buf_init(&out, 4096);
    tn_html_places_path(&f->facts->page.places, block, &out);
    assert_int_equal(out.len, strlen(expected));
    assert_memory_equal(out.len > 0 ? out.ptr : "", expected, out.len);
    tn_buf_free(&out);
}

static void blocks_have_css_paths(void **state)
{
    (void)state;
    fixture f;
    prepare(
        &f,
        "<body><p>one<p><b>two</b> more<div id=story><ul><li>three<li>four</ul></div><div id='a b'><input "
        "placeholder=five><input type=hidden><input placeholder=six></div><table>\n<tr><td>seven</table>");
    path_is(&f, 0, "html > body > p:nth-of-type(1)");
    path_is(&f, 1, "html > body > p:nth-of-type(2)");
    path_is(&f, 2, "#story > ul > li:nth-of-type(1)");
    path_is(&f, 3, "#story > ul > li:nth-of-type(2)");
    path_is(&f, 4, "html > body > div:nth-of-type(2) > input:nth-of-type(1)");
    path_is(&f, 5, "html > body > div:nth-of-type(2) > input:nth-of-type(3)");
    path_is(&f, 6, "html > body > table > tbody > tr > td");
    finish(&f);
}

static void many_siblings_end_the_paths(void **state)
{
    (void)state;
    tn_buf page;
    fixture f;
    tn_buf_init(&page, (size_t)8 << 20);
    for (int i = 0; i < 100000; i++)
        tn_buf_z(&page, "<i></i>");
    for (int i = 0; i < 50; i++)
        tn_buf_z(&page, "<p>x");
    tn_buf_char(&page, '\0');
    prepare(&f, page.ptr);
    uint32_t with = 0;
    for (uint32_t i = 0; i < f.y.n; i++) {
        tn_buf out;
        tn_buf_init(&out, 4096);
        tn_html_places_path(&f.facts->page.places, i, &out);
        with += out.len > 0;
        tn_buf_free(&out);
    }
    assert_in_range(with, 1, 49);
    finish(&f);
    tn_buf_free(&page);
}

static void settings_of_a_model(void **state)
{
    (void)state;
    tern_html_settings s;
    static const char text[] =
        "{\"thresholds\": {\"main\": 0.25}, \"main_by_type\": {\"forum\": 0.75, \"product\": 7}, "
        "\"temperature\": {\"page_type\": 2}}";
    const float forum[TERN_HTML_PAGE_TYPES] = {0.1f, 0.1f, 0.8f}, article[TERN_HTML_PAGE_TYPES] = {1};
    assert_true(tern_html_settings_read(&s, text, sizeof text - 1));
    assert_true(tn_html_main_threshold(&s, &(tern_html_outputs){.page_type = forum}) == 0.75f);
    assert_true(tn_html_main_threshold(&s, &(tern_html_outputs){.page_type = article}) == 0.25f);
    assert_true(s.main[3] == 0.25f && s.page_type_temperature == 2 && s.language_temperature == 1);
    assert_false(tern_html_settings_read(&s, "{", 1));
    assert_true(s.main[0] == 0.5f);
}

static void the_view_holds_no_markup_of_the_page(void **state)
{
    (void)state;
    fixture f;
    size_t n;
    prepare(&f, "<title>&lt;script>alert(1)&lt;/script></title><h1 id='\"><script>'>&lt;img src=x "
                "onerror=alert(1)></h1>"
                "<script>alert(2)</script><p onclick=alert(3) style='x:url(evil)'>A &amp; B \"q\"<a "
                "href=javascript:1>c</a>");
    f.main[1] = 1.0f;
    char *view = tern_html_view(f.x, &f.y, &f.settings, &n);
    assert_non_null(view);
    assert_int_equal(strlen(view), n);
    assert_null(strstr(view, "<script"));
    assert_null(strstr(view, "<img"));
    assert_null(strstr(view, "onclick"));
    assert_null(strstr(view, "evil"));
    assert_null(strstr(view, "javascript:"));
    assert_non_null(strstr(view, "A &amp; B &quot;q&quot;c"));
    assert_non_null(strstr(view, "Content-Security-Policy"));
    assert_non_null(strstr(view, "id=\"b1\""));
    tern_html_answer_free(view);
    f.y.n++;
    assert_null(tern_html_view(f.x, &f.y, &f.settings, &n));
    finish(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_ld_is_read),
        cmocka_unit_test(sources_that_agree_are_one_candidate),
        cmocka_unit_test(names_are_cut_out),
        cmocka_unit_test(blocks_have_css_paths),
        cmocka_unit_test(many_siblings_end_the_paths),
        cmocka_unit_test(settings_of_a_model),
        cmocka_unit_test(the_view_holds_no_markup_of_the_page),
    };
    return cmocka_run_group_tests_name("html_facts", tests, NULL, NULL);
}
