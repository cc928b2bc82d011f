/* The parts of a training step between its matrix products: norms, rotations, activations, forward and backward.

   torch writes an intermediate result for every operation of a formula; here a formula is one pass over memory:

       RMSNorm        forward reads x, writes y             backward reads gradient and x, writes dx
       rotation       reads x, writes y; backward is the rotation back
       gelu(x)        forward reads x, writes y             backward reads gradient and x, writes dx
       silu(g) * u    forward reads two, writes one         backward reads three, writes two
       dropout        reads x, writes y; backward is the same of the gradient

   Numbers lie in memory as `format` says (float32 or bfloat16), all arithmetic is in float32; weights, angles and sums
   are always float32. Rows are shared among threads; sums over rows (a weight's gradient) are made in `parts` of fixed
   size, so that a result does not depend on the number of threads. Widths are multiples of LANES. */

#include <omp.h>
#include "vectors.h"

enum { SMALL = 1 << 14, PIECE = 1 << 12 }; /* numbers that one thread does alone; that are one piece of a long array */

/* The same text compiled for each format, which a loop can then take for a constant. */
#define WITH(format, part, ...) \
    do { if ((format) == FLOAT32) part(__VA_ARGS__, FLOAT32); else part(__VA_ARGS__, BFLOAT16); } while (0)

/* All pieces of `count` numbers: part(…, first, last, format). */
#define PIECES(count, format, part, ...) \
    for (int64_t p_ = 0; p_ < (count); p_ += PIECE) \
        WITH(format, part, __VA_ARGS__, p_, p_ + PIECE < (count) ? p_ + PIECE : (count))

INLINE vec at(const float *numbers, int64_t i) { return load(numbers, i, FLOAT32); }
INLINE vec sigmoid(vec x) { return 1.0f / (1.0f + exponential(-x)); }

INLINE void rms_row(const void *x, const float *weight, void *y, float *scale, int64_t r, int64_t width, float eps,
                    const int format) {
    const int64_t from = r * width;
    vec squares = {0};
    for (int64_t i = 0; i < width; i += LANES) {
        const vec a = load(x, from + i, format);
        squares = fused(a, a, squares);
    }
    const float s = 1.0f / sqrtf(total(squares) / (float)width + eps);
    for (int64_t i = 0; i < width; i += LANES)
        store_as(y, from + i, load(x, from + i, format) * s * at(weight, i), format);
    scale[r] = s;
}

/* x, y (rows, width); weight (width,); scale (rows,): y = x * scale * weight, scale = 1 / sqrt(mean(x^2) + eps). */
void tohum_rms(const void *x, const float *weight, void *y, float *scale, int64_t rows, int64_t width, double eps,
               int64_t format, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (rows * width > SMALL)
    for (int64_t r = 0; r < rows; r++) WITH(format, rms_row, x, weight, y, scale, r, width, (float)eps);
}

INLINE void rms_backward_row(const void *gradient, const void *x, const float *weight, float s, void *dx, float *sum,
                             int64_t from, int64_t width, const int format) {
    vec products = {0};
    for (int64_t i = 0; i < width; i += LANES) {
        const vec gn = load(gradient, from + i, format) * load(x, from + i, format) * s;
        store(sum, i, at(sum, i) + gn);
        products = fused(gn, at(weight, i), products);
    }
    const float mean = total(products) / (float)width * s;
    for (int64_t i = 0; i < width; i += LANES) {
        const vec g = load(gradient, from + i, format), a = load(x, from + i, format);
        store_as(dx, from + i, (g * at(weight, i) - a * mean) * s, format);
    }
}

/* With n = x * scale and u = gradient * weight: dx = scale * (u - n * mean(u n)); sums (parts, width) of gradient * n
   over the rows of each part. */
void tohum_rms_backward(const void *gradient, const void *x, const float *weight, const float *scale, void *dx,
                        float *sums, int64_t parts, int64_t rows, int64_t width, int64_t format, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (rows * width > SMALL)
    for (int64_t part = 0; part < parts; part++) {
        float *sum = sums + part * width;
        for (int64_t i = 0; i < width; i += LANES) store(sum, i, all(0.0f));
        for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++)
            WITH(format, rms_backward_row, gradient, x, weight, scale[r], dx, sum, r * width, width);
    }
}

INLINE void turn_row(const void *x, int64_t from, int64_t stride, const float *c, const float *s, void *y, int64_t to,
                     int64_t heads, int64_t half, float sign, const int format) {
    for (int64_t h = 0; h < heads; h++) {
        const int64_t a = from + h * stride, b = to + h * 2 * half;
        for (int64_t i = 0; i < half; i += LANES) {
            const vec first = load(x, a + i, format), second = load(x, a + half + i, format);
            const vec cosine = at(c, i), sine = at(s, i) * sign;
            store_as(y, b + i, first * cosine - second * sine, format);
            store_as(y, b + half + i, second * cosine + first * sine, format);
        }
    }
}

