/* Few tokens through transformer blocks: vectors (N, D) and a key/value cache -> vectors (N, D), in one call.

   A step of decoding multiplies every matrix with a few vectors, so it takes as long as reading the matrices once:

       bytes of a step   all matrices once + 2 G E numbers per cached token and layer
       arithmetic        2 N per number of a matrix + 4 H E per token and cached token

   torch's kernels read at half of the memory's speed here, and calling them costs as much again. The threads of one team
   pass through all layers. Every number comes from one thread by a sum in one order, whatever N and the number of
   threads: a token's vector has the same bits alone and in company.

   Widths of heads, D and F are multiples of eight. Every matrix is (out, in), as torch.nn.Linear has it. */

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <omp.h>
#include "vectors.h"

typedef struct {          /* y = W x + bias */
    const void *weight;   /* (out, in) numbers of `format`; NULL: no such matrix */
    const float *factors; /* (out,) of bytes: row o is factors[o] * weight[o]; else NULL */
    const float *bias;    /* (out,) or NULL */
    int64_t out, in, format;
} Matrix;

typedef struct {                /* of vectors (width,); weight NULL: nothing is done */
    const float *weight, *bias; /* bias: of LayerNorm, or NULL */
    int64_t width, centred;     /* centred: LayerNorm, else RMSNorm */
    double eps;
} Norm;

typedef struct {
    Norm attention_norm, query_norm, key_norm, attention_post_norm, feed_forward_norm, feed_forward_post_norm;
    Matrix query, key, value, output, gate, up, down; /* gate: of gated kinds; no up: the caller does that half */
    const float *cosines, *sines;                     /* (context, E / 2), or NULL: no rotation */
    void *keys, *values;                              /* (texts, slots + 1, G, E) numbers of `stored` */
    int64_t slots, stored, heads, kv_heads, head_width, kind;
    double scale, soft_cap; /* of the scores; soft_cap 0: none */
} Block;

typedef struct {              /* N tokens of a pass, in the order of their positions within each text */
    const int64_t *text, *position; /* (N,) row of the cache, place in the text */
    int64_t tokens, width, longest, threads; /* N, D, largest position + 1 */
} Pass;

typedef struct { /* what is done together: chunks that are taken one by one, and the number of those that are done */
    _Alignas(64) _Atomic int64_t taken, done;
} Stage;

typedef struct { /* one thread, and memory that all share */
    Stage *stage; /* where this thread is */
    int64_t number;
    float *normed, *query, *key, *value, *context, *added, *hidden, *scores;
} Thread;

enum {
    LINE = 16,           /* floats of a cache line */
    FEW = 16,            /* tokens whose vectors stay in the nearest cache */
    CHUNK_BYTES = 65536, /* of a matrix */
    STAGES = 10          /* of a block, at most */
};

/* The next chunk of this thread's stage; -1 when all are done, and the thread goes on to the next stage.

   Nobody waits for a thread, only for chunks: one that the system has put aside for another process comes back, finds
   its stage done, and catches up, while the others went on. */
static int64_t next_chunk(Thread *t, int64_t chunks, int64_t last) {
    Stage *s = t->stage;
    if (last >= 0) atomic_fetch_add_explicit(&s->done, 1, memory_order_release);
    int64_t chunk = atomic_load_explicit(&s->taken, memory_order_relaxed);
    if (chunk < chunks) chunk = atomic_fetch_add_explicit(&s->taken, 1, memory_order_relaxed);
    if (chunk < chunks) return chunk;
    for (int64_t turns = 1; atomic_load_explicit(&s->done, memory_order_acquire) < chunks; turns++)
        if (turns % 2048 == 0) sched_yield();
    t->stage++;
    return -1;
}
#define FOR_CHUNKS(c, chunks, t) \
    for (int64_t c = -1, all_ = (chunks); (c = next_chunk(t, all_, c)) >= 0;)

static int64_t scores_of(const Pass *p) { return p->longest + 2 * LINE - p->longest % LINE; } /* of each thread */

/* R vectors times N rows of a matrix, o, o + far, ...: N * in numbers read once, 2 R N in operations.

   One sum of eight lanes for each result, whatever R and N, so that its rounding does not depend on the company; R * N
   of them hide the latency of multiply-add, and N streams from memory that of the memory. */
