/* Vectors of LANES floats, eight or sixteen: how numbers of four formats become them, and what layers apply to them.

   GCC's and Clang's vector extensions, so that one text serves every processor. Everything here works on one vector at
   a time in a fixed order, so a result never depends on what stands beside it. */

#include <math.h>
#include <stdint.h>
#if defined(__FMA__) || (defined(__AVX2__) && defined(__F16C__))
#include <immintrin.h>
#endif

#ifndef LANES /* build.py says sixteen where the processor has vectors of 512 bits */
#define LANES 8
#endif
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef float loose __attribute__((vector_size(4 * LANES), aligned(4), may_alias)); /* anywhere in an array */
typedef uint16_t halves __attribute__((vector_size(2 * LANES), aligned(2), may_alias));
typedef int8_t bytes __attribute__((vector_size(LANES), aligned(1), may_alias));
typedef _Float16 narrow __attribute__((vector_size(2 * LANES), aligned(2), may_alias));

enum { FLOAT32, BFLOAT16, FLOAT16, INT8 };                  /* formats; the order is that of kernels/structs.py */
static const int64_t SIZE[] = {4, 2, 2, 1};                 /* bytes per number */
enum { GELU, RELU2, SILU };                                 /* activations; the order is that of generation/fast.py */

/* LANES numbers from place `i` on. The instructions are named where GCC does not find them. */
INLINE vec load(const void *numbers, int64_t i, const int format) {
    if (format == FLOAT32) return (vec)*(const loose *)((const float *)numbers + i);
    const int8_t *byte = (const int8_t *)numbers + i;
    const uint16_t *half = (const uint16_t *)numbers + i;
#if LANES == 16 && defined(__AVX512F__)
    if (format == INT8) return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)byte)));
    const __m256i sixteen = _mm256_loadu_si256((const __m256i *)half);
    if (format == FLOAT16) return _mm512_cvtph_ps(sixteen);
    return (vec)_mm512_slli_epi32(_mm512_cvtepu16_epi32(sixteen), 16);
#elif LANES == 8 && defined(__AVX2__) && defined(__F16C__)
    if (format == INT8) return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)byte)));
    const __m128i eight = _mm_loadu_si128((const __m128i *)half);
    if (format == FLOAT16) return _mm256_cvtph_ps(eight);
    return (vec)_mm256_slli_epi32(_mm256_cvtepu16_epi32(eight), 16);
#else
    if (format == INT8) return __builtin_convertvector(__builtin_convertvector(*(const bytes *)byte, ivec), vec);
    if (format == FLOAT16) return __builtin_convertvector(*(const narrow *)half, vec);
    return (vec)(__builtin_convertvector(*(const halves *)half, ivec) << 16);
#endif
}

/* a * b + c. The only place where the two are fused: compilers, left to themselves, fuse in one copy of a loop and not
   in another (build.py forbids it), and then a result would depend on which copy made it. */
