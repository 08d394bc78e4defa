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

enum { TILE = 4096, STEP = 512 }; /* elements whose counts or float64 sums stay in the first-level cache */

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

/* float64 -> float32, to nearest, but what is not exact ends in an odd bit: rounding it again to 16 bits then gives what
 * rounding once would have given. */
FAST void narrow_odd(const double *restrict from, float *restrict to, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = from[i], size = x < 0 ? -x : x;
        float near = (float)x;
        double back = near, back_size = back < 0 ? -back : back;
        uint32_t bits;
        memcpy(&bits, &near, 4);
        bits -= back_size > size;
        bits |= back != x;
        memcpy(&to[i], &bits, 4);
    }
}

/* out = (sum_k weights[k] rows[k]) / divisor, in the order of k; in float64, rounded once. */
#define WEIGHTED_SUM(NAME, REAL)                                                                                \
    FAST void NAME(const REAL *restrict rows, const double *restrict weights, double divisor,                   \
                   REAL *restrict out, size_t models, size_t n) {                                               \
        double sum[STEP];                                                                                       \
        for (size_t start = 0; start < n; start += STEP) {                                                      \
            size_t size = smaller(STEP, n - start);                                                             \
            for (size_t i = 0; i < size; i++) sum[i] = weights[0] * (double)rows[start + i];                    \
            for (size_t k = 1; k < models; k++) {                                                               \
                const REAL *row = rows + k * n + start;                                                         \
                double weight = weights[k];                                                                     \
                for (size_t i = 0; i < size; i++) sum[i] = sum[i] + weight * (double)row[i];                    \
            }                                                                                                   \
            if (divisor == 1)                                                                                   \
                for (size_t i = 0; i < size; i++) out[start + i] = (REAL)sum[i];                                \
            else                                                                                                \
                for (size_t i = 0; i < size; i++) out[start + i] = (REAL)(sum[i] / divisor);                    \
        }                                                                                                       \
    }
WEIGHTED_SUM(weighted_sum_f32, float)
WEIGHTED_SUM(weighted_sum_f64, double)

/* The same from and to bfloat16: rounded to float32, then to 16 bits, as the two steps would; 1 when all numbers are
 * finite. */
FAST int32_t combine_bf16(const uint16_t *const *rows, const double *weights, double divisor, uint16_t *restrict out,
                          size_t models, size_t n) {
    double sum[STEP];
    uint32_t broken = 0;
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        for (size_t k = 0; k < models; k++) {
            const uint16_t *restrict row = rows[k] + start;
            double weight = weights[k];
            for (size_t i = 0; i < size; i++) {
                uint32_t bits = (uint32_t)row[i] << 16;
                float value;
                memcpy(&value, &bits, 4);
                broken |= (row[i] & 0x7f80u) == 0x7f80u;
                sum[i] = k ? sum[i] + weight * (double)value : weight * (double)value;
            }
        }
        for (size_t i = 0; i < size; i++) {
            float near = (float)(divisor == 1 ? sum[i] : sum[i] / divisor);
            uint32_t bits;
            memcpy(&bits, &near, 4);
            uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
            uint32_t half = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded;
            out[start + i] = (uint16_t)half;
            broken |= (half & 0x7f80u) == 0x7f80u;
        }
    }
    return !broken;
}

/* out = base + scale sum_k weights[k] tau_k, in the order of k; in float64, rounded once. With `models` != 0 a row is a
 * model and tau its difference from the base; else it is tau. */
#define ADD_WEIGHTED(NAME, REAL)                                                                                \
    FAST void NAME(const REAL *restrict base, const REAL *restrict rows, const double *restrict weights,        \
                   int32_t models, double scale, REAL *restrict out, size_t count, size_t n) {                  \
        double sum[STEP], from[STEP];                                                                           \
        for (size_t start = 0; start < n; start += STEP) {                                                      \
            size_t size = smaller(STEP, n - start);                                                             \
            const REAL *b = base + start;                                                                       \
            for (size_t i = 0; i < size; i++) from[i] = models ? (double)b[i] : 0;                              \
            for (size_t i = 0; i < size; i++) sum[i] = weights[0] * ((double)rows[start + i] - from[i]);        \
            for (size_t k = 1; k < count; k++) {                                                                \
                const REAL *row = rows + k * n + start;                                                         \
                double weight = weights[k];                                                                     \
                for (size_t i = 0; i < size; i++) sum[i] = sum[i] + weight * ((double)row[i] - from[i]);        \
            }                                                                                                   \
            for (size_t i = 0; i < size; i++) out[start + i] = (REAL)((double)b[i] + scale * sum[i]);           \
        }                                                                                                       \
    }
ADD_WEIGHTED(add_weighted_f32, float)
ADD_WEIGHTED(add_weighted_f64, double)

/* Counts of |row| > high, >= high, > low, >= low; those strictly between low and high go to `inside`; how many.
 * NaN counts as larger than any number. */