INLINE void products(const Matrix *m, const float *x, float *y, int64_t o, int64_t far, const int R, const int N,
                     const int format) {
    vec sum[8] = {{0}};
    const char *w = (const char *)m->weight + o * m->in * SIZE[format];
    const int64_t stride = far * m->in * SIZE[format];
    for (int64_t k = 0; k < m->in; k += LANES)
        for (int n = 0; n < N; n++) {
            const vec numbers = load(w + n * stride, k, format);
            for (int r = 0; r < R; r++) sum[n * R + r] += numbers * load(x + r * m->in, k, FLOAT32);
        }
    for (int n = 0; n < N; n++, o += far)
        for (int r = 0; r < R; r++) {
            const float result = total(sum[n * R + r]) * (m->factors ? m->factors[o] : 1.0f);
            y[r * m->out + o] = m->bias ? result + m->bias[o] : result;
        }
}

/* R tokens, all `count` rows from o on: N at a time, far apart, and one by one what is left. */
INLINE void rows_of(const Matrix *m, const float *x, float *y, int64_t o, int64_t count, const int R, const int N,
                    const int format) {
    const int64_t far = count / N, last = o + count;
    for (int64_t i = o; i < o + far; i++) products(m, x, y, i, far, R, N, format);
    for (int64_t i = o + far * N; i < last; i++) products(m, x, y, i, 0, R, 1, format);
}

/* Rows `first` to `last` - 1 of y (N, out) = W x, for x (N, in): eight tokens at a time, then four, two and one. A row
   stays in the nearest cache until all of a few tokens have met it; eight of many meet eight rows. */
INLINE void part(const Matrix *m, const float *x, float *y, int64_t tokens, int64_t first, int64_t last,
                 const int format) {
    const int64_t eights = tokens / 8 * 8, block = tokens > FEW ? 8 : 1;
    for (int64_t o = first; o < last; o += block)
        for (int64_t t = 0; t < eights; t += 8)
            rows_of(m, x + t * m->in, y + t * m->out, o, last - o < block ? last - o : block, 8, 1, format);
    x += eights * m->in, y += eights * m->out;
    if (tokens & 4) rows_of(m, x, y, first, last - first, 4, 2, format), x += 4 * m->in, y += 4 * m->out;
    if (tokens & 2) rows_of(m, x, y, first, last - first, 2, 4, format), x += 2 * m->in, y += 2 * m->out;
    if (tokens & 1) rows_of(m, x, y, first, last - first, 1, 4, format);
}

static int64_t rows_per_chunk(const Matrix *m) {
    const int64_t rows = CHUNK_BYTES / (m->in * SIZE[m->format]) / LANES * LANES;
    return rows < LANES ? LANES : rows;
}

static int64_t chunks_of(const Matrix *m) { return (m->out + rows_per_chunk(m) - 1) / rows_per_chunk(m); }

/* One chunk of y (N, out) = W x. */
static void product(const Matrix *m, const float *x, float *y, int64_t tokens, int64_t chunk) {
    const int64_t rows = rows_per_chunk(m), first = chunk * rows, last = first + rows < m->out ? first + rows : m->out;
    if (m->format == FLOAT32) part(m, x, y, tokens, first, last, FLOAT32);
    else if (m->format == BFLOAT16) part(m, x, y, tokens, first, last, BFLOAT16);
    else if (m->format == FLOAT16) part(m, x, y, tokens, first, last, FLOAT16);
    else part(m, x, y, tokens, first, last, INT8);
}

/* One vector, or several side by side: (x - mean) / sqrt(mean of squares + eps) * weight + bias, RMSNorm without mean. */
static void norm(const Norm *n, const float *x, float *y, int64_t count) {
    for (int64_t start = 0; start < count; start += n->width) {
        const float *a = x + start;
        vec sum = {0}, squares = {0};
        if (n->centred) for (int64_t i = 0; i < n->width; i += LANES) sum += load(a, i, FLOAT32);
        const float mean = total(sum) / n->width;
        for (int64_t i = 0; i < n->width; i += LANES) {
            vec v = load(a, i, FLOAT32) - mean;
            squares += v * v;
        }
        const float scale = 1.0f / sqrtf(total(squares) / n->width + (float)n->eps);
        for (int64_t i = 0; i < n->width; i += LANES) {
            vec v = (load(a, i, FLOAT32) - mean) * scale * load(n->weight, i, FLOAT32);
            store(y + start, i, n->bias ? v + load(n->bias, i, FLOAT32) : v);
        }
    }
}

/* The stream, or its norm where there is one. */
static const float *before(const Norm *n, const float *x, const Pass *p, Thread *t) {
    if (!n->weight) return x;
    FOR_CHUNKS(i, p->tokens, t) norm(n, x + i * p->width, t->normed + i * p->width, p->width);
    return t->normed;
}

