/* Logits -> cross-entropy and its gradient, in place: rows (n, V) are read and written while they lie in a core's cache.

   With m the largest logit of a row, e = exp(logit - m) and s = sum(e), the loss is log(s) + m - logit of the target,
   and its gradient (e - s at the target) / s; s is left to the caller, who divides something narrower by it. With a
   soft-cap c the logits are c tanh(logit / c), and the gradient is multiplied by 1 - tanh^2.

   A row is read for its largest logit, then once more: 2 V bytes or 4 V, about 30 operations a number. Sums are made
   in pieces, so that rounding does not grow with V, and by one thread in one order. */

#include <omp.h>
#include "vectors.h"

enum { PIECE = 512 };

/* tanh(x / cap), which is 1 beyond the end of a row. */
INLINE vec bent(vec x, float cap) { return tangent(pick(x == -INFINITY, all(0.0f), x) / cap); }

INLINE vec capped(vec x, float cap) {
    return cap ? pick(x == -INFINITY, x, cap * bent(x, cap)) : x;
}

INLINE void row_loss(void *logits, int64_t r, int64_t V, int64_t target, float cap, float *loss, float *sum,
                     const int format) {
    const int64_t from = r * V, end = from + V;
    vec most[4] = {all(-INFINITY), all(-INFINITY), all(-INFINITY), all(-INFINITY)}, odd = {0};
    for (int64_t i = from; i < end; i += 4 * LANES)
        for (int k = 0; k < 4 && i + k * LANES < end; k++) {
            const vec x = some(logits, i + k * LANES, end, format);
            most[k] = greater(x, most[k]);
            odd = fused(pick(x == -INFINITY, all(0.0f), x), all(0.0f), odd); /* NaN where one is NaN or inf */
        }
    float m = -INFINITY;
    for (int k = 0; k < 4 * LANES; k++) m = most[k / LANES][k % LANES] > m ? most[k / LANES][k % LANES] : m;
    m = capped(all(m), cap)[0];
    const vec aim = all(load_number(logits, from + target, format));
    const float wanted = capped(aim, cap)[0];
    double s = 0.0;
    for (int64_t piece = from; piece < end; piece += PIECE) {
        vec part = {0};
        for (int64_t i = piece; i < end && i < piece + PIECE; i += LANES) {
            const vec x = some(logits, i, end, format);
            vec e = exponential(capped(x, cap) - m);
            part += e;
            if (cap) e *= 1.0f - bent(x, cap) * bent(x, cap);
            if (i + LANES <= end) store_as(logits, i, e, format);
            else for (int k = 0; i + k < end; k++) store_number(logits, i + k, e[k], format);
        }
        s += total(part);
    }
    const float steepness = cap ? 1.0f - bent(aim, cap)[0] * bent(aim, cap)[0] : 1.0f;
    store_number(logits, from + target, (exponential(all(wanted - m))[0] - (float)s) * steepness, format);
    loss[r] = logf((float)s) + m - wanted + total(odd);
    sum[r] = (float)s;
}

/* logits (n, V) in `format` become the gradient above; targets, loss and sum (n,). cap 0: none. */
void tohum_cross_entropy(void *logits, const int64_t *targets, float *loss, float *sum, int64_t rows, int64_t V,
                         double cap, int64_t format, int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t r = 0; r < rows; r++) {
        if (format == FLOAT32) row_loss(logits, r, V, targets[r], (float)cap, loss, sum, FLOAT32);
        else row_loss(logits, r, V, targets[r], (float)cap, loss, sum, BFLOAT16);
    }
}
