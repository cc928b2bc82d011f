/* Matrices times a few vectors, at the speed at which memory gives the matrices, by threads that wait for nobody. */

#include <omp.h>
#include <sched.h>
#include <stdatomic.h>
#include "bytes.h"

typedef struct {          /* y = W x + bias */
    const void *weight;   /* (out, in) numbers of `format`; NULL: no such matrix */
    const float *factors; /* (out,) of bytes: row o is factors[o] * weight[o]; else NULL */
    const float *bias;    /* (out,) or NULL */
    int64_t out, in, format;
} Matrix;

typedef struct { /* what is done together: chunks that are taken one by one, and the number of those that are done */
    _Alignas(64) _Atomic int64_t taken, done;
} Stage;

enum {
    FEW = 16,                        /* tokens whose vectors stay in the nearest cache */
    CHUNK_BYTES = 262144, CHUNKS = 2 /* of a matrix: the most of one, and how many there are for each thread */
};

/* The next chunk of a thread's stage; -1 when all are done, and the thread goes on to the next stage.

   Nobody waits for a thread, only for chunks: one that the system has put aside for another process comes back, finds
   its stage done, and catches up, while the others went on. */
static int64_t next_chunk(Stage **stage, int64_t chunks, int64_t last) {
    Stage *s = *stage;
    if (last >= 0) atomic_fetch_add_explicit(&s->done, 1, memory_order_release);
    int64_t chunk = atomic_load_explicit(&s->taken, memory_order_relaxed);
    if (chunk < chunks) chunk = atomic_fetch_add_explicit(&s->taken, 1, memory_order_relaxed);
    if (chunk < chunks) return chunk;
    for (int64_t turns = 1; atomic_load_explicit(&s->done, memory_order_acquire) < chunks; turns++)
        if (turns % 2048 == 0) sched_yield();
    ++*stage;
    return -1;
}
#define FOR_CHUNKS(c, chunks, stage) \
    for (int64_t c = -1, all_ = (chunks); (c = next_chunk(stage, all_, c)) >= 0;)

/* Bytes by which a row is asked for ahead of its use. The processor foresees streams, not the end of a page, and while it
   computes for many vectors it foresees too little; for one or two in float32 it needs no help. */
#define AHEAD(R, format) ((R) > 2 ? 4096 : (format) == FLOAT32 ? 0 : 1024)

/* R vectors, from token t on, times N rows of a matrix, o, o + far, ...: N * in numbers read once, 2 R N in operations.

   One sum of LANES lanes for each result, whatever R and N, so that its rounding does not depend on the company; R * N
   of them hide the latency of multiply-add, and N streams from memory that of the memory. */
INLINE void sums_of(const Matrix *m, const Vectors *v, int64_t t, float *made, int64_t o, int64_t far, const int R,
                    const int N, const int format) {
    vec sum[8] = {{0}};
    const char *w = (const char *)m->weight + o * m->in * SIZE[format];
    const float *x = v->x + t * m->in;
    const int64_t stride = far * m->in * SIZE[format];
    for (int64_t k = 0; k < m->in; k += LANES) {
        vec numbers[4];
        for (int n = 0; n < N; n++) {
            numbers[n] = load(w + n * stride, k, format);
            if (AHEAD(R, format)) __builtin_prefetch(w + n * stride + k * SIZE[format] + AHEAD(R, format));
        }
        for (int n = 0; n < N; n++)
            for (int r = 0; r < R; r++)
                sum[n * R + r] = fused(numbers[n], load(x + r * m->in, k, FLOAT32), sum[n * R + r]);
    }
    totals(sum, made);
}

/* The same of bytes, 2 LANES at a time from k on; `last`: LANES are left. */
INLINE void add_bytes(const int8_t *w, int64_t stride, const int16_t *x, int64_t wide, int64_t k, ivec sum[8],
                      const int R, const int N, const int last) {
    words numbers[4];
    for (int n = 0; n < N; n++) {
        numbers[n] = widened(w + n * stride + k, last);
        __builtin_prefetch(w + n * stride + k + AHEAD(R, INT8));
    }
    for (int n = 0; n < N; n++)
        for (int r = 0; r < R; r++)
            sum[n * R + r] = dot(sum[n * R + r], numbers[n], *(const loose_words *)(x + r * wide + k));
}

