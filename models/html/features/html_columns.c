/*
 * html_columns.c - the columns of `numeric` that need the whole page: what a block's ancestors hold, words
 * shared with the title and the author, texts that were there before, templates that are repeated.
 *
 * Linear in the number of blocks and elements: containers are climbed a few levels, words are looked up in a
 * bitmap, texts and templates in hash tables of which a bounded number of places is tried. One thread at a
 * time.
 */
#include "html_internal.h"

#include <stdlib.h>
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

/* ---- repeated templates ---- */

/* Slots for `things` keys, at most half of them used: a power of two, less one. */
static uint32_t mask_for(uint32_t things)
{
    uint32_t cap = 1024;
    while (cap < things * 2)
        cap *= 2;
    return cap - 1;
}

static bool clear_tallies(tern_html *x, uint32_t mask)
{
    uint32_t cap = mask + 1;
    if (cap > x->cap_tallies) {
        tn_html_tally *t = realloc(x->tallies, sizeof *t * cap);
        if (t == NULL)
            return false;
        x->tallies = t;
        x->cap_tallies = cap;
    }
    memset(x->tallies, 0, sizeof *x->tallies * cap);
    return true;
}

/* Counts a key, and returns its slot; NONE where the table is too full around it. */
#define NONE UINT32_MAX
static uint32_t tally(tern_html *x, uint32_t mask, uint32_t key)
{
    uint32_t h = key * 0x9E3779B1u;
    h ^= h >> 15;
    for (uint32_t k = 0; k < TN_HTML_MAX_PROBES; k++) {
        uint32_t i = (h + k) & mask;
        tn_html_tally *t = &x->tallies[i];
        if (t->count == 0)
            t->key = key;
        if (t->key == key) {
            t->count++;
            return i;
        }
    }
    return NONE;
}

static int32_t alike(const tern_html *x, const tn_html_container *c)
{
    return c->tally == NONE ? 1 : (int32_t)x->tallies[c->tally].count;
}

/* Children of one parent that look the same, and of a block's ancestors the one with most such siblings. */
static bool count_groups(tern_html *x)
{
    uint32_t mask = mask_for(x->n_containers);
    if (!clear_tallies(x, mask))
        return false;
    for (uint32_t i = 0; i < x->n_containers; i++) {
        tn_html_container *c = &x->containers[i];
        c->tally = c->blocks == 0 ? NONE : tally(x, mask, c->look ^ c->parent * 0x85EBCA6Bu);
        c->nth = c->tally == NONE ? 0 : x->tallies[c->tally].count - 1;
    }
    for (uint32_t i = 0; i < x->n_records; i++) {
        tn_html_record *r = &x->records[i];
        const tn_html_container *own = &x->containers[r->container], *c = own;
        int32_t *v = r->counts, most = 1;
        v[TN_HTML_N_ALIKE] = alike(x, own);
        v[TN_HTML_N_ALIKE_INDEX] = (int32_t)own->nth;
        for (uint32_t level = 1; level <= TN_HTML_GROUP_LEVELS && c->parent != 0; level++) {
            c = &x->containers[c->parent];
            int32_t n = alike(x, c);
            if (n <= most)
                continue;
            most = n;
            v[TN_HTML_N_GROUP] = n;
            v[TN_HTML_N_GROUP_LEVEL] = (int32_t)level;
            v[TN_HTML_N_GROUP_INDEX] = (int32_t)c->nth;
            v[TN_HTML_N_GROUP_BYTES] = c->bytes;
            v[TN_HTML_N_GROUP_LINK] = c->link_bytes;
            v[TN_HTML_N_GROUP_BLOCKS] = c->blocks;
        }
    }
    return true;
}

/* Blocks with the same tag path and own names. */
static bool count_same(tern_html *x)
{
    uint32_t mask = mask_for(x->n_records);
    if (!clear_tallies(x, mask))
        return false;
    for (uint32_t i = 0; i < x->n_records; i++) {
        tn_html_record *r = &x->records[i];
        uint32_t h = fast_hash((const char *)r->tags, sizeof r->tags) * TN_HTML_FNV_PRIME ^
                     fast_hash((const char *)r->attrs, sizeof r->attrs[0] * 2);
        r->counts[TN_HTML_N_SAME] = (int32_t)tally(x, mask, h);
    }
    for (uint32_t i = 0; i < x->n_records; i++) {
        int32_t *at = &x->records[i].counts[TN_HTML_N_SAME];
        *at = (uint32_t)*at == NONE ? 1 : (int32_t)x->tallies[*at].count;
    }
    return true;
}

bool tn_html_columns(tern_html *x)
{
    count_levels(x);
    count_duplicates(x);
    count_shared(x, x->meta[TERN_HTML_META_OG_TITLE].set ? TERN_HTML_META_OG_TITLE : TERN_HTML_META_TITLE,
                 TN_HTML_N_TITLE_WORDS);
    count_shared(x, TERN_HTML_META_AUTHOR, TN_HTML_N_AUTHOR_WORDS);
    return count_groups(x) && count_same(x);
}
