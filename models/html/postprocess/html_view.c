/*
 * html_view.c - see html_view.h. No scripts: the legend's boxes hide blocks by :has(), the hints are ::after.
 */
#include "postprocess/html_view.h"

#include <stdlib.h>
#include <string.h>

#include "postprocess/html_table.h"
#include "postprocess/html_text.h"
#include "postprocess/html_write.h"

/* What a block is shown as: main content, or its role. */
enum { MAIN = TERN_HTML_ROLES, SHOWN };
enum { SHORT = 48 }; /* bytes up to which blocks beside the main content share a line */

static const char *const names[SHOWN] = {"other",  "title", "author", "date",    "navigation", "header",
                                         "footer", "aside", "form",   "comment", "main"};

static const char head[] = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
                           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
                           "style-src 'unsafe-inline'; base-uri "
                           "'none'; form-action 'none'\">\n"
                           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
                           "<meta name=\"generator\" content=\"Tern\"><title>Tern: ";

static const char style[] =
    "</title><style>\n"
    ":root{--other:#9aa0a6;--title:#c77700;--author:#8b3fc9;--date:#00858f;--navigation:#3367d6;--header:#"
    "5c6b7a;"
    "--footer:#7d5a43;--aside:#d0632a;--form:#c2378a;--comment:#7a8b00;--main:#1e8e3e}\n"
    "*{box-sizing:border-box}body{margin:0;background:#f4f5f7;color:#1c1e21;font:16px/1.55 "
    "system-ui,-apple-system,"
    "'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif}\n"
    ".top{background:#fff;border-bottom:1px solid #dcdfe3;padding:22px 28px "
    "18px}.in{max-width:1080px;margin:0 auto}\n"
    ".top h1{font-size:24px;line-height:1.25;margin:0 0 14px}.top h1 i{color:#777;font-weight:400}\n"
    "table.a{border-collapse:collapse;width:100%;font-size:14px}table.a td{padding:6px 12px 6px "
    "0;vertical-align:top;"
    "border-top:1px solid #eceef0}table.a td:first-child{color:#5f6368;width:90px;white-space:nowrap}"
    "table.a td:nth-child(2){font-weight:600;width:36%;overflow-wrap:anywhere}table.a "
    "td:nth-child(3){width:132px;white-space:nowrap}\n"
    "meter{width:62px;height:10px;vertical-align:middle}.n{font-variant-numeric:tabular-nums;color:#3c4043;"
    "font-size:13px;margin-left:6px}\n"
    ".e{color:#5f6368;font-size:13px;overflow-wrap:anywhere}.e a{color:#1a56c4;text-decoration:none}.e "
    "a:hover{text-decoration:underline}"
    ".e code{font-size:12px;background:#f1f3f4;border-radius:3px;padding:1px 4px}\n"
    ".k{position:sticky;top:0;z-index:5;background:#ffffffee;border-bottom:1px solid #dcdfe3;padding:9px "
    "28px;font-size:13px}"
    ".k .in{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:center}.k "
    "label{display:inline-flex;align-items:center;gap:5px;"
    "white-space:nowrap;cursor:pointer}.k "
    "u{display:inline-block;width:12px;height:12px;border-radius:3px;background:var(--c)}"
    ".k s{text-decoration:none;color:#80868b}.k input{margin:0}.k b{font-weight:600;color:#5f6368}\n"
    ".d{max-width:1080px;margin:18px auto 80px;background:#fff;border:1px solid "
    "#dcdfe3;border-radius:8px;padding:18px 20px}\n"
    ".b{position:relative;border-left:5px solid var(--c);margin:3px 0;padding:3px 12px;border-radius:0 4px "
    "4px 0;"
    "background:color-mix(in srgb,var(--c) "
    "calc(var(--p)*13%),#fff);overflow-wrap:anywhere;white-space:pre-wrap}\n"
    ".b.x{color:#5f6368;font-size:13px;line-height:1.4;margin:1px 0;padding:1px "
    "10px}.b.x:hover{color:#1c1e21}"
    ".b.s{display:inline-block;margin:1px 3px 1px 0;vertical-align:top}\n"
    ".h1{font-size:27px;font-weight:700;line-height:1.25}.h2{font-size:22px;font-weight:700;line-height:1.3}"
    ".h3{font-size:18px;font-weight:700}.h4,.h5,.h6{font-weight:700}.b.x.h1,.b.x.h2,.b.x.h3{font-size:14px}\n"
    ".li{margin-left:22px}.li::before{content:'\\2022';position:absolute;margin-left:-24px;color:#80868b}.b."
    "x.li{margin-left:0}"
    ".b.x.li::before{content:none}.q{margin-left:22px;font-style:italic}.pre{font-family:ui-monospace,Menlo,"
    "Consolas,monospace;"
    "font-size:13px}.ctl{font-style:italic}\n"
    ".row{display:flex;gap:3px}.row .b{flex:1 1 0;min-width:0}\n"
    ".b mark{background:var(--m);color:#fff;border-radius:3px;font:600 11px/1 "
    "system-ui,sans-serif;padding:2px 6px;margin-right:8px;"
    "vertical-align:middle;letter-spacing:.02em}\n"
    ".b::after{content:attr(data-t);display:none;position:absolute;left:8px;top:100%;z-index:9;max-width:min("
    "760px,90vw);"
    "background:#202124;color:#fff;font:12px/1.5 ui-monospace,Menlo,Consolas,monospace;padding:7px "
    "10px;border-radius:5px;"
    "white-space:pre-wrap;width:max-content;box-shadow:0 3px 12px "
    "#0005;pointer-events:none}.b:hover::after{display:block}\n"
    ".b:target{outline:3px solid #fbbc04;outline-offset:1px}.b{scroll-margin-top:90px}\n"
    "@media print{.k{position:static}}@media(max-width:700px){.top,.k{padding-left:14px;padding-right:14px}"
    "table.a td:nth-child(2){width:auto}table.a td:nth-child(4){display:none}}\n";

