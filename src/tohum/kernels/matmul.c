/* Products of matrices in bfloat16 with sums in float32, for processors with AVX512-BF16: to = left right, or to +=.

       arithmetic    2 M N K for left (M, K) and right (K, N)
       memory        both sides read once, and written and read as pairs, K_BLOCK of k at a time; the result written
                     once; beyond K_BLOCK its sums too, for each block

   Twelve rows of the left meet 32 columns of the right at once (tile.h). The smaller side of a block is laid out as
   pairs (pack.h) for all threads; the other is cut into tasks, each laid out by the thread that takes it. Every number is one
   sum in one order, whatever M, N and the number of threads. Weights in float32 need no copy in bfloat16, and gradients
   are added in float32, which torch's products of bfloat16 cannot do; at the speed of the processor both are free. */

#include <omp.h>
#include "tile.h"

enum { K_BLOCK = 3072, MOST_STRIPS = 4, TASKS = 8, SOME_PAIRS = 16 };

typedef struct {
    void *numbers;                 /* (M, N) of `format`, float32 or bfloat16 */
    const float *bias, *factors;   /* (N,) or NULL: to = factors * product + bias */
    int64_t stride, format, add;   /* add: the numbers that are there stay in the sum */
} Target;

typedef struct { /* one block of k */
    const Side *left, *right;
    const Target *to;
    float *sums; /* (M, N) of the blocks before; NULL where there is one block */
    int64_t M, N, k, pairs, panels, strips, threads, is_first, is_last; /* panels, strips: of a task */
} Block;

/* Sixteen sums of row r from column c on: with those of the blocks before, to their place. */
INLINE void finish(const Block *b, int64_t r, int64_t c, __mmask16 there, __m512 v) {
    if (!b->is_first) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(there, b->sums + r * b->N + c));
    if (!b->is_last) {
        _mm512_mask_storeu_ps(b->sums + r * b->N + c, there, v);
        return;
    }
    const Target *to = b->to;
    const int64_t i = r * to->stride + c;
    if (to->factors) v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(there, to->factors + c));
    if (to->bias) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(there, to->bias + c));
    if (to->add) v = _mm512_add_ps(v, _mm512_maskz_loadu_ps(there, (const float *)to->numbers + i));
    if (to->format == FLOAT32) _mm512_mask_storeu_ps((float *)to->numbers + i, there, v);
    else _mm256_mask_storeu_epi16((uint16_t *)to->numbers + i, there, (__m256i)_mm512_cvtneps_pbh(v));
}

/* Where the numbers of a tile will go: fetched from memory while their sums are made. */
INLINE void fetch(const Block *b, int64_t r, int64_t c) {
    if (!b->is_last) return;
    const int64_t size = b->to->format == FLOAT32 ? 4 : 2;
    const char *at = (const char *)b->to->numbers + (r * b->to->stride + c) * size;
    for (int i = 0; i < ROWS && r + i < b->M; i++, at += b->to->stride * size) {
        __builtin_prefetch(at, 1);
        if (size == 4) __builtin_prefetch(at + LINE, 1);
    }
}

