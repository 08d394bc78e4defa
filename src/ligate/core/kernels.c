/* The innermost loops, compiled when the package is installed on a machine with a C compiler.
 *
 * Each function gives exactly the bits of its torch counterpart in kernels.py, which runs where this file was not
 * compiled: every product and sum is rounded on its own (-ffp-contract=off), sums over models run in their order.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif

enum { TILE = 4096 }; /* elements that stay in the first-level cache while all models are visited */

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* bfloat16 -> float32; 1 when all are finite. */
FAST int32_t widen_bf16(const uint16_t *restrict from, float *restrict to, size_t n) {
    uint32_t broken = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)from[i] << 16;
        memcpy(&to[i], &bits, 4);
        broken |= (from[i] & 0x7f80u) == 0x7f80u;
    }
    return !broken;
}

/* float32 -> bfloat16, to nearest, ties to even, NaN to 0x7fc0; 1 when all results are finite. */
FAST int32_t narrow_bf16(const float *restrict from, uint16_t *restrict to, size_t n) {
    uint32_t broken = 0;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &from[i], 4);
        uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
        uint32_t half = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded;
        to[i] = (uint16_t)half;
        broken |= (half & 0x7f80u) == 0x7f80u;
    }
    return !broken;
}

/* out = sum_k weights[k] rows[k], in the order of k. */
#define WEIGHTED_SUM(NAME, REAL)                                                                               \
    FAST void NAME(const REAL *restrict rows, const REAL *restrict weights, REAL *restrict out, size_t models, \
                   size_t n) {                                                                                 \
        for (size_t start = 0; start < n; start += TILE) {                                                     \
            size_t size = smaller(TILE, n - start);                                                            \
            REAL *o = out + start;                                                                             \
            for (size_t i = 0; i < size; i++) o[i] = weights[0] * rows[start + i];                             \
            for (size_t k = 1; k < models; k++) {                                                              \
                const REAL *row = rows + k * n + start;                                                        \
                REAL weight = weights[k];                                                                      \
                for (size_t i = 0; i < size; i++) o[i] = o[i] + weight * row[i];                               \
            }                                                                                                  \
        }                                                                                                      \
    }
WEIGHTED_SUM(weighted_sum_f32, float)
WEIGHTED_SUM(weighted_sum_f64, double)

/* out = sum_k weights[k] (rows[k] - base), in the order of k. */
#define WEIGHTED_DELTAS(NAME, REAL)                                                                             \
    FAST void NAME(const REAL *restrict base, const REAL *restrict rows, const REAL *restrict weights,          \
                   REAL *restrict out, size_t models, size_t n) {                                               \
        for (size_t start = 0; start < n; start += TILE) {                                                      \
            size_t size = smaller(TILE, n - start);                                                             \
            const REAL *b = base + start;                                                                       \
            REAL *o = out + start;                                                                              \
            for (size_t i = 0; i < size; i++) o[i] = weights[0] * (rows[start + i] - b[i]);                     \
            for (size_t k = 1; k < models; k++) {                                                               \
                const REAL *row = rows + k * n + start;                                                         \
                REAL weight = weights[k];                                                                       \
                for (size_t i = 0; i < size; i++) o[i] = o[i] + weight * (row[i] - b[i]);                       \
            }                                                                                                   \
        }                                                                                                       \
    }
WEIGHTED_DELTAS(weighted_deltas_f32, float)
WEIGHTED_DELTAS(weighted_deltas_f64, double)