/* ---- pieces ---- */

static void put_text(tn_buf *o, tn_str s)
{
    size_t from = 0;
    if (s.len == 0)
        return;
    for (size_t i = 0; i < s.len; i++) {
        const char *e = s.ptr[i] == '<'    ? "&lt;"
                        : s.ptr[i] == '>'  ? "&gt;"
                        : s.ptr[i] == '&'  ? "&amp;"
                        : s.ptr[i] == '"'  ? "&quot;"
                        : s.ptr[i] == '\0' ? " "
                                           : NULL;
        if (e == NULL)
            continue;
        tn_buf_append(o, s.ptr + from, i - from);
        tn_buf_z(o, e);
        from = i + 1;
    }
    tn_buf_append(o, s.ptr + from, s.len - from);
}

static void put_percent(tn_buf *o, float p)
{
    const unsigned v = !(p > 0) ? 0 : p >= 1 ? 1000 : (unsigned)(p * 1000 + 0.5f);
    tn_buf_printf(o, "%u.%u %%", v / 10, v % 10);
}

static void put_meter(tn_buf *o, float p)
{
    tn_buf_z(o, "<meter min=\"0\" max=\"1\" low=\".5\" high=\".8\" optimum=\"1\" value=\"");
    tn_html_put_probability(o, p);
    tn_buf_z(o, "\"></meter><span class=\"n\">");
    put_percent(o, p);
    tn_buf_z(o, "</span>");
}

static int shown_as(const tn_html_found *f, uint32_t i)
{
    const int role = tn_html_largest(f->y->role + (size_t)i * TERN_HTML_ROLES, TERN_HTML_ROLES);
    if (!tn_html_is_main(f->x, f->y, f->threshold, i))
        return role;
    return role >= TERN_HTML_ROLE_TITLE && role <= TERN_HTML_ROLE_DATE ? role
           : role == TERN_HTML_ROLE_COMMENT                            ? role
                                                                       : MAIN;
}

/* ---- the answers ---- */

static void put_ref(tn_buf *o, tn_html_found *f, const tn_html_ref *r)
{
    if (r->block != UINT32_MAX) {
        tn_buf_printf(o, "<a href=\"#b%u\">%.*s %u</a>", r->block, TN_FMT(r->source), r->block);
        tn_buf_z(o, " <code>");
        const size_t start = o->len;
        tn_buf path;
        tn_buf_init(&path, TN_HTML_PLACE_PATH * 2);
        tn_html_places_path(&f->facts->page.places, r->block, &path);
        put_text(o, tn_buf_view(&path));
        tn_buf_free(&path);
        if (o->len == start)
            tn_buf_z(o, "?");
        tn_buf_z(o, "</code>");
        return;
    }
    put_text(o, r->source);
    if (r->name.len > 0) {
        tn_buf_z(o, " <code>");
        put_text(o, tn_html_cut(r->name, 120));
        tn_buf_z(o, "</code>");
    }
}

static void put_field(tn_buf *o, tn_html_found *f, const char *name, const tn_html_candidates *l)
{
    tn_buf_printf(o, "<tr><td>%s</td><td>", name);
    if (l->best < 0)
        tn_buf_z(o, "<span class=\"e\">none found</span>");
    else
        put_text(o, tn_html_cut(l->c[l->best].text, TN_HTML_ANSWER_FIELD));
    tn_buf_z(o, "</td><td>");
    put_meter(o, l->best < 0 ? l->none : l->c[l->best].probability);
    tn_buf_z(o, "</td><td class=\"e\">");
    for (int k = 0; l->best >= 0 && k < l->c[l->best].n_refs; k++) {
        if (k > 0)
            tn_buf_z(o, " &middot; ");
        put_ref(o, f, &l->c[l->best].refs[k]);
    }
    tn_buf_z(o, "</td></tr>\n");
}

