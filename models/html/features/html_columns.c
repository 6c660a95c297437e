/*
 * html_columns.c - the columns of `numeric` that need the whole page: what a block's ancestors hold, words
 * shared with the title and the author, texts that were there before.
 *
 * Linear in the number of blocks: containers are climbed five levels, words are looked up in a bitmap, texts
 * in a table of TN_HTML_SEEN places of which at most 16 are tried. One thread at a time.
 */
#include "html_internal.h"

#include <string.h>

/* Of the first 256 bytes and the length, 8 bytes a step. Only equality is used of it. */
static uint32_t fast_hash(const char *s, size_t n)
{
    uint64_t h = n * 0x9E3779B97F4A7C15ull, w;
    size_t end = n < 256 ? n : 256, i = 0;
    for (; i + 8 <= end; i += 8) {
        memcpy(&w, s + i, 8);
        h = (h ^ w) * 0x9E3779B97F4A7C15ull;
        h ^= h >> 29;
    }
    for (; i < end; i++)
        h = (h ^ (unsigned char)s[i]) * 0x9E3779B97F4A7C15ull;
    return (uint32_t)(h >> 32);
}

static void count_duplicates(tern_html *x)
{
    x->stamp++;
    for (uint32_t i = 0; i < x->n_records; i++) {
        tn_html_record *r = &x->records[i];
        uint32_t h = fast_hash(x->text.data + r->text, r->length);
        for (uint32_t k = 0; k < 16; k++) {
            tn_html_seen *s = &x->seen[(h + k) % TN_HTML_SEEN];
            if (s->stamp != x->stamp) {
                *s = (tn_html_seen){h, x->stamp, 1};
                break;
            }
            if (s->hash == h) {
                r->counts[TN_HTML_N_DUPLICATES] = (int32_t)s->count++;
                break;
            }
        }
    }
}

static void mark_words(const tern_html *x, int meta, uint64_t *bits)
{
    uint16_t t[TN_HTML_MAX_TITLE_WORDS];
    const tn_html_slice *m = &x->meta[meta];
    memset(bits, 0, TN_HTML_TEXT_VOCAB / 8);
    if (!m->set)
        return;
    int n = tn_html_words(x, x->meta_text.data + m->at, m->length, TN_HTML_SALT_TEXT, TN_HTML_TEXT_VOCAB, t,
                          TN_HTML_MAX_TITLE_WORDS, NULL, NULL);
    for (int i = 0; i < n; i++)
        bits[t[i] >> 6] |= 1ull << (t[i] & 63);
}

static void count_shared(tern_html *x, int meta, int column)
{
    uint64_t bits[TN_HTML_TEXT_VOCAB / 64];
    if (!x->meta[meta].set)
        return;
    mark_words(x, meta, bits);
    for (uint32_t i = 0; i < x->n_records; i++) {
        tn_html_record *r = &x->records[i];
        int32_t n = 0;
        for (int k = 0; k < TN_HTML_TEXT_TOKENS && r->words[k] != 0; k++)
            n += (int32_t)(bits[r->words[k] >> 6] >> (r->words[k] & 63) & 1);
        r->counts[column] = n;
    }
}

static void count_levels(tern_html *x)
{
    for (uint32_t i = 0; i < x->n_records; i++) {
        tn_html_record *r = &x->records[i];
        uint32_t c = r->container;
        int32_t *v = &r->counts[TN_HTML_N_L1_BYTES];
        for (int level = 1; level <= 5; level++) {
            c = x->containers[c].parent;
            if (level % 2 == 0)
                continue;
            const tn_html_container *box = &x->containers[c];
            *v++ = box->bytes;
            *v++ = box->link_bytes;
            *v++ = box->blocks;
            *v++ = box->p_bytes;
        }
    }
}

void tn_html_columns(tern_html *x)
{
    count_levels(x);
    count_duplicates(x);
    count_shared(x, x->meta[TERN_HTML_META_OG_TITLE].set ? TERN_HTML_META_OG_TITLE : TERN_HTML_META_TITLE,
                 TN_HTML_N_TITLE_WORDS);
    count_shared(x, TERN_HTML_META_AUTHOR, TN_HTML_N_AUTHOR_WORDS);
}
