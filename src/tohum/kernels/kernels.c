/* Few tokens through transformer blocks: vectors (N, D) and a key/value cache -> vectors (N, D), in one call.

   A step of decoding multiplies every matrix with a few vectors, so it takes as long as reading the matrices once:

       bytes of a step   all matrices once + 2 G E numbers per cached token and layer
       arithmetic        2 N per number of a matrix + 4 H E per token and cached token

   torch's kernels read at half of the memory's speed here, and calling them costs as much again. The threads of one
   team pass through all layers. Every number comes from one thread by a sum in one order, whatever N and the number of
   threads: a token's vector has the same bits alone and in company.

   Widths of heads, D and F are multiples of LANES. Every matrix is (out, in), as torch.nn.Linear has it. */

#include <stdlib.h>
#include <omp.h>
#include "products.h"

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

typedef struct { /* one thread, and memory that all share */
    Stage *stage; /* where this thread is */
    int64_t number;
    float *normed, *query, *key, *value, *context, *added, *hidden, *scores, *whole; /* scores: of each thread */
} Thread;

enum { LINE = 16, STAGES = 14 }; /* floats of a cache line; stages of a block, at most */

static int64_t scores_of(const Pass *p) { return p->longest + 2 * LINE - p->longest % LINE; } /* of each thread */

/* One vector, or several side by side: (x - mean) / sqrt(mean of squares + eps) * weight + bias; RMSNorm: mean 0. */
static void norm(const Norm *n, const float *x, float *y, int64_t count) {
    for (int64_t start = 0; start < count; start += n->width) {
        const float *a = x + start;
        vec sum = {0}, squares = {0};
        if (n->centred) for (int64_t i = 0; i < n->width; i += LANES) sum += load(a, i, FLOAT32);
        const float mean = total(sum) / n->width;
        for (int64_t i = 0; i < n->width; i += LANES) {
            vec v = load(a, i, FLOAT32) - mean;
            squares = fused(v, v, squares);
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
    FOR_CHUNKS(i, p->tokens, &t->stage) norm(n, x + i * p->width, t->normed + i * p->width, p->width);
    return t->normed;
}

/* x (N, in) for matrices of which some may be of bytes. A few vectors become whole numbers in every thread, which takes
   less time than waiting for another; of many each thread makes some. */
static Vectors ready(const float *x, int64_t in, int has_bytes, const Pass *p, Thread *t) {
    if (!has_bytes) return (Vectors){x};
    const Vectors v = vectors_in(t->whole, x, in, p->tokens);
    if (p->tokens <= FEW) for (int64_t i = 0; i < p->tokens; i++) make_whole(&v, in, i);
    else FOR_CHUNKS(i, p->tokens, &t->stage) make_whole(&v, in, i);
    return v;
}

/* x += W y, or its norm. */
static void after(const Matrix *m, const Norm *n, const float *y, float *x, const Pass *p, Thread *t) {
    const Vectors v = ready(y, m->in, m->format == INT8, p, t);
    FOR_CHUNKS(c, chunks_of(m), &t->stage) product(m, &v, t->added, p->tokens, c);
    FOR_CHUNKS(i, p->tokens, &t->stage) {
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
        for (int64_t k = 0; k < E; k += LANES)
            sum = fused(load(query, k, FLOAT32), load(b->keys, key + k, format), sum);
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
            store(context, k, fused(weight, load(b->values, value + k, format), load(context, k, FLOAT32)));
    }
}

/* x += attention(x). */
static void attention_half(const Block *b, float *x, const Pass *p, Thread *t) {
    const float *normed = before(&b->attention_norm, x, p, t);
    const int64_t queries = chunks_of(&b->query), keys = chunks_of(&b->key);
    const int has_bytes = b->query.format == INT8 || b->key.format == INT8 || b->value.format == INT8;
    const Vectors v = ready(normed, p->width, has_bytes, p, t);
    FOR_CHUNKS(c, queries + 2 * keys, &t->stage) {
        if (c < queries) product(&b->query, &v, t->query, p->tokens, c);
        else if (c < queries + keys) product(&b->key, &v, t->key, p->tokens, c - queries);
        else product(&b->value, &v, t->value, p->tokens, c - queries - keys);
    }
    FOR_CHUNKS(i, p->tokens, &t->stage) place(b, p, t, i);
    FOR_CHUNKS(n, p->tokens * b->heads, &t->stage) {
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
    const int has_bytes = b->up.format == INT8 || (b->gate.weight && b->gate.format == INT8);
    const Vectors v = ready(normed, p->width, has_bytes, p, t);
    FOR_CHUNKS(c, chunks_of(&b->up), &t->stage) {
        product(&b->up, &v, up, p->tokens, c);
        if (b->gate.weight) product(&b->gate, &v, gate, p->tokens, c);
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
static int64_t lines(int64_t floats) { return floats + LINE - floats % LINE; }

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
        used += i < 7 ? lines(p->tokens * floats[i]) : p->threads * scores_of(p);
    }
    const int64_t whole = lines(floats_of_whole(larger(larger(p->width, wide), F), p->tokens));
    const int64_t copies = p->tokens <= FEW ? p->threads : 1;
    if (memory) t->whole = memory + used + (copies > 1 ? t->number * whole : 0);
    return used + copies * whole;
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

/* x (N, in) -> y (N, out) = W x + bias. Returns 0, or 1 where there is no memory for it. */
int tohum_linear(const Matrix *m, const Pass *p, const float *x, float *y) {
    const int64_t floats = lines(floats_of_whole(m->in, p->tokens));
    float *memory = m->format == INT8 ? aligned_alloc(4 * LINE, floats * sizeof(float)) : NULL;
    if (m->format == INT8 && !memory) return 1;
    const Vectors v = memory ? vectors_in(memory, x, m->in, p->tokens) : (Vectors){x};
    for (int64_t i = 0; memory && i < p->tokens; i++) make_whole(&v, m->in, i);
    Stage stage = {0};
#pragma omp parallel num_threads(p->threads)
    {
        Stage *at = &stage;
        FOR_CHUNKS(c, chunks_of(m), &at) product(m, &v, y, p->tokens, c);
    }
    free(memory);
    return 0;
}
