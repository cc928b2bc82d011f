/* The parts of a training step between its matrix products: norms, rotations, gated products, forward and backward.

   torch writes an intermediate result for every operation of a formula; here a formula is one pass over memory:

       RMSNorm        forward reads x, writes y             backward reads gradient and x, writes dx
       rotation       reads x, writes y; backward is the rotation back
       silu(g) * u    forward reads two, writes one         backward reads three, writes two

   All in float32. Rows are shared among threads; sums over rows (a weight's gradient) are made in `parts` of fixed size,
   so that a result does not depend on the number of threads. Widths are multiples of eight. */

#include <omp.h>
#include "vectors.h"

enum { SMALL = 1 << 14 }; /* numbers that one thread does alone */

INLINE vec at(const float *numbers, int64_t i) { return load(numbers, i, FLOAT32); }

/* x, y (rows, width); weight (width,); scale (rows,): y = x * scale * weight, scale = 1 / sqrt(mean(x^2) + eps). */
void tohum_rms(const float *x, const float *weight, float *y, float *scale, int64_t rows, int64_t width, double eps,
               int64_t threads) {
#pragma omp parallel for num_threads(threads) if (rows * width > SMALL)
    for (int64_t r = 0; r < rows; r++) {
        const float *a = x + r * width;
        vec squares = {0};
        for (int64_t i = 0; i < width; i += LANES) squares = fused(at(a, i), at(a, i), squares);
        const float s = 1.0f / sqrtf(total(squares) / (float)width + (float)eps);
        for (int64_t i = 0; i < width; i += LANES) store(y + r * width, i, at(a, i) * s * at(weight, i));
        scale[r] = s;
    }
}

/* With n = x * scale and u = gradient * weight: dx = scale * (u - n * mean(u n)); sums (parts, width) of gradient * n
   over the rows of each part. */
void tohum_rms_backward(const float *gradient, const float *x, const float *weight, const float *scale, float *dx,
                        float *sums, int64_t parts, int64_t rows, int64_t width, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (rows * width > SMALL)
    for (int64_t part = 0; part < parts; part++) {
        float *sum = sums + part * width;
        for (int64_t i = 0; i < width; i += LANES) store(sum, i, all(0.0f));
        for (int64_t r = rows * part / parts; r < rows * (part + 1) / parts; r++) {
            const float *g = gradient + r * width, *a = x + r * width, s = scale[r];
            vec products = {0};
            for (int64_t i = 0; i < width; i += LANES) {
                const vec gn = at(g, i) * at(a, i) * s;
                store(sum, i, at(sum, i) + gn);
                products = fused(gn, at(weight, i), products);
            }
            const float mean = total(products) / (float)width * s;
            for (int64_t i = 0; i < width; i += LANES)
                store(dx + r * width, i, (at(g, i) * at(weight, i) - at(a, i) * mean) * s);
        }
    }
}

/* x (B, T, heads, width) by its strides, cosines and sines (T or B T, width / 2) -> y, side by side; `back`: turn by the
   negative angle. Half a width is a multiple of eight. */
void tohum_turn(const float *x, const int64_t *strides, const float *cosines, const float *sines, float *y,
                int64_t texts, int64_t tokens, int64_t heads, int64_t width, int64_t table_rows, int64_t back,
                int64_t threads) {
    const int64_t half = width / 2, rows = texts * tokens;
    const float sign = back ? -1.0f : 1.0f;
#pragma omp parallel for num_threads(threads) if (rows * heads * width > SMALL)
    for (int64_t r = 0; r < rows; r++) {
        const float *c = cosines + r % table_rows * half, *s = sines + r % table_rows * half;
        const float *row = x + r / tokens * strides[0] + r % tokens * strides[1];
        for (int64_t h = 0; h < heads; h++) {
            const float *a = row + h * strides[2];
            float *b = y + (r * heads + h) * width;
            for (int64_t i = 0; i < half; i += LANES) {
                const vec first = at(a, i), second = at(a, half + i), cosine = at(c, i), sine = at(s, i) * sign;
                store(b, i, first * cosine - second * sine);
                store(b, half + i, second * cosine + first * sine);
            }
        }
    }
}

/* count numbers each: y = silu(gate) * up */
void tohum_swish(const float *gate, const float *up, float *y, int64_t count, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (count > SMALL)
    for (int64_t i = 0; i < count; i += LANES) {
        const vec g = at(gate, i);
        store(y, i, g / (1.0f + exponential(-g)) * at(up, i));
    }
}

/* d silu(g) / dg = s (1 + g (1 - s)) with s = sigmoid(g) */
void tohum_swish_backward(const float *gradient, const float *gate, const float *up, float *dgate, float *dup,
                          int64_t count, int64_t threads) {
#pragma omp parallel for num_threads(threads) if (count > SMALL)
    for (int64_t i = 0; i < count; i += LANES) {
        const vec d = at(gradient, i), g = at(gate, i), s = 1.0f / (1.0f + exponential(-g));
        store(dup, i, d * g * s);
        store(dgate, i, d * at(up, i) * s * (1.0f + g * (1.0f - s)));
    }
}
