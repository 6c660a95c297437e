/*
 * html_names.h - a person's name out of a byline: "By Jane Doe, Senior Editor | May 3, 2025" gives "Jane
 * Doe".
 *
 * English, German, French and Spanish. Pure, no locale, no allocation: what comes out is a slice of what went
 * in.
 */
#ifndef TERN_HTML_NAMES_H
#define TERN_HTML_NAMES_H

#include "base/str.h"

/*
 * The name in a byline's text, or the absent slice. *by: it stood behind "by", "von", "Author:" and the like.
 */
tn_str tn_html_name_in(tn_str text, bool *by);
/*
 * Whether the text holds a word that organisations and placeholders have ("Staff", "Redaktion", "admin",
 * "Inc").
 */
bool tn_html_name_of_group(tn_str name);
/* Words of a name; *capitals: how many begin with a capital (or with a letter that is not ASCII). */
int tn_html_name_words(tn_str name, int *capitals);

#endif