INLINE vec fused(vec a, vec b, vec c) {
#if LANES == 16 && defined(__AVX512F__)
    return _mm512_fmadd_ps(a, b, c);
#elif LANES == 8 && defined(__FMA__)
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE void store(float *numbers, int64_t i, vec v) { *(loose *)(numbers + i) = (loose)v; }

/* One number into a cache, rounded to nearest, ties to even. */
INLINE void store_number(void *numbers, int64_t i, float value, int64_t format) {
    if (format == FLOAT32) { ((float *)numbers)[i] = value; return; }
    if (format == FLOAT16) { ((_Float16 *)numbers)[i] = (_Float16)value; return; }
    union { float f; uint32_t u; } bits = {value};
    ((uint16_t *)numbers)[i] = value == value ? (bits.u + 0x7fff + (bits.u >> 16 & 1)) >> 16 : 0x7fc0;
}

/* One number, in float32 or bfloat16. */
INLINE float load_number(const void *numbers, int64_t i, const int format) {
    if (format == FLOAT32) return ((const float *)numbers)[i];
    union { uint32_t u; float f; } bits = {(uint32_t)((const uint16_t *)numbers)[i] << 16};
    return bits.f;
}

/* Up to LANES numbers; from `end` on -inf. */
INLINE vec some(const void *numbers, int64_t i, int64_t end, const int format) {
    if (i + LANES <= end) return load(numbers, i, format);
    float left[LANES];
    for (int k = 0; k < LANES; k++) left[k] = i + k < end ? load_number(numbers, i + k, format) : -INFINITY;
    return load(left, 0, FLOAT32);
}

/* LANES numbers to place `i` on, in float32 or bfloat16, rounded to nearest, ties to even; NaN stays NaN. */
INLINE void store_as(void *numbers, int64_t i, vec v, const int format) {
    if (format == FLOAT32) { store(numbers, i, v); return; }
    uint16_t *half = (uint16_t *)numbers + i;
#if LANES == 16 && defined(__AVX512BF16__)
    _mm256_storeu_si256((__m256i *)half, (__m256i)_mm512_cvtneps_pbh(v));
#elif LANES == 8 && defined(__AVX512BF16__) && defined(__AVX512VL__)
    _mm_storeu_si128((__m128i *)half, (__m128i)_mm256_cvtneps_pbh(v));
#else
    const ivec bits = (ivec)v, odd = bits >> 16 & 1, is_nan = v != v;
    const ivec rounded = (is_nan & 0x7fc00000) | (~is_nan & (bits + 0x7fff + odd));
    *(halves *)half = __builtin_convertvector(rounded >> 16 & 0xffff, halves);
#endif
}

#ifdef __clang__
#define TURNED(v, ...) __builtin_shufflevector(v, v, __VA_ARGS__)
#else
#define TURNED(v, ...) __builtin_shuffle(v, (ivec){__VA_ARGS__})
#endif

/* Sum of the lanes, always in this order: the upper half on the lower until eight are left, then
   ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)). */
INLINE float total(vec v) {
#if LANES == 16
    v += TURNED(v, 8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7);
    v += TURNED(v, 4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11);
    v += TURNED(v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
#else
    v += TURNED(v, 4, 5, 6, 7, 0, 1, 2, 3);
    v += TURNED(v, 2, 3, 0, 1, 6, 7, 4, 5);
#endif
    return v[0] + v[1];
}

/* The sums of the lanes of eight vectors, by one tree: always in the same order, whatever the others are. */
INLINE void totals(const vec v[8], float *sums) {
#if defined(__AVX2__)
    __m256 half[8];
    for (int i = 0; i < 8; i++)
#if LANES == 16
        half[i] = _mm256_add_ps(_mm512_castps512_ps256(v[i]), _mm512_castps512_ps256(_mm512_shuffle_f32x4(v[i], v[i], 0x4e)));
#else
        half[i] = v[i];
#endif
    for (int i = 0; i < 8; i += 4) { /* quarters: two numbers of each sum, which stand 128 bits apart */
        const __m256 pair = _mm256_hadd_ps(half[i], half[i + 1]), next = _mm256_hadd_ps(half[i + 2], half[i + 3]);
        const __m256 quarters = _mm256_hadd_ps(pair, next);
        _mm_storeu_ps(sums + i, _mm_add_ps(_mm256_castps256_ps128(quarters), _mm256_extractf128_ps(quarters, 1)));
    }
#else
    for (int i = 0; i < 8; i++) sums[i] = total(v[i]);
#endif
}

#if LANES == 16
INLINE vec all(float x) { return (vec){x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
#else
INLINE vec all(float x) { return (vec){x, x, x, x, x, x, x, x}; }
#endif
INLINE vec greater(vec a, vec b) {
#if LANES == 16 && defined(__AVX512F__)
    return _mm512_max_ps(a, b);
#else
    return (vec)(((a > b) & (ivec)a) | (~(a > b) & (ivec)b));
#endif
}
INLINE vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }

/* e^x to 2 units in the last place: 2^n * e^r with |r| <= ln(2) / 2, a polynomial for e^r (Cephes, expf). */
INLINE vec exponential(vec x) {
#if LANES == 16 && defined(__AVX512F__) /* the instruction that multiplies by 2^n knows where the result vanishes */
    const vec y = _mm512_min_ps(all(200.0f), _mm512_max_ps(all(-200.0f), x)); /* in this order NaN stays */
    const vec n = _mm512_roundscale_ps(y * all(1.44269504f), 8);
#else
    const vec low = all(-87.0f), high = all(88.0f), magic = all(12582912.0f); /* 1.5 * 2^23 rounds to integers */
    ivec vanishes = x < low;
    vec y = pick(vanishes, low, x);
    y = pick(y > high, high, y);
    vec n = fused(y, all(1.44269504f), magic);
    ivec power = (ivec)n - (ivec)magic;
    n -= magic;
#endif
    vec r = fused(n, all(2.12194440e-4f), fused(n, all(-0.693359375f), y));
    static const float terms[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                                  5.0000001201e-1f};
    vec p = all(1.9875691500e-4f);
    for (int i = 0; i < 5; i++) p = fused(p, r, all(terms[i]));
    p = fused(p, r * r, r) + 1.0f;
#if LANES == 16 && defined(__AVX512F__)
    return _mm512_scalef_ps(p, n);
#else
    return pick(vanishes, all(0.0f), (vec)((ivec)p + (power << 23)));
#endif
}

INLINE vec tangent(vec x) { return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f); } /* tanh(x) */

/* max(x, 0)^2, x sigmoid(x), or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
INLINE vec activate(vec x, int64_t kind) {
    if (kind == RELU2) { vec y = pick(x > 0.0f, x, all(0.0f)); return y * y; }
    if (kind == SILU) return x / (1.0f + exponential(-x));
    return 0.5f * x * (1.0f + tangent(0.79788456f * (x + 0.044715f * x * x * x)));
}
