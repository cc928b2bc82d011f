/* Causal attention of a training step in bfloat16, forward and backward, for processors with AVX512-BF16.

       P = softmax(scale Q K^T), later keys and what the mask hides left out          C = P V
       dV = P^T dC     dP = dC V^T     dS = scale P (dP - sum(P dP))     dQ = dS K     dK = dS^T Q

       arithmetic    2 and 5 products of T T E / 2, and T T / 2 exponentials, twice
       memory        vectors of a head read once or twice, results written once; weights never leave the nearest caches

   A task is one head forward, and one head of keys with all its heads of queries backward, so that every sum has one
   owner and one order, whatever the number of threads. Twelve queries meet all keys up to their own: their scores are
   rows in float32, so no running maximum is needed; only weights and their gradients are rounded to bfloat16. In the
   backward pass weights are made again from the logarithm of their sum (FlashAttention, arXiv:2205.14135), and those of
   96 queries are kept, for then the sums over queries are products of matrices too. */

#include <math.h>
#include <omp.h>
#include <string.h>
#include "tile.h"

enum { QUERIES = 8 * ROWS }; /* of a block of the backward pass */

typedef struct { /* (B, heads, T, E) in bfloat16: numbers from one text, head or token to the next; E side by side */
    uint16_t *numbers;
    int64_t text, head, token;
} View;

typedef struct {
    View query, key, value, context, dcontext, dquery, dkey, dvalue; /* the last four: of the backward pass */
    float *log_sums;        /* (B, H, T): log of the sum of all exponentials of a query */
    const uint8_t *visible; /* (B or 1, T, T): 1 where a key may be read, or NULL */
    int64_t visible_text;   /* numbers from one text to the next */
    int64_t texts, heads, kv_heads, tokens, width, threads; /* B, H, G, T, E */
    double scale;
} Attention;

typedef struct { /* sizes: T and E in whole strips, pairs of both; and a thread's memory */
    int64_t wide, broad, token_pairs, width_pairs;
    int32_t *panel, *keys, *values, *keys_across, *queries, *gradients; /* laid out by pack.h */
    float *scores, *slopes, *made, *dkey, *dvalue;                      /* (12, T) twice, (12, E), (T, E) twice */
    uint16_t *weights, *dscores;                                        /* (96, T) */
} Work;

/* Vectors `from` to `last` - 1 of a head as one side of a product; along: k runs along E. */
static Side side_of(const View *v, const Attention *a, int64_t text, int64_t head, int64_t from, int64_t last,
                    int along) {
    const uint16_t *at = v->numbers + text * v->text + head * v->head + from * v->token;
    return (Side){at, last - from, a->width, v->token, BFLOAT16, along};
}

/* All columns of a right side, as strips. */
static void strips_of(const Side *s, int64_t columns, int64_t pairs, int32_t *to) {
    for (int64_t c = 0; c < columns; c += COLUMNS) pack(s, 0, pairs, c, to + c * pairs, COLUMNS);
}

/* A panel times a strip: to (12, 32), or to +=. */
static void tile(const int32_t *panel, const int32_t *strip, int64_t pairs, float *to, int64_t stride, int add) {
    __m512 sum[ROWS][2];
    sums_of_tile(panel, strip, pairs, sum);
    const __mmask16 there = add ? 0xffff : 0;
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++, to += stride)
        for (int h = 0; h < 2; h++)
            _mm512_storeu_ps(to + 16 * h, _mm512_add_ps(sum[i][h], _mm512_maskz_loadu_ps(there, to + 16 * h)));
}

/* A panel times strips of `all` pairs each, of which `pairs` count: to (12, columns), or to +=. */
static void times(const int32_t *panel, const int32_t *strips, int64_t all, int64_t pairs, int64_t columns, float *to,
                  int64_t stride, int add) {
    for (int64_t c = 0; c < columns; c += COLUMNS) tile(panel, strips + c * all, pairs, to + c, stride, add);
}