/* x (B, T, heads, width) by its strides, cosines and sines (T or B T, width / 2) -> y, side by side; `back`: turn by the
   negative angle. Half a width is a multiple of LANES. */
void tohum_turn(const void *x, const int64_t *strides, const float *cosines, const float *sines, void *y,
                int64_t texts, int64_t tokens, int64_t heads, int64_t width, int64_t table_rows, int64_t back,
                int64_t format, int64_t threads) {
    const int64_t half = width / 2, rows = texts * tokens;
    const float sign = back ? -1.0f : 1.0f;
#pragma omp parallel for num_threads(threads) if (rows * heads * width > SMALL)
    for (int64_t r = 0; r < rows; r++) {
        const int64_t angle = r % table_rows * half, from = r / tokens * strides[0] + r % tokens * strides[1];
        WITH(format, turn_row, x, from, strides[2], cosines + angle, sines + angle, y, r * heads * width, heads, half,
             sign);
    }
}

INLINE void gelu_piece(const void *x, void *y, int64_t first, int64_t last, const int format) {
    for (int64_t i = first; i < last; i += LANES) {
        const vec a = load(x, i, format);
        store_as(y, i, a * sigmoid(1.59576912f * (a + 0.044715f * a * a * a)), format);
    }
}

/* count numbers: y = gelu(x) = 0.5 x (1 + tanh(k (x + 0.044715 x^3))), k = sqrt(2 / pi); x sigmoid(2 k …) is the same. */
void tohum_gelu(const void *x, void *y, int64_t count, int64_t format, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (count > SMALL)
    PIECES(count, format, gelu_piece, x, y);
}

INLINE void gelu_backward_piece(const void *gradient, const void *x, void *dx, int64_t first, int64_t last,
                                const int format) {
    for (int64_t i = first; i < last; i += LANES) {
        const vec a = load(x, i, format), s = sigmoid(1.59576912f * (a + 0.044715f * a * a * a));
        const vec slope = 1.59576912f * (1.0f + 0.134145f * a * a);
        store_as(dx, i, load(gradient, i, format) * (s + a * s * (1.0f - s) * slope), format);
    }
}

/* d(x s) / dx = s + x s (1 - s) slope, with the slope of what s is the sigmoid of */
void tohum_gelu_backward(const void *gradient, const void *x, void *dx, int64_t count, int64_t format,
                         int64_t threads) {
#pragma omp parallel for num_threads(threads) if (count > SMALL)
    PIECES(count, format, gelu_backward_piece, gradient, x, dx);
}

INLINE void swish_piece(const void *gate, const void *up, void *y, int64_t first, int64_t last, const int format) {
    for (int64_t i = first; i < last; i += LANES) {
        const vec g = load(gate, i, format);
        store_as(y, i, g * sigmoid(g) * load(up, i, format), format);
    }
}

/* count numbers each: y = silu(gate) * up */
void tohum_swish(const void *gate, const void *up, void *y, int64_t count, int64_t format, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (count > SMALL)
    PIECES(count, format, swish_piece, gate, up, y);
}

INLINE void swish_backward_piece(const void *gradient, const void *gate, const void *up, void *dgate, void *dup,
                                 int64_t first, int64_t last, const int format) {
    for (int64_t i = first; i < last; i += LANES) {
        const vec d = load(gradient, i, format), g = load(gate, i, format), s = sigmoid(g);
        const vec u = load(up, i, format);
        store_as(dup, i, d * g * s, format);
        store_as(dgate, i, d * u * s * (1.0f + g * (1.0f - s)), format);
    }
}

/* d silu(g) / dg = s (1 + g (1 - s)) with s = sigmoid(g) */
void tohum_swish_backward(const void *gradient, const void *gate, const void *up, void *dgate, void *dup,
                          int64_t count, int64_t format, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (count > SMALL)
    PIECES(count, format, swish_backward_piece, gradient, gate, up, dgate, dup);
}

typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));

/* What dropout.py says, with its three odd numbers. */
INLINE void drop_piece(const void *x, void *y, const uint32_t *key, int32_t least, float scale, int64_t first,
                       int64_t last, const int format) {
    uvec place;
    for (int k = 0; k < LANES; k++) place[k] = (uint32_t)(first + k);
    for (int64_t i = first; i < last; i += LANES, place += LANES) {
        uvec bits = place * 0x9e3779b9u + key[0];
        bits = (bits ^ bits >> 16) * 0x7feb352du;
        bits = (bits ^ bits >> 15 ^ key[1]) * 0x846ca68bu;
        bits = (bits ^ bits >> 16) & 0x7fffffffu;
        store_as(y, i, pick((ivec)bits >= least, load(x, i, format) * scale, all(0.0f)), format);
    }
}

/* count numbers: y = x * scale, or 0 where the hash of the place and of key (2,) is below `least`. */
void tohum_drop(const void *x, void *y, const uint32_t *key, int64_t least, double scale, int64_t count,
                int64_t format, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (count > SMALL)
    PIECES(count, format, drop_piece, x, y, key, (int32_t)least, (float)scale);
}