/* A panel (pairs, 12) times a strip (pairs, 32): rows from r on, columns from c on. */
static void tile(const Block *b, const int32_t *panel, const int32_t *strip, int64_t r, int64_t c) {
    fetch(b, r, c);
    __m512 sum[ROWS][2];
    sums_of_tile(panel, strip, b->pairs, sum);
    const Target *to = b->to;
    const int full = r + ROWS <= b->M && c + COLUMNS <= b->N && !to->bias && !to->factors;
    if (full && (!b->is_last || to->format == FLOAT32)) { /* most tiles, in a few instructions: sums in float32 */
        float *row = b->is_last ? (float *)to->numbers + r * to->stride + c : b->sums + r * b->N + c;
        const float *before = b->is_first ? row : b->sums + r * b->N + c;
        const int64_t stride = b->is_last ? to->stride : b->N;
        const __mmask16 known = b->is_first ? 0 : 0xffff, there = b->is_last && to->add ? 0xffff : 0;
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++, row += stride, before += b->N)
            for (int h = 0; h < 2; h++) {
                const __m512 v = _mm512_add_ps(sum[i][h], _mm512_maskz_loadu_ps(known, before + 16 * h));
                _mm512_storeu_ps(row + 16 * h, _mm512_add_ps(v, _mm512_maskz_loadu_ps(there, row + 16 * h)));
            }
        return;
    }
    if (full && b->is_first && to->format == BFLOAT16) { /* a number in bfloat16 */
        uint16_t *row = (uint16_t *)to->numbers + r * to->stride + c;
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++)
            _mm512_storeu_si512(row + i * to->stride, (__m512i)_mm512_cvtne2ps_pbh(sum[i][1], sum[i][0]));
        return;
    }
    const __mmask16 there = (__mmask16)first(b->N - c), more = (__mmask16)first(b->N - c - 16);
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++)
        if (r + i < b->M) {
            finish(b, r + i, c, there, sum[i][0]);
            finish(b, r + i, c + 16, more, sum[i][1]);
        }
}

/* `count` panels of the left, from row r on: the pairs from `pair` on, `some` of them. */
static void pack_left(const Block *b, int64_t r, int64_t count, int64_t pair, int64_t some, int32_t *to) {
    const Side *left = b->left;
    const int64_t k = b->k + 2 * pair, all = b->pairs;
    to += pair * ROWS;
    if (left->along)
        for (int64_t i = 0; i < count; i++) pack(left, k, some, r + i * ROWS, to + i * all * ROWS, ROWS);
    else if (left->format == FLOAT32) pack_panels(left, k, some, r, to, all, ROWS, count, FLOAT32);
    else if (left->format == BFLOAT16) pack_panels(left, k, some, r, to, all, ROWS, count, BFLOAT16);
    else pack_panels(left, k, some, r, to, all, ROWS, count, INT8);
}

/* Tasks are columns: their strips are laid out here, all panels are there. */
static void by_columns(const Block *b, int64_t from, const int32_t *panels, int32_t *strips) {
    const int64_t last = from + b->strips * COLUMNS < b->N ? from + b->strips * COLUMNS : b->N;
    for (int64_t c = from; c < last; c += COLUMNS)
        pack(b->right, b->k, b->pairs, c, strips + (c - from) * b->pairs, COLUMNS);
    const int64_t count = b->strips * COLUMNS, tiles = parts(b->M, ROWS) * b->strips;
    int64_t done = 0;
    for (int64_t r = 0; r < b->M; r += ROWS)
        for (int64_t c = from; c < last; c += COLUMNS) {
            foresee(b->right, b->k, b->pairs, from + b->threads * count, count, done++, tiles);
            tile(b, panels + r / ROWS * b->pairs * ROWS, strips + (c - from) * b->pairs, r, c);
        }
}

/* Tasks are rows: their panels are laid out here, all strips are there. */
static void by_rows(const Block *b, int64_t from, const int32_t *strips, int32_t *panels) {
    const int64_t last = from + b->panels * ROWS < b->M ? from + b->panels * ROWS : b->M;
    pack_left(b, from, parts(last - from, ROWS), 0, b->pairs, panels);
    const int64_t count = b->panels * ROWS, tiles = parts(b->N, COLUMNS) * b->panels;
    int64_t done = 0, next = from + b->threads * count, k = b->k;
    if (next >= b->M) { /* in the next block */
        next -= parts(b->M, count) * count;
        k += 2 * b->pairs;
    }
    for (int64_t c = 0; c < b->N; c += COLUMNS)
        for (int64_t r = from; r < last; r += ROWS) {
            foresee(b->left, k, b->pairs, next, count, done++, tiles);
            tile(b, panels + (r - from) / ROWS * b->pairs * ROWS, strips + c / COLUMNS * b->pairs * COLUMNS, r, c);
        }
}

