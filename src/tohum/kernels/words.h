/* A table of words and how often each occurs. */

#pragma once
#include <stdint.h>
#include <stddef.h>

enum { PAGE = 1 << 20 };

typedef struct {
    uint64_t hash;
    int64_t times, bytes;
    uint8_t text[];
} Word;

typedef struct Page { /* words stand side by side in pages */
    struct Page *before;
    size_t size, used;
    uint8_t data[];
} Page;

typedef struct {
    const uint8_t *classes;
    int64_t pattern, count, slots;
    Word **table; /* (slots,), a power of two, at least half of it empty */
    Page *pages;
} Words;

static inline uint64_t mixed(uint64_t x) {
    x ^= x >> 32, x *= 0xD6E8FEB86659FD93u, x ^= x >> 32, x *= 0xD6E8FEB86659FD93u;
    return x ^ x >> 32;
}

static inline uint64_t hash_of(const uint8_t *text, int64_t bytes) {
    uint64_t hash = (uint64_t)bytes, part;
    for (; bytes >= 8; text += 8, bytes -= 8) {
        __builtin_memcpy(&part, text, 8);
        hash = mixed(hash ^ part);
    }
    part = 0;
    __builtin_memcpy(&part, text, (size_t)bytes);
    return mixed(hash ^ part);
}
