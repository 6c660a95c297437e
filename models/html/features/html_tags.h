/*
 * html_tags.h - the features' own tag table: fixed ids, whatever lexbor's numbers are in its next version.
 *
 * X(id, LEXBOR, name, kind): kind says what the element does to the run of text:
 *   B ends a block before and after itself    I stands within a block      R is <br>
 *   S is skipped with all it holds            C is a form control          M is read for the page's facts
 *   (head)
 * Ids are never given twice and never change their meaning; 0 pads, 255 is any other tag (inline; <ins> is
 * one: lexbor has no number for it).
 */
#ifndef TERN_HTML_TAGS_H
#define TERN_HTML_TAGS_H

#define TN_HTML_TAG_OTHER 255u

/* clang-format off */
#define TN_HTML_TAG_TABLE(X) \
    X(1, HTML, "html", B) X(2, HEAD, "head", B) X(3, BODY, "body", B) X(4, DIV, "div", B) \
    X(5, P, "p", B) X(6, SECTION, "section", B) X(7, ARTICLE, "article", B) X(8, MAIN, "main", B) \
    X(9, NAV, "nav", B) X(10, ASIDE, "aside", B) X(11, HEADER, "header", B) X(12, FOOTER, "footer", B) \
    X(13, H1, "h1", B) X(14, H2, "h2", B) X(15, H3, "h3", B) X(16, H4, "h4", B) X(17, H5, "h5", B) \
    X(18, H6, "h6", B) X(19, HGROUP, "hgroup", B) X(20, ADDRESS, "address", B) X(21, UL, "ul", B) \
    X(22, OL, "ol", B) X(23, LI, "li", B) X(24, DL, "dl", B) X(25, DT, "dt", B) X(26, DD, "dd", B) \
    X(27, TABLE, "table", B) X(28, CAPTION, "caption", B) X(29, THEAD, "thead", B) \
    X(30, TBODY, "tbody", B) X(31, TFOOT, "tfoot", B) X(32, TR, "tr", B) X(33, TD, "td", B) \
    X(34, TH, "th", B) X(35, FORM, "form", B) X(36, FIELDSET, "fieldset", B) X(37, LEGEND, "legend", B) \
    X(38, FIGURE, "figure", B) X(39, FIGCAPTION, "figcaption", B) X(40, BLOCKQUOTE, "blockquote", B) \
    X(41, PRE, "pre", B) X(42, DETAILS, "details", B) X(43, SUMMARY, "summary", B) \
    X(44, DIALOG, "dialog", B) X(45, HR, "hr", B) X(46, CENTER, "center", B) X(47, DIR, "dir", B) \
    X(48, MENU, "menu", B) X(49, NOSCRIPT, "noscript", B) X(50, SEARCH, "search", B) \
    X(51, BUTTON, "button", B) X(52, LABEL, "label", B) X(53, OPTGROUP, "optgroup", S) \
    X(54, OPTION, "option", S) X(55, INPUT, "input", C) X(56, SELECT, "select", C) \
    X(57, TEXTAREA, "textarea", C) X(58, A, "a", I) X(59, SPAN, "span", I) X(60, B, "b", I) \
    X(61, STRONG, "strong", I) X(62, I, "i", I) X(63, EM, "em", I) X(64, U, "u", I) X(65, S, "s", I) \
    X(66, SMALL, "small", I) X(67, BIG, "big", I) X(68, FONT, "font", I) X(69, CODE, "code", I) \
    X(70, KBD, "kbd", I) X(71, SAMP, "samp", I) X(72, VAR, "var", I) X(73, TT, "tt", I) \
    X(74, SUB, "sub", I) X(75, SUP, "sup", I) X(76, CITE, "cite", I) X(77, Q, "q", I) \
    X(78, ABBR, "abbr", I) X(79, ACRONYM, "acronym", I) X(80, DFN, "dfn", I) X(81, TIME, "time", I) \
    X(82, DATA, "data", I) X(83, MARK, "mark", I) X(85, DEL, "del", I) X(86, STRIKE, "strike", I) \
    X(87, BDI, "bdi", I) X(88, BDO, "bdo", I) X(89, RUBY, "ruby", I) X(90, RT, "rt", I) \
    X(91, RP, "rp", I) X(92, WBR, "wbr", I) X(93, NOBR, "nobr", I) X(94, IMG, "img", I) \
    X(95, PICTURE, "picture", I) X(96, SOURCE, "source", I) X(97, MAP, "map", I) X(98, AREA, "area", I) \
    X(99, OUTPUT, "output", I) X(100, METER, "meter", I) X(101, PROGRESS, "progress", I) \
    X(102, SLOT, "slot", I) X(103, BR, "br", R) X(104, SCRIPT, "script", S) X(105, STYLE, "style", S) \
    X(106, TEMPLATE, "template", S) X(107, SVG, "svg", S) X(108, MATH, "math", S) \
    X(109, IFRAME, "iframe", S) X(110, OBJECT, "object", S) X(111, EMBED, "embed", S) \
    X(112, CANVAS, "canvas", S) X(113, AUDIO, "audio", S) X(114, VIDEO, "video", S) \
    X(115, APPLET, "applet", S) X(116, NOFRAMES, "noframes", S) X(117, NOEMBED, "noembed", S) \
    X(118, DATALIST, "datalist", S) X(119, FRAMESET, "frameset", B) X(120, FRAME, "frame", S) \
    X(121, TITLE, "title", M) X(122, META, "meta", M) X(123, LINK, "link", M) X(124, BASE, "base", M) \
    X(125, COL, "col", S) X(126, COLGROUP, "colgroup", S) X(127, LISTING, "listing", B) \
    X(128, PLAINTEXT, "plaintext", B) X(129, XMP, "xmp", B) X(130, MARQUEE, "marquee", B)
/* clang-format on */

/* The first unused id. */
#define TN_HTML_TAG_COUNT 131u

#endif