INLINE void sums_of_bytes(const Matrix *m, const Vectors *v, int64_t t, float *made, int64_t o, int64_t far,
                          const int R, const int N) {
    ivec sum[8] = {{0}};
    vec exact[8];
    const int8_t *w = (const int8_t *)m->weight + o * m->in;
    const int64_t wide = padded(m->in), stride = far * m->in;
    const int16_t *x = v->whole + t * wide;
    int64_t k = 0;
    for (; k + TWICE <= m->in; k += TWICE) add_bytes(w, stride, x, wide, k, sum, R, N, 0);
    if (k < m->in) add_bytes(w, stride, x, wide, k, sum, R, N, 1);
    for (int i = 0; i < 8; i++) exact[i] = __builtin_convertvector(sum[i], vec);
    totals(exact, made);
    for (int i = 0; i < N * R; i++) made[i] *= v->scale[t + i % R];
}

INLINE void products(const Matrix *m, const Vectors *v, int64_t t, float *y, int64_t o, int64_t far, const int R,
                     const int N, const int format) {
    float made[8];
    if (format == INT8) sums_of_bytes(m, v, t, made, o, far, R, N);
    else sums_of(m, v, t, made, o, far, R, N, format);
    for (int n = 0; n < N; n++, o += far)
        for (int r = 0; r < R; r++) {
            const float result = made[n * R + r] * (m->factors ? m->factors[o] : 1.0f);
            y[(t + r) * m->out + o] = m->bias ? result + m->bias[o] : result;
        }
}

/* R tokens from t on, all `count` rows from o on: N at a time, far apart, and one by one what is left. */
INLINE void rows_of(const Matrix *m, const Vectors *v, int64_t t, float *y, int64_t o, int64_t count, const int R,
                    const int N, const int format) {
    const int64_t far = count / N, last = o + count;
    for (int64_t i = o; i < o + far; i++) products(m, v, t, y, i, far, R, N, format);
    for (int64_t i = o + far * N; i < last; i++) products(m, v, t, y, i, 0, R, 1, format);
}

/* Rows `first` to `last` - 1 of y (N, out) = W x, for x (N, in): eight tokens at a time, then four, two and one. A row
   stays in the nearest cache until all of a few tokens have met it; eight of many meet eight rows. */
INLINE void part(const Matrix *m, const Vectors *v, float *y, int64_t tokens, int64_t first, int64_t last,
                 const int format) {
    const int64_t eights = tokens / 8 * 8, block = tokens > FEW ? 8 : 1, count = last - first;
    for (int64_t o = first; o < last; o += block)
        for (int64_t t = 0; t < eights; t += 8)
            rows_of(m, v, t, y, o, last - o < block ? last - o : block, 8, 1, format);
    if (tokens & 4) rows_of(m, v, eights, y, first, count, 4, 2, format);
    if (tokens & 2) rows_of(m, v, eights + (tokens & 4), y, first, count, 2, 4, format);
    if (tokens & 1) rows_of(m, v, tokens - 1, y, first, count, 1, 4, format);
}

/* Few chunks are long streams from memory, many keep all threads busy to the end. */
static int64_t rows_per_chunk(const Matrix *m) {
    const int64_t most = CHUNK_BYTES / (m->in * SIZE[m->format]), share = m->out / (omp_get_num_threads() * CHUNKS);
    const int64_t rows = (share < most ? share : most) / LANES * LANES;
    return rows < LANES ? LANES : rows;
}

static int64_t chunks_of(const Matrix *m) { return (m->out + rows_per_chunk(m) - 1) / rows_per_chunk(m); }

/* One chunk of y (N, out) = W x. */
static void product(const Matrix *m, const Vectors *v, float *y, int64_t tokens, int64_t chunk) {
    const int64_t rows = rows_per_chunk(m), first = chunk * rows, last = first + rows < m->out ? first + rows : m->out;
    if (m->format == FLOAT32) part(m, v, y, tokens, first, last, FLOAT32);
    else if (m->format == BFLOAT16) part(m, v, y, tokens, first, last, BFLOAT16);
    else if (m->format == FLOAT16) part(m, v, y, tokens, first, last, FLOAT16);
    else part(m, v, y, tokens, first, last, INT8);
}