/* The keys from k on, of sixteen, that query t may read. */
INLINE __mmask16 seen(const Attention *a, int64_t text, int64_t t, int64_t k) {
    const __mmask16 before = (__mmask16)first(t + 1 - k);
    if (!a->visible) return before;
    const uint8_t *row = a->visible + text * a->visible_text + t * a->tokens;
    const __m128i bytes = _mm_maskz_loadu_epi8(before, row + k);
    return _mm_test_epi8_mask(bytes, bytes);
}

/* Scores of query t over `end` keys -> exponentials of what is above the largest; their sum. */
static float soften(const Attention *a, int64_t text, int64_t t, float *row, int64_t end, float *log_sum) {
    const float scale = (float)a->scale;
    vec most = all(-INFINITY), sum = {0};
    for (int64_t k = 0; k <= t; k += LANES)
        most = _mm512_mask_max_ps(most, seen(a, text, t, k), most, load(row, k, FLOAT32));
    const float largest = _mm512_reduce_max_ps(most) * scale;
    for (int64_t k = 0; k < end; k += LANES) {
        const __mmask16 there = k <= t ? seen(a, text, t, k) : 0;
        vec e = {0};
        if (there) e = _mm512_maskz_mov_ps(there, exponential(fused(load(row, k, FLOAT32), all(scale), all(-largest))));
        store(row, k, e);
        sum += e;
    }
    *log_sum = largest + logf(total(sum));
    return total(sum);
}

