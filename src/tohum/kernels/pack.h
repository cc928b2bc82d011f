/* Parts of a matrix -> pairs of bfloat16 in the order in which matmul.c multiplies them.

   A processor with AVX512-BF16 adds a0 b0 + a1 b1 to each of sixteen sums with one instruction, so what is multiplied
   lies as pairs (k, k + 1): (pairs of k, W) for W rows of the left side or W columns of the right one. In memory k runs
   along the rows of a matrix or across them:

       along     W rows, 32 numbers of each -> 16 pairs of W rows, turned
       across    two rows, W numbers of each -> W pairs, like the teeth of a zip

   Numbers of every format are rounded to bfloat16 on the way; bytes are exact in it. */

#include "vectors.h"

enum { WIDE = 32, MOST_PANELS = 8 };       /* numbers that are loaded, panels that are laid out at a time */

typedef struct {
    const void *numbers;
    int64_t rows, columns, stride, format, along; /* stride: numbers from row to row; along: k runs along rows */
} Side;

/* The first `count` of 32 or of 16. */
INLINE __mmask32 first(int64_t count) { return count >= 32 ? ~(__mmask32)0 : count <= 0 ? 0 : ((__mmask32)1 << count) - 1; }

/* 32 numbers of a row as bfloat16; zeros beyond the end of the row and of the matrix. */
INLINE __m512i numbers(const Side *s, int64_t row, int64_t column, const int format) {
    const __mmask32 there = row < s->rows ? first(s->columns - column) : 0;
    const int64_t i = row * s->stride + column;
    if (format == BFLOAT16) return _mm512_maskz_loadu_epi16(there, (const uint16_t *)s->numbers + i);
    __m512 low, high;
    if (format == FLOAT32) {
        low = _mm512_maskz_loadu_ps(there, (const float *)s->numbers + i);
        high = _mm512_maskz_loadu_ps(there >> 16, (const float *)s->numbers + i + 16);
    } else {
        const __m256i bytes = _mm256_maskz_loadu_epi8(there, (const int8_t *)s->numbers + i);
        low = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_castsi256_si128(bytes)));
        high = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm256_extracti128_si256(bytes, 1)));
    }
    return (__m512i)_mm512_cvtne2ps_pbh(high, low);
}

/* 16 rows of 16 pairs -> 16 columns. */
INLINE void turn(__m512i r[16]) {
    __m512i t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int j = 0; j < 4; j++)
        for (int half = 0; half < 16; half += 8) {
            t[half + j] = _mm512_shuffle_i32x4(r[half + j], r[half + 4 + j], 0x88);
            t[half + 4 + j] = _mm512_shuffle_i32x4(r[half + j], r[half + 4 + j], 0xdd);
        }
    for (int j = 0; j < 8; j++) {
        r[j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0x88);
        r[8 + j] = _mm512_shuffle_i32x4(t[j], t[8 + j], 0xdd);
    }
}

/* Sixteen pairs, or the twelve of a panel: the four behind them belong to the next pairs, which come later, if any. */
INLINE void put(int32_t *to, __m512i v, const int width, int more) {
    if (width > 16 || more) _mm512_storeu_si512(to, v);
    else _mm512_mask_storeu_epi32(to, 0x0fff, v);
}

/* `width` (12 or 32) rows from `from` on, of k: -> (pairs, width). */
INLINE void pack_along(const Side *s, int64_t k, int64_t pairs, int64_t from, int32_t *to, const int width,
                       const int format) {
    for (int64_t p = 0; p < pairs; p += 16)
        for (int part = 0; part < width; part += 16) {
            __m512i r[16];
            for (int i = 0; i < 16; i++)
                r[i] = part + i < width ? numbers(s, from + part + i, k + 2 * p, format) : _mm512_setzero_si512();
            turn(r);
            for (int i = 0; i < 16 && p + i < pairs; i++) put(to + (p + i) * width + part, r[i], width, p + i + 1 < pairs);
        }
}

/* Rows k and k + 1, 32 columns from `from` on -> 32 pairs in the order of the columns. */
INLINE void zip(const Side *s, int64_t k, int64_t from, int32_t *to, const int format) {
    const __m512i lower = _mm512_set_epi64(11, 10, 3, 2, 9, 8, 1, 0), upper = _mm512_set_epi64(15, 14, 7, 6, 13, 12, 5, 4);
    const __m512i a = numbers(s, k, from, format), b = numbers(s, k + 1, from, format);
    const __m512i zipped = _mm512_unpacklo_epi16(a, b), others = _mm512_unpackhi_epi16(a, b);
    _mm512_storeu_si512(to, _mm512_permutex2var_epi64(zipped, lower, others));
    _mm512_storeu_si512(to + 16, _mm512_permutex2var_epi64(zipped, upper, others));
}

/* 32 columns from `from` on; twelve go through pack_panels. */
INLINE void pack_across(const Side *s, int64_t k, int64_t pairs, int64_t from, int32_t *to, const int width,
                        const int format) {
    for (int64_t p = 0; p < pairs; p++) zip(s, k + 2 * p, from, to + p * width, format);
}

/* `panels` times `width` columns from `from` on: (panels, all, width), of which `pairs` are made. Rows are read once. */
INLINE void pack_panels(const Side *s, int64_t k, int64_t pairs, int64_t from, int32_t *to, int64_t all,
                        const int width, int64_t panels, const int format) {
    int32_t line[MOST_PANELS * 12 + WIDE];
    for (int64_t p = 0; p < pairs; p++) {
        for (int64_t i = 0; i < panels * width; i += WIDE) zip(s, k + 2 * p, from + i, line + i, format);
        for (int64_t i = 0; i < panels; i++)
            put(to + (i * all + p) * width, _mm512_loadu_si512(line + i * width), width, p + 1 < pairs);
    }
}

/* Part `part` of `parts` of what a later task will lay out (`count` rows or columns from `from` on) is fetched: its rows
   lie far apart, where the processor does not foresee them. */
INLINE void foresee(const Side *s, int64_t k, int64_t pairs, int64_t from, int64_t count, int64_t part, int64_t parts) {
    const int64_t size = s->format == FLOAT32 ? 4 : s->format == INT8 ? 1 : 2;
    const int64_t row = s->along ? from : k, column = s->along ? k : from;
    const int64_t end_row = row + (s->along ? count : 2 * pairs), end = column + (s->along ? 2 * pairs : count);
    for (int64_t r = row + part; r < end_row && r < s->rows; r += parts) {
        const char *at = (const char *)s->numbers + (r * s->stride + column) * size;
        for (int64_t i = 0; i < ((end < s->columns ? end : s->columns) - column) * size; i += 64) __builtin_prefetch(at + i, 0, 2);
    }
}

#define BY_FORMAT(pack)                                                                         \
    do {                                                                                        \
        if (s->format == FLOAT32) pack(s, k, pairs, from, to, width, FLOAT32);                  \
        else if (s->format == BFLOAT16) pack(s, k, pairs, from, to, width, BFLOAT16);           \
        else pack(s, k, pairs, from, to, width, INT8);                                          \
    } while (0)

/* Rows of the left side, or columns of the right one: from..from+width-1, and 2 `pairs` of k from k on. */
INLINE void pack(const Side *s, int64_t k, int64_t pairs, int64_t from, int32_t *to, const int width) {
    if (s->along) BY_FORMAT(pack_along);
    else BY_FORMAT(pack_across);
}