#define CENSUS(NAME, REAL)                                                                                      \
    FAST size_t NAME(const REAL *restrict row, REAL low, REAL high, REAL *restrict inside,                      \
                     uint64_t *restrict counts, size_t n) {                                                     \
        size_t found = 0;                                                                                       \
        for (size_t start = 0; start < n; start += TILE) {                                                      \
            size_t size = smaller(TILE, n - start);                                                             \
            REAL magnitude[TILE];                                                                               \
            uint8_t hit[TILE + 8] = {0};                                                                        \
            uint32_t up_to_high = 0, below_high = 0, up_to_low = 0, below_low = 0; /* NaN is none of them */    \
            for (size_t i = 0; i < size; i++) {                                                                 \
                REAL x = row[start + i] < 0 ? -row[start + i] : row[start + i];                                 \
                magnitude[i] = x;                                                                               \
                up_to_high += x <= high;                                                                        \
                below_high += x < high;                                                                         \
                up_to_low += x <= low;                                                                          \
                below_low += x < low;                                                                           \
                hit[i] = (x > low) & (x < high);                                                                \
            }                                                                                                   \
            counts[0] += size - up_to_high;                                                                     \
            counts[1] += size - below_high;                                                                     \
            counts[2] += size - up_to_low;                                                                      \
            counts[3] += size - below_low;                                                                      \
            for (size_t i = 0; below_high > up_to_low && i < size; i += 8) {                                    \
                uint64_t eight; /* few lie inside: most groups of eight are passed over at once */              \
                memcpy(&eight, hit + i, 8);                                                                     \
                for (size_t j = i; eight && j < smaller(i + 8, size); j++) {                                    \
                    inside[found] = magnitude[j];                                                               \
                    found += hit[j];                                                                            \
                }                                                                                               \
            }                                                                                                   \
        }                                                                                                       \
        return found;                                                                                           \
    }
CENSUS(census_f32, float)
CENSUS(census_f64, double)

/* Trim each row below its bound, elect a sign per element from the sum of gains[k] rows[k], and add to the base
 * scale times the sum over the rows of that sign, divided by the sum of their weights when `least` is not zero:
 * least > 0 is the smallest divisor there can be; least < 0 means |divisor| <= -least counts as 1.
 * With `models` != 0 a row is a model, and its difference from the base is taken first. `tie` is the sign of a zero sum.
 * A sum that is NaN gives NaN. Magnitudes are those of the stored type, all else is float64, rounded once.
 */
#define DISJOINT_MERGE(NAME, REAL)                                                                              \
    FAST void NAME(const REAL *restrict base, const REAL *restrict rows, const REAL *restrict bounds,           \
                   const double *restrict gains, const double *restrict weights, int32_t models, int32_t tie,   \
                   double least, double scale, REAL *restrict out, size_t count, size_t n) {                    \
        double total[STEP], plus[STEP], minus[STEP], for_plus[STEP], for_minus[STEP];                           \
        for (size_t start = 0; start < n; start += STEP) {                                                      \
            size_t size = smaller(STEP, n - start);                                                             \
            const REAL *b = base + start;                                                                       \
            for (size_t i = 0; i < size; i++) total[i] = plus[i] = minus[i] = for_plus[i] = for_minus[i] = 0;   \
            for (size_t k = 0; k < count; k++) {                                                                \
                const REAL *row = rows + k * n + start;                                                         \
                REAL bound = bounds[k];                                                                         \
                double gain = gains[k], weight = weights[k];                                                    \
                for (size_t i = 0; i < size; i++) {                                                             \
                    REAL near = models ? row[i] - b[i] : row[i];                                                \
                    REAL magnitude = near < 0 ? -near : near;                                                   \
                    double tau = models ? (double)row[i] - (double)b[i] : (double)row[i];                       \
                    double part = magnitude < bound ? 0 : gain * tau;                                           \
                    total[i] = total[i] + part;                                                                 \
                    plus[i] = plus[i] + (part > 0 ? part : 0);                                                  \
                    minus[i] = minus[i] + (part < 0 ? part : 0);                                                \
                    for_plus[i] = for_plus[i] + (part > 0 ? weight : 0);                                        \
                    for_minus[i] = for_minus[i] + (part < 0 ? weight : 0);                                      \
                }                                                                                               \
            }                                                                                                   \
            for (size_t i = 0; i < size; i++) {                                                                 \
                int32_t sign = total[i] > 0 ? 1 : total[i] < 0 ? -1 : tie;                                      \
                double sum = sign > 0 ? plus[i] : sign < 0 ? minus[i] : 0;                                      \
                sum = total[i] == total[i] ? sum : total[i];                                                    \
                double divisor = sign > 0 ? for_plus[i] : for_minus[i];                                         \
                double size_of = divisor < 0 ? -divisor : divisor;                                              \
                if (least > 0) divisor = divisor > least ? divisor : least;                                     \
                else if (least < 0) divisor = size_of > -least ? divisor : 1;                                   \
                else divisor = 1;                                                                               \
                out[start + i] = (REAL)((double)b[i] + scale * (sum / divisor));                                \
            }                                                                                                   \
        }                                                                                                       \
    }
DISJOINT_MERGE(disjoint_merge_f32, float)
DISJOINT_MERGE(disjoint_merge_f64, double)