static void put_class(tn_buf *o, const char *name, const char *const *labels, const float *p, int n)
{
    const int best = tn_html_largest(p, n);
    tn_buf_printf(o, "<tr><td>%s</td><td>%s</td><td>", name, labels[best]);
    put_meter(o, p[best]);
    tn_buf_z(o, "</td><td class=\"e\">");
    int second = best == 0 ? 1 : 0;
    for (int i = 0; i < n; i++)
        if (i != best && p[i] > p[second])
            second = i;
    tn_buf_printf(o, "else %s ", labels[second]);
    put_percent(o, p[second]);
    tn_buf_z(o, "</td></tr>\n");
}

static void put_answers(tn_buf *o, tn_html_found *f)
{
    uint32_t blocks = 0, words = 0;
    tn_buf_z(o, "</style></head><body><div class=\"top\"><div class=\"in\"><h1>");
    const tn_html_candidates *title = &f->facts->fields[TN_HTML_TITLE];
    if (title->best >= 0)
        put_text(o, tn_html_cut(title->c[title->best].text, TN_HTML_ANSWER_FIELD));
    else
        tn_buf_z(o, "<i>A page without a title</i>");
    tn_buf_z(o, "</h1><table class=\"a\">\n");
    put_class(o, "page type", tern_html_page_types, f->y->page_type, TERN_HTML_PAGE_TYPES);
    put_class(o, "language", tern_html_languages, f->y->language, TERN_HTML_LANGUAGES);
    put_field(o, f, "title", title);
    put_field(o, f, "author", &f->facts->fields[TN_HTML_AUTHOR]);
    put_field(o, f, "date", &f->facts->fields[TN_HTML_DATE]);
    for (uint32_t i = 0; i < f->y->n; i++)
        if (tn_html_is_main(f->x, f->y, f->threshold, i)) {
            blocks++;
            words += (uint32_t)f->x->records[i].counts[TN_HTML_N_WORDS];
        }
    tn_buf_printf(o, "<tr><td>main text</td><td>%u words in %u blocks</td><td>", words, blocks);
    put_meter(o, tn_html_main_confidence(f->x, f->y, f->threshold));
    tn_buf_printf(o, "</td><td class=\"e\">of %u blocks%s; taken from <code>", f->y->n,
                  f->x->truncated ? " (the page was cut at a limit)" : "");
    put_percent(o, f->threshold);
    tn_buf_z(o, "</code> on</td></tr>\n</table></div></div>\n");
}

static void put_legend(tn_buf *o, const uint32_t counts[SHOWN])
{
    static const int order[SHOWN] = {MAIN, 1, 2, 3, 9, 4, 5, 6, 7, 8, 0};
    tn_buf_z(o, "<div class=\"k\"><div class=\"in\"><b>Show</b>");
    for (int i = 0; i < SHOWN; i++) {
        const int k = order[i];
        if (counts[k] > 0)
            tn_buf_printf(o,
                          "<label style=\"--c:var(--%s)\"><input type=\"checkbox\" id=\"k%d\" "
                          "checked><u></u>%s <s>%u</s></label>",
                          names[k], k, names[k], counts[k]);
    }
    tn_buf_z(o, "</div></div>\n");
}

/* ---- the document ---- */

static const char *form_of(const tn_html_record *r)
{
    static const char *const headings[] = {"", " h1", " h2", " h3", " h4", " h5", " h6"};
    if (r->context & TERN_HTML_IS_CONTROL)
        return " ctl";
    if (r->context & TERN_HTML_IN_PRE)
        return " pre";
    if (r->counts[TN_HTML_N_HEADING] > 0)
        return headings[r->counts[TN_HTML_N_HEADING] <= 6 ? r->counts[TN_HTML_N_HEADING] : 6];
    if (r->context & TERN_HTML_IN_LIST)
        return " li";
    return r->context & TERN_HTML_IN_QUOTE ? " q" : "";
}

static void put_hint(tn_buf *o, tn_html_found *f, uint32_t i)
{
    const tn_html_record *r = &f->x->records[i];
    const float *p = f->y->role + (size_t)i * TERN_HTML_ROLES;
    const int role = tn_html_largest(p, TERN_HTML_ROLES);
    tn_buf path;
    tn_buf_init(&path, TN_HTML_PLACE_PATH * 2);
    tn_html_places_path(&f->facts->page.places, i, &path);
    tn_buf_z(o, "main ");
    put_percent(o, f->y->main[i]);
    tn_buf_printf(o, "   role %s ", tern_html_roles[role]);
    put_percent(o, p[role]);
    tn_buf_printf(o, "   block %u   byte %d\n", i, r->counts[TN_HTML_N_OFFSET]);
    put_text(o, tn_buf_view(&path));
    tn_buf_free(&path);
}