/* All strips of the right, by all threads: whole rows one after another where k runs across them. */
static void pack_strips(const Block *b, int32_t *to) {
    if (b->right->along) {
#pragma omp for
        for (int64_t c = 0; c < b->N; c += COLUMNS)
            pack(b->right, b->k, b->pairs, c, to + c * b->pairs, COLUMNS);
        return;
    }
#pragma omp for
    for (int64_t p = 0; p < b->pairs; p += SOME_PAIRS) {
        const int64_t count = b->pairs - p < SOME_PAIRS ? b->pairs - p : SOME_PAIRS;
        for (int64_t c = 0; c < b->N; c += COLUMNS)
            pack(b->right, b->k + 2 * p, count, c, to + c * b->pairs + p * COLUMNS, COLUMNS);
    }
}

/* All panels of the left, by all threads, in the same way. */
static void pack_panels_of_all(const Block *b, int32_t *to) {
    const int64_t some = b->left->along ? b->pairs : SOME_PAIRS, rows = b->left->along ? ROWS : b->M;
#pragma omp for collapse(2)
    for (int64_t p = 0; p < b->pairs; p += some)
        for (int64_t from = 0; from < b->M; from += rows)
            for (int64_t r = from; r < b->M && r < from + rows; r += MOST_PANELS * ROWS) {
                const int64_t left = parts((from + rows < b->M ? from + rows : b->M) - r, ROWS);
                pack_left(b, r, left < MOST_PANELS ? left : MOST_PANELS, p, b->pairs - p < some ? b->pairs - p : some,
                          to + r * b->pairs);
            }
}

/* One block of k by all threads: `shared` for the smaller side, `own` for each thread's part of the other. */
static void block_product(const Block *b, int32_t *shared, int32_t *own) {
    if (b->M > b->N) {
        pack_strips(b, shared);
#pragma omp for schedule(dynamic)
        for (int64_t r = 0; r < b->M; r += b->panels * ROWS) by_rows(b, r, shared, own);
    } else {
        pack_panels_of_all(b, shared);
#pragma omp for schedule(dynamic)
        for (int64_t c = 0; c < b->N; c += b->strips * COLUMNS) by_columns(b, c, shared, own);
    }
}

/* How many of `all` make a task: as many as all threads can take several of, but not more than `most`. */
static int64_t share(int64_t all, int64_t threads, int64_t most) {
    const int64_t some = all / (threads * TASKS);
    return some < 1 ? 1 : some > most ? most : some;
}

/* left (M, K), right (K, N). Returns 0, or 1 where there is no memory for it. */
int tohum_matmul(const Side *left, const Side *right, const Target *to, int64_t M, int64_t N, int64_t K,
                 int64_t threads) {
    const int64_t pairs = parts(K < K_BLOCK ? K : K_BLOCK, 2), panels = parts(M, ROWS), strips = parts(N, COLUMNS);
    const int64_t high = share(panels, threads, MOST_PANELS), wide = share(strips, threads, MOST_STRIPS);
    const int64_t own_size = pairs * (M > N ? high * ROWS : wide * COLUMNS);
    int32_t *shared = keep(SHARED, 4 * pairs * (M > N ? strips * COLUMNS : panels * ROWS));
    int32_t *own = keep(OWN, 4 * own_size * threads);
    const int in_place = to->format == FLOAT32 && !to->add && to->stride == N && !to->bias && !to->factors;
    float *sums = K <= K_BLOCK ? NULL : in_place ? to->numbers : memory(4 * M * N);
    const int failed = !shared || !own || (K > K_BLOCK && !sums);
    if (!failed) {
#pragma omp parallel num_threads(threads)
        for (int64_t k = 0; k < K; k += K_BLOCK) {
            const int64_t last = K - k <= K_BLOCK;
            const Block b = {left, right, to, sums, M, N, k, last ? parts(K - k, 2) : pairs, high, wide,
                             threads, k == 0, last};
            block_product(&b, shared, own + own_size * omp_get_thread_num());
        }
    }
    if (!in_place) free(sums);
    return failed;
}