/* x += W y, or its norm. */
static void after(const Matrix *m, const Norm *n, const float *y, float *x, const Pass *p, Thread *t) {
    FOR_CHUNKS(c, chunks_of(m), t) product(m, y, t->added, p->tokens, c);
    FOR_CHUNKS(i, p->tokens, t) {
        float *made = t->added + i * p->width, *to = x + i * p->width;
        if (n->weight) norm(n, made, made, p->width);
        for (int64_t k = 0; k < p->width; k += LANES) store(to, k, load(to, k, FLOAT32) + load(made, k, FLOAT32));
    }
}

/* Turn the pairs (i, i + E/2) of every head by the angles of a position (embedding/rotary.py). */
static void rotate(const Block *b, float *x, int64_t heads, int64_t position) {
    const int64_t half = b->head_width / 2;
    const float *c = b->cosines + position * half, *s = b->sines + position * half;
    for (float *a = x; a < x + heads * b->head_width; a += b->head_width)
        for (int64_t i = 0; i < half; i++) {
            float first = a[i], second = a[half + i];
            a[i] = first * c[i] - second * s[i];
            a[half + i] = second * c[i] + first * s[i];
        }
}

/* Norms and rotation of one token's queries and keys; keys and values go to their slot of the cache. */
static void place(const Block *b, const Pass *p, const Thread *t, int64_t i) {
    const int64_t wide = b->heads * b->head_width, held = b->kv_heads * b->head_width, position = p->position[i];
    float *query = t->query + i * wide, *key = t->key + i * held;
    if (b->query_norm.weight) {
        norm(&b->query_norm, query, query, wide);
        norm(&b->key_norm, key, key, held);
    }
    if (b->cosines) {
        rotate(b, query, b->heads, position);
        rotate(b, key, b->kv_heads, position);
    }
    const int64_t slot = (p->text[i] * (b->slots + 1) + position % b->slots) * held;
    for (int64_t k = 0; k < held; k++) {
        store_number(b->keys, slot + k, key[k], b->stored);
        store_number(b->values, slot + k, t->value[i * held + k], b->stored);
    }
}

/* One head of one token reads the newest `slots` tokens up to its own: 4 E operations and 2 E numbers for each. */
INLINE void attend_in(const Block *b, const Pass *p, const Thread *t, int64_t i, int64_t head, const int format) {
    const int64_t E = b->head_width, held = b->kv_heads * E, position = p->position[i];
    const int64_t first = position < b->slots ? 0 : position - b->slots + 1, count = position - first + 1;
    const int64_t text = p->text[i] * (b->slots + 1) * held + head / (b->heads / b->kv_heads) * E;
    const float *query = t->query + (i * b->heads + head) * E;
    float *scores = t->scores + t->number * scores_of(p), *context = t->context + (i * b->heads + head) * E;
    float largest = -INFINITY;
    for (int64_t j = 0; j < count; j++) {
        const int64_t key = text + (first + j) % b->slots * held;
        vec sum = {0};
        for (int64_t k = 0; k < E; k += LANES) sum += load(query, k, FLOAT32) * load(b->keys, key + k, format);
        float score = total(sum) * (float)b->scale;
        if (b->soft_cap) score = (float)b->soft_cap * tanhf(score / (float)b->soft_cap);
        scores[j] = score;
        largest = score > largest ? score : largest;
    }
    for (int64_t j = count; j < count + LANES; j++) scores[j] = -INFINITY;
    vec sum = {0};
    for (int64_t j = 0; j < count; j += LANES) {
        vec weight = exponential(load(scores, j, FLOAT32) - largest);
        store(scores, j, weight);
        sum += weight;
    }
    const float whole = 1.0f / total(sum);
    memset(context, 0, E * sizeof(float));
    for (int64_t j = 0; j < count; j++) {
        const int64_t value = text + (first + j) % b->slots * held;
        const vec weight = all(scores[j] * whole);
        for (int64_t k = 0; k < E; k += LANES)
            store(context, k, load(context, k, FLOAT32) + weight * load(b->values, value + k, format));
    }
}

