/* A panel (pairs, 12) times a strip (pairs, 32), both as pack.h lays them out -> 12 x 32 sums in float32.

   The sums are 24 vectors, which stay in registers along k; with two vectors of the strip and one number of the panel
   that makes 27 of 32. Also memory that a thread keeps for its next call. */

#include <stdlib.h>
#include "pack.h"

enum { ROWS = 12, COLUMNS = 32, LINE = 64 };

static int64_t parts(int64_t x, int64_t size) { return (x + size - 1) / size; }

INLINE void sums_of_tile(const int32_t *panel, const int32_t *strip, int64_t pairs, __m512 sum[ROWS][2]) {
#pragma GCC unroll 12
    for (int i = 0; i < ROWS; i++) sum[i][0] = sum[i][1] = _mm512_setzero_ps();
    for (int64_t k = 0; k < pairs; k++, panel += ROWS, strip += COLUMNS) {
        const __m512bh one = (__m512bh)_mm512_loadu_si512(strip), other = (__m512bh)_mm512_loadu_si512(strip + 16);
#pragma GCC unroll 12
        for (int i = 0; i < ROWS; i++) {
            const __m512bh pair = (__m512bh)_mm512_set1_epi32(panel[i]);
            sum[i][0] = _mm512_dpbf16_ps(sum[i][0], pair, one);
            sum[i][1] = _mm512_dpbf16_ps(sum[i][1], pair, other);
        }
    }
}

static void *memory(int64_t bytes) { return aligned_alloc(LINE, parts(bytes, LINE) * LINE); }

/* What a thread keeps for its next call, for good (few threads multiply): given back each time, it would come to lie
   apart between other things. */
enum { SHARED, OWN };
static _Thread_local struct {
    void *memory;
    int64_t bytes;
} kept[2];

static void *keep(int which, int64_t bytes) {
    if (kept[which].bytes < bytes) {
        free(kept[which].memory);
        kept[which].memory = memory(bytes);
        kept[which].bytes = kept[which].memory ? bytes : 0;
    }
    return kept[which].memory;
}
