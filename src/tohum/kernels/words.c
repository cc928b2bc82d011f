/* Texts (UTF-8) -> their words and how often each occurs: what learning merges needs of a text.

   The split patterns of tohum.tokenizing.patterns, written out as a walk over characters; a character's classes come
   from a table that the regex engine filled, so both know the same Unicode. One table of words per thread. A text is
   read once, 150 MB a second; memory holds every different word once, with 24 bytes beside it. */

#include <stdlib.h>
#include <string.h>
#include "words.h"

enum { LETTER = 1, NUMBER = 2, SPACE = 4 };
enum { GPT2 = 0, QWEN2 = 1, LLAMA = 2 }; /* split patterns */
enum { END = -1, SMALL = 1 << 12 };

typedef struct { /* a place in a text, and the character there */
    const uint8_t *at, *end;
    int32_t code; /* END: no more */
    int32_t bytes;
} Cursor;

static Cursor look(const uint8_t *at, const uint8_t *end) {
    if (at >= end) return (Cursor){at, end, END, 0};
    const uint32_t a = at[0];
    if (a < 0x80) return (Cursor){at, end, (int32_t)a, 1};
    if (a < 0xE0) return (Cursor){at, end, (int32_t)((a & 0x1F) << 6 | (at[1] & 0x3F)), 2};
    if (a < 0xF0) return (Cursor){at, end, (int32_t)((a & 0x0F) << 12 | (at[1] & 0x3F) << 6 | (at[2] & 0x3F)), 3};
    return (Cursor){at, end, (int32_t)((a & 0x07) << 18 | (at[1] & 0x3F) << 12 | (at[2] & 0x3F) << 6 | (at[3] & 0x3F)),
                    4};
}

static Cursor next(Cursor c) { return look(c.at + c.bytes, c.end); }

static int class_of(const Words *w, Cursor c) { return c.code == END ? 0 : w->classes[c.code]; }

static int is_line_end(Cursor c) { return c.code == '\r' || c.code == '\n'; }

static int is_other(const Words *w, Cursor c) { /* [^\s\p{L}\p{N}] */
    return c.code != END && !(w->classes[c.code] & (LETTER | NUMBER | SPACE));
}

static Cursor run_of(const Words *w, Cursor c, int class, int64_t most) {
    while (most-- && class_of(w, c) & class) c = next(c);
    return c;
}

/* 's 't 're 've 'm 'll 'd; where case does not count, the long s is one, too. */
static const uint8_t *contraction(Cursor c, int any_case) {
    if (c.code != '\'') return NULL;
    const Cursor first = next(c), second = next(first);
    int32_t a = first.code, b = second.code;
    if (any_case) {
        a = a == 0x17F ? 's' : a >= 'A' && a <= 'Z' ? a + 32 : a;
        b = b >= 'A' && b <= 'Z' ? b + 32 : b;
    }
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return second.at;
    if (((a == 'r' || a == 'v') && b == 'e') || (a == 'l' && b == 'l')) return second.at + second.bytes;
    return NULL;
}

/* \s*[\r\n]+ (where asked for) | \s+(?!\S) | \s+ */
static const uint8_t *white(const Words *w, Cursor c, int line_ends) {
    const uint8_t *after_line = NULL, *last = c.at;
    while (class_of(w, c) & SPACE) {
        last = c.at;
        const int line = is_line_end(c);
        c = next(c);
        if (line) after_line = c.at;
    }
    if (line_ends && after_line) return after_line;
    return c.code == END ? c.at : last; /* the last one goes with the word that follows; alone it is one itself */
}

static const uint8_t *word_end_gpt2(const Words *w, Cursor c) {
    const uint8_t *end = contraction(c, 0);
    if (end) return end;
    const Cursor body = c.code == ' ' ? next(c) : c;
    const int class = class_of(w, body);
    if (class & LETTER) return run_of(w, body, LETTER, -1).at;
    if (class & NUMBER) return run_of(w, body, NUMBER, -1).at;
    if (is_other(w, body)) {
        Cursor at = body;
        while (is_other(w, at)) at = next(at);
        return at.at;
    }
    return white(w, c, 0);
}

