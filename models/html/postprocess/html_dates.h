/*
 * html_dates.h - finds a calendar date in the text of a page: "July 20, 2025", "20. Juli 2025", "20/07/2025",
 * ISO 8601.
 *
 * English, German, French and Spanish month names. Pure: no locale, no clock; any thread.
 */
#ifndef TERN_HTML_DATES_H
#define TERN_HTML_DATES_H

#include <stddef.h>

#include "features/html_features.h"

/*
 * Writes the first date of [text, +length) (the first 512 bytes are read) as "YYYY-MM-DD" and a NUL to out,
 * and returns 1; or returns 0 and writes "". Years 1900 to 2099. month_first: what 03/04/2025 means; a day
 * above 12 decides for itself,
 * and dots always mean day first.
 */
TERN_HTML_API int tern_html_find_date(const char *text, size_t length, int month_first, char out[11]);

#endif