static void put_marks(tn_buf *o, const tn_html_found *f, uint32_t i)
{
    static const char *const fields[TN_HTML_FIELDS] = {"title", "author", "date"};
    for (int k = 0; k < TN_HTML_FIELDS; k++) {
        const tn_html_candidates *l = &f->facts->fields[k];
        for (int j = 0; l->best >= 0 && j < l->c[l->best].n_refs; j++)
            if (l->c[l->best].refs[j].block == i) {
                tn_buf_printf(o, "<mark style=\"--m:var(--%s)\">%s</mark>", fields[k], fields[k]);
                break;
            }
    }
}

static void put_block(tn_buf *o, tn_html_found *f, uint32_t i)
{
    const tn_html_record *r = &f->x->records[i];
    const int k = shown_as(f, i);
    const bool main = tn_html_is_main(f->x, f->y, f->threshold, i);
    const float p = k == MAIN ? f->y->main[i] : f->y->role[(size_t)i * TERN_HTML_ROLES + (size_t)k];
    tn_buf_printf(
        o, "<div id=\"b%u\" class=\"b r%d%s%s%s\" style=\"--c:var(--%s);--p:", i, k, main ? "" : " x",
        !main && r->length <= SHORT && r->counts[TN_HTML_N_HEADING] == 0 ? " s" : "", form_of(r), names[k]);
    tn_html_put_probability(o, p);
    tn_buf_z(o, "\" data-t=\"");
    put_hint(o, f, i);
    tn_buf_z(o, "\">");
    put_marks(o, f, i);
    put_text(o, tn_html_block_text(f->x, i));
    tn_buf_z(o, "</div>\n");
}

static void put_document(tn_buf *o, tn_html_found *f, const tn_html_cell *cells)
{
    uint32_t row = 0; /* of the open table row */
    tn_buf_z(o, "<div class=\"d\">\n");
    for (uint32_t i = 0; i < f->y->n; i++) {
        const uint32_t mine = cells[i].table != 0 ? cells[i].row : 0;
        if (f->x->records[i].length == 0)
            continue;
        if (row != 0 && mine != row)
            tn_buf_z(o, "</div>\n");
        if (mine != 0 && mine != row)
            tn_buf_z(o, "<div class=\"row\">\n");
        row = mine;
        put_block(o, f, i);
    }
    tn_buf_z(o, row != 0 ? "</div>\n</div>\n</body></html>\n" : "</div>\n</body></html>\n");
}

static void put_all(tn_buf *o, tn_html_found *f, const tn_html_cell *cells)
{
    uint32_t counts[SHOWN] = {0};
    for (uint32_t i = 0; i < f->y->n; i++)
        counts[shown_as(f, i)] += f->x->records[i].length > 0;
    const tn_html_candidates *title = &f->facts->fields[TN_HTML_TITLE];
    tn_buf_z(o, head);
    if (title->best >= 0)
        put_text(o, tn_html_cut(title->c[title->best].text, 200));
    tn_buf_z(o, style);
    for (int k = 0; k < SHOWN; k++)
        tn_buf_printf(o, "body:has(#k%d:not(:checked)) .r%d{display:none}", k, k);
    put_answers(o, f);
    put_legend(o, counts);
    put_document(o, f, cells);
}

char *tern_html_view(const tern_html *x, const tern_html_outputs *y, const tern_html_settings *s,
                     size_t *length)
{
    tn_buf o;
    tn_arena arena;
    char *page = NULL;
    *length = 0;
    if (y->n != x->n_records)
        return NULL;
    tn_buf_init(&o, TN_HTML_ANSWER_MEMORY);
    tn_arena_init(&arena, TN_HTML_ANSWER_MEMORY);
    tn_html_found f = {x, y, tn_html_main_threshold(s, y), tn_html_facts_find(x, y, &arena)};
    bool *all = tn_arena_alloc(&arena, y->n);
    if (all != NULL)
        memset(all, true, y->n);
    const tn_html_cell *cells = all != NULL ? tn_html_cells(x, all, &arena) : NULL;
    if (f.facts != NULL && cells != NULL) {
        put_all(&o, &f, cells);
        page = tn_html_finish(&o, length);
    }
    tn_arena_free(&arena);
    return page;
}

char *tern_html_write(const tern_html *x, const tern_html_outputs *y, const tern_html_settings *s, int form,
                      size_t *length)
{
    return form == 2 ? tern_html_view(x, y, s, length) : tern_html_text(x, y, s, form == 1, length);
}