static const uint8_t *word_end_qwen2(const Words *w, Cursor c, int64_t digits) {
    const uint8_t *end = contraction(c, 1);
    if (end) return end;
    const int class = class_of(w, c);
    if (class & LETTER) return run_of(w, c, LETTER, -1).at;
    if (!is_line_end(c) && !(class & NUMBER) && class_of(w, next(c)) & LETTER) return run_of(w, next(c), LETTER, -1).at;
    if (class & NUMBER) return run_of(w, c, NUMBER, digits).at;
    Cursor at = c.code == ' ' ? next(c) : c;
    if (is_other(w, at)) {
        while (is_other(w, at)) at = next(at);
        while (is_line_end(at)) at = next(at);
        return at.at;
    }
    return white(w, c, 1);
}

static const uint8_t *word_end(const Words *w, const uint8_t *at, const uint8_t *end) {
    const Cursor c = look(at, end);
    const uint8_t *found = w->pattern == GPT2 ? word_end_gpt2(w, c) : word_end_qwen2(w, c, w->pattern == QWEN2 ? 1 : 3);
    return found > at ? found : at + c.bytes; /* a lone space */
}

static int grow(Words *w) {
    const int64_t slots = w->slots ? 2 * w->slots : SMALL;
    Word **table = calloc((size_t)slots, sizeof *table);
    if (!table) return 1;
    for (int64_t i = 0; i < w->slots; i++)
        if (w->table[i]) {
            int64_t at = (int64_t)(w->table[i]->hash & (uint64_t)(slots - 1));
            while (table[at]) at = (at + 1) & (slots - 1);
            table[at] = w->table[i];
        }
    free(w->table);
    w->table = table, w->slots = slots;
    return 0;
}

static Word *made(Words *w, const uint8_t *text, int64_t bytes, uint64_t hash) {
    const size_t size = (sizeof(Word) + (size_t)bytes + 7) & ~(size_t)7;
    if (!w->pages || w->pages->used + size > w->pages->size) {
        const size_t room = size > PAGE ? size : PAGE;
        Page *page = malloc(sizeof *page + room);
        if (!page) return NULL;
        *page = (Page){w->pages, room, 0};
        w->pages = page;
    }
    Word *word = (Word *)(w->pages->data + w->pages->used);
    w->pages->used += size;
    *word = (Word){hash, 0, bytes};
    memcpy(word->text, text, (size_t)bytes);
    return word;
}

static int count(Words *w, const uint8_t *text, int64_t bytes, uint64_t hash, int64_t times) {
    if (2 * (w->count + 1) > w->slots && grow(w)) return 1;
    int64_t at = (int64_t)(hash & (uint64_t)(w->slots - 1));
    for (Word *found; (found = w->table[at]); at = (at + 1) & (w->slots - 1))
        if (found->hash == hash && found->bytes == bytes && !memcmp(found->text, text, (size_t)bytes)) {
            found->times += times;
            return 0;
        }
    if (!(w->table[at] = made(w, text, bytes, hash))) return 1;
    w->table[at]->times = times;
    w->count++;
    return 0;
}

/* An empty table; classes (0x110000,): LETTER, NUMBER, SPACE of every character, which the caller keeps. */
Words *tohum_words(const uint8_t *classes, int64_t pattern) {
    Words *w = calloc(1, sizeof *w);
    if (w) w->classes = classes, w->pattern = pattern;
    return w;
}

/* `texts` side by side, text i from ends[i - 1] to ends[i]. Not 0: there was no memory. */
int tohum_words_count(Words *w, const uint8_t *texts, const int64_t *ends, int64_t number) {
    const uint8_t *at = texts;
    for (int64_t i = 0; i < number; i++)
        for (const uint8_t *end = texts + ends[i], *after; at < end; at = after) {
            after = word_end(w, at, end);
            if (count(w, at, after - at, hash_of(at, after - at), 1)) return 1;
        }
    return 0;
}

/* What `from` counted, added to `into`. */
int tohum_words_join(Words *into, const Words *from) {
    for (int64_t i = 0; i < from->slots; i++) {
        const Word *word = from->table[i];
        if (word && count(into, word->text, word->bytes, word->hash, word->times)) return 1;
    }
    return 0;
}

void tohum_words_free(Words *w) {
    for (Page *page = w->pages, *before; page; page = before) before = page->before, free(page);
    free(w->table);
    free(w);
}