/* x += attention(x). */
static void attention_half(const Block *b, float *x, const Pass *p, Thread *t) {
    const float *normed = before(&b->attention_norm, x, p, t);
    const int64_t queries = chunks_of(&b->query), keys = chunks_of(&b->key);
    FOR_CHUNKS(c, queries + 2 * keys, t) {
        if (c < queries) product(&b->query, normed, t->query, p->tokens, c);
        else if (c < queries + keys) product(&b->key, normed, t->key, p->tokens, c - queries);
        else product(&b->value, normed, t->value, p->tokens, c - queries - keys);
    }
    FOR_CHUNKS(i, p->tokens, t) place(b, p, t, i);
    FOR_CHUNKS(n, p->tokens * b->heads, t) {
        const int64_t i = n / b->heads, head = n % b->heads;
        if (b->stored == FLOAT32) attend_in(b, p, t, i, head, FLOAT32);
        else if (b->stored == BFLOAT16) attend_in(b, p, t, i, head, BFLOAT16);
        else attend_in(b, p, t, i, head, FLOAT16);
    }
    after(&b->output, &b->attention_post_norm, t->context, x, p, t);
}

/* x += down(act(gate(x)) * up(x)), or down(act(up(x))). */
static void feed_forward_half(const Block *b, float *x, const Pass *p, Thread *t) {
    const float *normed = before(&b->feed_forward_norm, x, p, t);
    const int64_t F = b->up.out, rows = rows_per_chunk(&b->up);
    float *up = t->hidden, *gate = b->gate.weight ? t->hidden + p->tokens * F : up;
    FOR_CHUNKS(c, chunks_of(&b->up), t) {
        product(&b->up, normed, up, p->tokens, c);
        if (b->gate.weight) product(&b->gate, normed, gate, p->tokens, c);
        const int64_t first = c * rows, last = first + rows < F ? first + rows : F;
        for (int64_t i = 0; i < p->tokens; i++)
            for (int64_t k = i * F + first; k < i * F + last; k += LANES) {
                const vec v = activate(load(gate, k, FLOAT32), b->kind);
                store(up, k, b->gate.weight ? v * load(up, k, FLOAT32) : v);
            }
    }
    after(&b->down, &b->feed_forward_post_norm, up, x, p, t);
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

/* Cut working memory into the parts of `t`; for NULL nothing is set. Returns the floats that are needed. */
static int64_t lay_out(const Block *blocks, int64_t count, const Pass *p, float *memory, Thread *t) {
    int64_t wide = 0, held = 0, F = 0, used = 0;
    for (const Block *b = blocks; b < blocks + count; b++) {
        wide = larger(wide, b->heads * b->head_width);
        held = larger(held, b->kv_heads * b->head_width);
        F = larger(F, b->up.out);
    }
    float **parts[] = {&t->normed, &t->added, &t->query, &t->context, &t->key, &t->value, &t->hidden, &t->scores};
    const int64_t floats[] = {p->width, p->width, wide, wide, held, held, 2 * F};
    for (int i = 0; i < 8; i++) {
        if (memory) *parts[i] = memory + used;
        used += i < 7 ? p->tokens * floats[i] + LINE - p->tokens * floats[i] % LINE : p->threads * scores_of(p);
    }
    return used;
}

/* x (N, D) through all blocks, in place. Returns 0, or 1 where there is no memory for it. */
int tohum_blocks(const Block *blocks, int64_t count, const Pass *p, float *x) {
    Thread none;
    const int64_t floats = lay_out(blocks, count, p, NULL, &none);
    float *memory = aligned_alloc(4 * LINE, (floats + LINE - floats % LINE) * 4);
    Stage *stages = aligned_alloc(sizeof(Stage), count * STAGES * sizeof(Stage));
    const int failed = !memory || !stages;
    if (!failed) {
        memset(stages, 0, count * STAGES * sizeof(Stage));
#pragma omp parallel num_threads(p->threads)
        {
            Thread t = {.stage = stages, .number = omp_get_thread_num()};
            lay_out(blocks, count, p, memory, &t);
            for (const Block *b = blocks; b < blocks + count; b++) {
                attention_half(b, x, p, &t);
                if (b->up.weight) feed_forward_half(b, x, p, &t);
            }
        }
    }
    free(memory);
    free(stages);
    return failed;
}

/* x (N, D) -> its norm y (N, D). */
void tohum_norm(const Norm *n, const Pass *p, const float *x, float *y) {
    for (int64_t i = 0; i < p->tokens; i++) norm(n, x + i * p->width, y + i * p->width, p->width);
}

/* x (N, in) -> y (N, out) = W x + bias. */
void tohum_linear(const Matrix *m, const Pass *p, const float *x, float *y) {
    Stage stage = {0};
#pragma omp parallel num_threads(p->threads)
    {
        Thread t = {.stage = &stage};
        FOR_CHUNKS(c, chunks_of(m), &t) product(m, x, y, p->tokens, c);
    }
}
