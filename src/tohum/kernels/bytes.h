/* Bytes times a few vectors in whole numbers: a vector becomes whole numbers of 16 bits and a scale.

       x[k] ~ scale * whole[k]     scale = max |x| / most     error: at most sqrt(in) / (2 most) of the vector's length

   Memory gives four bytes in the time of a float, and making a float of each costs more than its product. Here 2 LANES
   bytes are widened by one instruction, and multiplied and added in pairs by another (by two where the processor has no
   VNNI). `most` is 32767, less for rows so long that a lane's sum could pass 2^31. Numbers that are small beside the
   vector's largest lose more than in bfloat16, all others less; in SmolLM2-135M the error is a fiftieth of what rounding
   its matrices to bytes made. Sums of whole numbers are exact: no order of them, and no company, changes a bit. */

#include <string.h>
#include "vectors.h"

enum { TWICE = 2 * LANES, HIGHEST = 32767, LARGEST_BYTE = 128 };

typedef int16_t words __attribute__((vector_size(2 * TWICE)));
typedef int16_t loose_words __attribute__((vector_size(2 * TWICE), aligned(2), may_alias));
typedef int16_t half_words __attribute__((vector_size(TWICE), aligned(2), may_alias));
typedef int8_t many_bytes __attribute__((vector_size(TWICE), aligned(1), may_alias));

typedef struct {    /* what a matrix meets */
    const float *x; /* (N, in) */
    int16_t *whole; /* (N, padded(in)), zeros behind each; NULL where no matrix is of bytes */
    float *scale;   /* (N,) */
} Vectors;

INLINE int64_t padded(int64_t in) { return (in + TWICE - 1) / TWICE * TWICE; }

/* Floats of memory for `tokens` vectors of whole numbers and their scales. */
INLINE int64_t floats_of_whole(int64_t in, int64_t tokens) { return tokens * (padded(in) / 2 + 1); }

/* x (in,) as whole numbers; its scale is returned, NaN where something in x is not finite. */
static float to_whole(const float *x, int64_t in, int16_t *to) {
    vec largest = {0}, nothing = {0};
    for (int64_t k = 0; k < in; k += LANES) {
        const vec v = load(x, k, FLOAT32);
        largest = greater(largest, (vec)((ivec)v & 0x7fffffff));
        nothing += v * 0.0f;
    }
    float top = 0;
    for (int i = 0; i < LANES; i++) top = largest[i] > top ? largest[i] : top;
    const int64_t possible = INT32_MAX / (LARGEST_BYTE * (in / LANES + 2));
    const float most = possible < HIGHEST ? possible : HIGHEST, magic = 12582912.0f; /* 1.5 * 2^23 rounds to integers */
    const float inverse = top > 1e-33f ? most / top : 0.0f;
    for (int64_t k = 0; k < in; k += LANES) {
        const ivec n = (ivec)(load(x, k, FLOAT32) * inverse + magic) - (ivec)all(magic);
        *(half_words *)(to + k) = __builtin_convertvector(n, half_words);
    }
    if (padded(in) > in) memset(to + in, 0, (padded(in) - in) * sizeof(int16_t));
    return top / most + total(nothing);
}

/* Where the whole numbers of x (N, in) will be: in `memory`. */
static Vectors vectors_in(float *memory, const float *x, int64_t in, int64_t tokens) {
    return (Vectors){x, (int16_t *)memory, memory + tokens * padded(in) / 2};
}

static void make_whole(const Vectors *v, int64_t in, int64_t i) {
    v->scale[i] = to_whole(v->x + i * in, in, v->whole + i * padded(in));
}

/* 2 LANES bytes, or the LANES that are left of a row. */
INLINE words widened(const int8_t *at, const int is_last) {
    if (!is_last) return __builtin_convertvector(*(const many_bytes *)at, words);
    int8_t left[TWICE] = {0};
    memcpy(left, at, LANES);
    return __builtin_convertvector(*(const many_bytes *)left, words);
}

/* To each sum the products of two pairs. */
INLINE ivec dot(ivec sum, words a, words b) {
#if LANES == 16 && defined(__AVX512VNNI__)
    return (ivec)_mm512_dpwssd_epi32((__m512i)sum, (__m512i)a, (__m512i)b);
#elif LANES == 16 && defined(__AVX512BW__)
    return sum + (ivec)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#elif LANES == 8 && defined(__AVX2__)
    return sum + (ivec)_mm256_madd_epi16((__m256i)a, (__m256i)b);
#else
    for (int i = 0; i < LANES; i++) sum[i] += (int32_t)a[2 * i] * b[2 * i] + (int32_t)a[2 * i + 1] * b[2 * i + 1];
    return sum;
#endif
}
