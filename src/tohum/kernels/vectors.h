/* Vectors of eight floats: how numbers of four formats become them, and the functions that layers apply.

   GCC's and Clang's vector extensions, so that one text serves every processor. Everything here works on one vector at
   a time in a fixed order, so a result never depends on what stands beside it. */

#include <math.h>
#include <stdint.h>
#if defined(__FMA__) || (defined(__AVX2__) && defined(__F16C__))
#include <immintrin.h>
#endif

#define LANES 8
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(32)));
typedef int32_t ivec __attribute__((vector_size(32)));
typedef float loose __attribute__((vector_size(32), aligned(4), may_alias)); /* anywhere in an array */
typedef uint16_t halves __attribute__((vector_size(16), aligned(2), may_alias));
typedef int8_t bytes __attribute__((vector_size(8), aligned(1), may_alias));
typedef _Float16 narrow __attribute__((vector_size(16), aligned(2), may_alias));

enum { FLOAT32, BFLOAT16, FLOAT16, INT8 };                  /* formats; the order is that of kernels/structs.py */
static const int64_t SIZE[] = {4, 2, 2, 1};                 /* bytes per number */
enum { GELU, RELU2, SILU };                                 /* activations; the order is that of generation/fast.py */

/* Eight numbers from place `i` on. The instructions of AVX2 are named where GCC does not find them. */
INLINE vec load(const void *numbers, int64_t i, const int format) {
    if (format == FLOAT32) return (vec)*(const loose *)((const float *)numbers + i);
    const int8_t *byte = (const int8_t *)numbers + i;
    const uint16_t *half = (const uint16_t *)numbers + i;
#if defined(__AVX2__) && defined(__F16C__)
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
#ifdef __FMA__
    return _mm256_fmadd_ps(a, b, c);
#else
    return a * b + c;
#endif
}

INLINE void store(float *numbers, int64_t i, vec v) { *(loose *)(numbers + i) = (loose)v; }

/* One number into a cache, rounded to nearest, ties to even. */
static void store_number(void *numbers, int64_t i, float value, int64_t format) {
    if (format == FLOAT32) { ((float *)numbers)[i] = value; return; }
    if (format == FLOAT16) { ((_Float16 *)numbers)[i] = (_Float16)value; return; }
    union { float f; uint32_t u; } bits = {value};
    ((uint16_t *)numbers)[i] = value == value ? (bits.u + 0x7fff + (bits.u >> 16 & 1)) >> 16 : 0x7fc0;
}

/* Sum of the eight lanes, always in this order: ((0 + 4) + (2 + 6)) + ((1 + 5) + (3 + 7)). */
INLINE float total(vec v) {
    v += __builtin_shuffle(v, (ivec){4, 5, 6, 7, 0, 1, 2, 3});
    v += __builtin_shuffle(v, (ivec){2, 3, 0, 1, 6, 7, 4, 5});
    return v[0] + v[1];
}

INLINE vec all(float x) { return (vec){x, x, x, x, x, x, x, x}; }
INLINE vec pick(ivec mask, vec yes, vec no) { return (vec)((mask & (ivec)yes) | (~mask & (ivec)no)); }

/* e^x to 2 units in the last place: 2^n * e^r with |r| <= ln(2) / 2, a polynomial for e^r (Cephes, expf). */
INLINE vec exponential(vec x) {
    const vec low = all(-87.0f), high = all(88.0f), magic = all(12582912.0f); /* 1.5 * 2^23 rounds to integers */
    ivec vanishes = x < low;
    vec y = pick(vanishes, low, x);
    y = pick(y > high, high, y);
    vec n = fused(y, all(1.44269504f), magic);
    ivec power = (ivec)n - (ivec)magic;
    n -= magic;
    vec r = fused(n, all(2.12194440e-4f), fused(n, all(-0.693359375f), y));
    static const float terms[] = {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                                  5.0000001201e-1f};
    vec p = all(1.9875691500e-4f);
    for (int i = 0; i < 5; i++) p = fused(p, r, all(terms[i]));
    p = fused(p, r * r, r) + 1.0f;
    return pick(vanishes, all(0.0f), (vec)((ivec)p + (power << 23)));
}

INLINE vec tangent(vec x) { return 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f); } /* tanh(x) */

/* max(x, 0)^2, x sigmoid(x), or 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). */
INLINE vec activate(vec x, int64_t kind) {
    if (kind == RELU2) { vec y = pick(x > 0.0f, x, all(0.0f)); return y * y; }
    if (kind == SILU) return x / (1.0f + exponential(-x));
    return 0.5f * x * (1.0f + tangent(0.79788456f * (x + 0.044715f * x * x * x)));
}