/* `count` rows of float32 (count, broad), times a factor each, to vectors r, r + 1, ... of a head. */
static void put_vectors(const View *v, const Attention *a, int64_t text, int64_t head, int64_t r, int64_t count,
                        const float *rows, int64_t broad, const float *factors) {
    for (int64_t i = 0; i < count; i++) {
        uint16_t *to = v->numbers + text * v->text + head * v->head + (r + i) * v->token;
        for (int64_t k = 0; k < a->width; k += LANES) {
            const vec x = load(rows, i * broad + k, FLOAT32) * (factors ? factors[i] : 1.0f);
            _mm256_mask_storeu_epi16(to + k, (__mmask16)first(a->width - k), (__m256i)_mm512_cvtneps_pbh(x));
        }
    }
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t whole(int64_t x, int64_t size) { return parts(x, size) * size; }

/* One head: C and the logarithms. */
static void forward_head(const Attention *a, int64_t text, int64_t head, const Work *w) {
    const int64_t T = a->tokens, shared = head / (a->heads / a->kv_heads);
    const Side query = side_of(&a->query, a, text, head, 0, T, 1), key = side_of(&a->key, a, text, shared, 0, T, 1);
    const Side value = side_of(&a->value, a, text, shared, 0, T, 0);
    strips_of(&key, w->wide, w->width_pairs, w->keys);
    strips_of(&value, w->broad, w->token_pairs, w->values);
    for (int64_t r = 0; r < T; r += ROWS) {
        const int64_t count = least(ROWS, T - r), end = whole(r + count, COLUMNS);
        float factors[ROWS], *log_sums = a->log_sums + (text * a->heads + head) * T + r;
        pack(&query, 0, w->width_pairs, r, w->panel, ROWS);
        times(w->panel, w->keys, w->width_pairs, w->width_pairs, end, w->scores, w->wide, 0);
        for (int64_t i = 0; i < count; i++)
            factors[i] = 1.0f / soften(a, text, r + i, w->scores + i * w->wide, end, log_sums + i);
        const Side weights = {w->scores, count, end, w->wide, FLOAT32, 1};
        pack(&weights, 0, end / 2, 0, w->panel, ROWS);
        times(w->panel, w->values, w->token_pairs, end / 2, w->broad, w->made, w->broad, 0);
        put_vectors(&a->context, a, text, head, r, count, w->made, w->broad, factors);
    }
}

/* Scores and dP of query t, rows in float32 -> its weights and dS in bfloat16; zeros from its own key on to `end`. */
static void slopes_of(const Attention *a, int64_t text, int64_t t, float log_sum, float *scores, const float *slopes,
                      uint16_t *weights, uint16_t *dscores, int64_t end) {
    const float scale = (float)a->scale;
    vec sum = {0}, whole_sum = {0}; /* the latter is 1 but for rounding, which large scores make felt */
    for (int64_t k = 0; k <= t; k += LANES) {
        const vec e = exponential(fused(load(scores, k, FLOAT32), all(scale), all(-log_sum)));
        const vec p = _mm512_maskz_mov_ps(seen(a, text, t, k), e);
        store(scores, k, p);
        store_as(weights, k, p, BFLOAT16);
        sum = fused(p, load(slopes, k, FLOAT32), sum);
        whole_sum += p;
    }
    const float mean = total(sum) / total(whole_sum);
    for (int64_t k = 0; k <= t; k += LANES)
        store_as(dscores, k, load(scores, k, FLOAT32) * (load(slopes, k, FLOAT32) - mean) * scale, BFLOAT16);
    const int64_t made = whole(t + 1, LANES);
    memset(weights + made, 0, (end - made) * sizeof(uint16_t));
    memset(dscores + made, 0, (end - made) * sizeof(uint16_t));
}

/* dK += dS^T Q, or dV += P^T dC: rows (count, wide) of a block of queries, their vectors as strips. */
static void add_over_queries(const Work *w, const uint16_t *rows, int64_t count, int64_t keys, const int32_t *strips,
                             float *to) {
    const int64_t pairs = parts(count, 2);
    const Side side = {rows, count, whole(keys, COLUMNS), w->wide, BFLOAT16, 0};
    for (int64_t k = 0; k < keys; k += MOST_PANELS * ROWS) {
        const int64_t panels = least(MOST_PANELS, parts(keys - k, ROWS));
        pack_panels(&side, 0, pairs, k, w->panel, pairs, ROWS, panels, BFLOAT16);
        for (int64_t i = 0; i < panels; i++)
            times(w->panel + i * pairs * ROWS, strips, pairs, pairs, w->broad, to + (k + i * ROWS) * w->broad,
                  w->broad, 1);
    }
}

/* The queries q to `last` - 1 of one head: dQ, and their part of dK and dV. */
static void backward_block(const Attention *a, int64_t text, int64_t head, int64_t q, int64_t last, const Work *w) {
    const int64_t block_end = whole(last, COLUMNS);
    const float *log_sums = a->log_sums + (text * a->heads + head) * a->tokens;
    Side query = side_of(&a->query, a, text, head, 0, last, 1);
    Side dcontext = side_of(&a->dcontext, a, text, head, 0, last, 1);
    for (int64_t r = q; r < last; r += ROWS) {
        const int64_t count = least(ROWS, last - r), end = whole(r + count, COLUMNS), at = (r - q) * w->wide;
        pack(&query, 0, w->width_pairs, r, w->panel, ROWS);
        times(w->panel, w->keys, w->width_pairs, w->width_pairs, end, w->scores, w->wide, 0);
        pack(&dcontext, 0, w->width_pairs, r, w->panel, ROWS);
        times(w->panel, w->values, w->width_pairs, w->width_pairs, end, w->slopes, w->wide, 0);
        for (int64_t i = 0; i < count; i++)
            slopes_of(a, text, r + i, log_sums[r + i], w->scores + i * w->wide, w->slopes + i * w->wide,
                      w->weights + at + i * w->wide, w->dscores + at + i * w->wide, block_end);
        const Side dscores = {w->dscores + at, count, end, w->wide, BFLOAT16, 1};
        pack(&dscores, 0, end / 2, 0, w->panel, ROWS);
        times(w->panel, w->keys_across, w->token_pairs, end / 2, w->broad, w->made, w->broad, 0);
        put_vectors(&a->dquery, a, text, head, r, count, w->made, w->broad, NULL);
    }
    query = side_of(&a->query, a, text, head, q, last, 0);
    dcontext = side_of(&a->dcontext, a, text, head, q, last, 0);
    strips_of(&query, w->broad, parts(last - q, 2), w->queries);
    strips_of(&dcontext, w->broad, parts(last - q, 2), w->gradients);
    add_over_queries(w, w->dscores, last - q, last, w->queries, w->dkey);
    add_over_queries(w, w->weights, last - q, last, w->gradients, w->dvalue);
}

/* One head of keys and values, and all heads of queries that read it. */
static void backward_head(const Attention *a, int64_t text, int64_t shared, const Work *w) {
    const int64_t T = a->tokens, group = a->heads / a->kv_heads;
    const Side key = side_of(&a->key, a, text, shared, 0, T, 1), value = side_of(&a->value, a, text, shared, 0, T, 1);
    const Side across = side_of(&a->key, a, text, shared, 0, T, 0);
    strips_of(&key, w->wide, w->width_pairs, w->keys);
    strips_of(&value, w->wide, w->width_pairs, w->values);
    strips_of(&across, w->broad, w->token_pairs, w->keys_across);
    memset(w->dkey, 0, whole(T, ROWS) * w->broad * sizeof(float));
    memset(w->dvalue, 0, whole(T, ROWS) * w->broad * sizeof(float));
    for (int64_t head = shared * group; head < (shared + 1) * group; head++)
        for (int64_t q = 0; q < T; q += QUERIES) backward_block(a, text, head, q, least(q + QUERIES, T), w);
    put_vectors(&a->dkey, a, text, shared, 0, T, w->dkey, w->broad, NULL);
    put_vectors(&a->dvalue, a, text, shared, 0, T, w->dvalue, w->broad, NULL);
}

/* Cut a thread's memory into its parts; for NULL nothing is set. Returns the bytes that are needed. */
static int64_t lay_out(const Attention *a, int backward, char *from, Work *w) {
    const int64_t T = a->tokens, wide = whole(T, COLUMNS), broad = whole(a->width, COLUMNS), token_pairs = wide / 2;
    const int64_t width_pairs = parts(a->width, 2), block = QUERIES * wide * 2, rows = whole(T, ROWS) * broad * 4;
    const int64_t panel = whole(token_pairs > width_pairs ? token_pairs : width_pairs, COLUMNS) * ROWS * 4;
    const int64_t panels = MOST_PANELS * QUERIES / 2 * ROWS * 4, strips = QUERIES / 2 * broad * 4;
    const int64_t values = wide * whole(width_pairs, 16) * 4; /* as strips along E, or along the tokens: the larger */
    void *places[] = {&w->panel, &w->keys, &w->values, &w->scores, &w->made, &w->slopes, &w->keys_across, &w->queries,
                      &w->gradients, &w->dkey, &w->dvalue, &w->weights, &w->dscores};
    const int64_t sizes[] = {(panel > panels ? panel : panels) + LINE, values, values, ROWS * wide * 4,
                             ROWS * broad * 4, ROWS * wide * 4, values, strips, strips, rows, rows, block, block};
    *w = (Work){.wide = wide, .broad = broad, .token_pairs = token_pairs, .width_pairs = width_pairs};
    int64_t used = 0;
    for (int i = 0; i < (backward ? 13 : 5); i++) {
        char *at = from + used;
        if (from) memcpy(places[i], &at, sizeof at);
        used += whole(sizes[i], LINE);
    }
    return used;
}

/* All heads. Returns 0, or 1 where there is no memory for it. */
int tohum_attention(const Attention *a, int64_t backward) {
    Work sizes;
    const int64_t bytes = lay_out(a, backward, NULL, &sizes), heads = backward ? a->kv_heads : a->heads;
    const int64_t threads = least(a->threads, a->texts * heads);
    char *memory = keep(SHARED, bytes * threads);
    if (!memory) return 1;
#pragma omp parallel num_threads(threads)
    {
        Work w;
        lay_out(a, backward, memory + bytes * omp_get_thread_num(), &w);
#pragma omp for collapse(2) schedule(dynamic)
        for (int64_t text = 0; text < a->texts; text++)
            for (int64_t head = 0; head < heads; head++)
                if (backward) backward_head(a, text, head, &w);
                else forward_head(a, text, head, &w);
    }
    return 0;
}
