/* The loops over one kind of stored number; kernels.c includes this once per kind, with these names defined:
 *   LOOP(name)    the name of a loop for this kind
 *   STORED        the type of a stored number
 *   REAL          the type in which magnitudes are compared
 *   LOAD(number)  a stored number as REAL
 *   STORE(sum)    a float64 as a stored number, rounded as the engine rounds; one NaN
 *   FINITE(number)  whether a stored number is finite
 * Sums over models run in their order, in float64. A few models are done together, their sums stay in registers.
 */

/* 1 when all are finite. */
FAST int32_t LOOP(finite)(const STORED *restrict row, size_t n) {
    uint32_t broken = 0;
    for (size_t i = 0; i < n; i++) broken |= !FINITE(row[i]);
    return !broken;
}

/* |row - base| as REAL; without a base |row|. */
FAST void LOOP(distances)(const STORED *base, const STORED *row, REAL *restrict out, size_t n) {
    if (base)
        for (size_t i = 0; i < n; i++) {
            REAL near = LOAD(row[i]) - LOAD(base[i]);
            out[i] = near < 0 ? -near : near + 0;
        }
    else
        for (size_t i = 0; i < n; i++) {
            REAL x = LOAD(row[i]);
            out[i] = x < 0 ? -x : x + 0;
        }
}

/* Put the base's number where the row differs from it by less than low or by more than high. */
FAST void LOOP(cut)(const STORED *restrict base, STORED *restrict row, REAL low, REAL high, size_t n) {
    for (size_t i = 0; i < n; i++) {
        REAL near = LOAD(row[i]) - LOAD(base[i]), magnitude = near < 0 ? -near : near;
        row[i] = (magnitude < low) | (magnitude > high) ? base[i] : row[i];
    }
}

/* Put the base's number where the noise of this key is not below the limit, of 2^24. */
FAST void LOOP(drop)(const STORED *restrict base, STORED *restrict row, const uint64_t *key, uint64_t at, uint32_t limit,
                     size_t n) {
    uint32_t drawn[TILE];
    for (size_t start = 0; start < n; start += TILE) {
        size_t size = smaller(TILE, n - start);
        noise(key, at + start, drawn, size);
        for (size_t i = 0; i < size; i++) row[start + i] = drawn[i] < limit ? row[start + i] : base[start + i];
    }
}

/* The sum of |row - base|, taken as REAL, in float64: as a tree over STEP elements, then one after the other. */
FAST double LOOP(length)(const STORED *base, const STORED *row, size_t n) {
    double sum = 0, tree[STEP];
    REAL magnitude[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        LOOP(distances)(base ? base + start : base, row + start, magnitude, size);
        for (size_t i = 0; i < size; i++) tree[i] = magnitude[i];
        sum += folded(tree, size);
    }
    return sum;
}

/* The sum of (row - base) (other - base), or without a base of row other, added as in length. */
FAST double LOOP(dot)(const STORED *base, const STORED *row, const STORED *other, size_t n) {
    double sum = 0, tree[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        for (size_t i = 0; i < size; i++) {
            double zero = base ? (double)LOAD(base[start + i]) : 0;
            tree[i] = ((double)LOAD(row[start + i]) - zero) * ((double)LOAD(other[start + i]) - zero);
        }
        sum += folded(tree, size);
    }
    return sum;
}

/* sum += weights[k] (rows[k] - from), for `models` rows, a constant where this is called. */
INLINE void LOOP(add_some)(size_t models, const STORED *const *rows, size_t start, const double *weights, const double *from,
                           double *restrict sum, size_t size) {
    const STORED *row[SOME];
    double weight[SOME];
    for (size_t k = 0; k < models; k++) row[k] = rows[k] + start, weight[k] = weights[k];
    for (size_t i = 0; i < size; i++) {
        double total = sum[i], zero = from ? from[i] : 0;
        for (size_t k = 0; k < models; k++) total = total + weight[k] * ((double)LOAD(row[k][i]) - zero);
        sum[i] = total;
    }
}

INLINE void LOOP(add_all)(const STORED *const *rows, size_t start, const double *weights, const double *from,
                          double *restrict sum, size_t models, size_t size) {
    for (size_t i = 0; i < size; i++) sum[i] = -0.0; /* what a sum of nothing is: the first term stays as it is */
    for (size_t k = 0; k < models; k += SOME)
        BY_CONSTANT(models - k, LOOP(add_some), rows + k, start, weights + k, from, sum, size)
}

/* out = (sum_k weights[k] rows[k]) / divisor; 1 when all results are finite. */
FAST int32_t LOOP(weighted_sum)(const STORED *const *rows, const double *weights, double divisor, STORED *restrict out,
                                size_t models, size_t n) {
    double sum[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        LOOP(add_all)(rows, start, weights, NULL, sum, models, size);
        if (divisor == 1)
            for (size_t i = 0; i < size; i++) out[start + i] = STORE(sum[i]);
        else
            for (size_t i = 0; i < size; i++) out[start + i] = STORE(sum[i] / divisor);
    }
    return LOOP(finite)(out, n);
}

/* out = base + scale sum_k weights[k] tau_k; 1 when all results are finite. With `differ` != 0 a row is a model and tau
 * its difference from the base; else it is tau. */
FAST int32_t LOOP(add_weighted)(const STORED *base, const STORED *const *rows, const double *weights, int32_t differ,
                                double scale, STORED *restrict out, size_t models, size_t n) {
    double sum[STEP], from[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        for (size_t i = 0; i < size; i++) from[i] = (double)LOAD(base[start + i]);
        LOOP(add_all)(rows, start, weights, differ ? from : NULL, sum, models, size);
        for (size_t i = 0; i < size; i++) out[start + i] = STORE(from[i] + scale * sum[i]);
    }
    return LOOP(finite)(out, n);
}

/* Counts of |row - base| > high, >= high, > low, >= low; those strictly between low and high go to `inside`; how many.
 * Without a base |row|. NaN counts as larger than any number. */
FAST size_t LOOP(census)(const STORED *base, const STORED *row, REAL low, REAL high, REAL *restrict inside,
                         uint64_t *restrict counts, size_t n) {
    size_t found = 0;
    REAL magnitude[TILE];
    uint8_t hit[TILE + 8] = {0};
    for (size_t start = 0; start < n; start += TILE) {
        size_t size = smaller(TILE, n - start);
        uint32_t up_to_high = 0, below_high = 0, up_to_low = 0, below_low = 0; /* NaN is none of them */
        LOOP(distances)(base ? base + start : base, row + start, magnitude, size);
        for (size_t i = 0; i < size; i++) {
            REAL x = magnitude[i];
            up_to_high += x <= high;
            below_high += x < high;
            up_to_low += x <= low;
            below_low += x < low;
            hit[i] = (x > low) & (x < high);
        }
        memset(hit + size, 0, 8);
        counts[0] += size - up_to_high;
        counts[1] += size - below_high;
        counts[2] += size - up_to_low;
        counts[3] += size - below_low;
        for (size_t i = 0; below_high > up_to_low && i < size; i += 8) {
            uint64_t eight; /* few lie inside: most groups of eight are passed over at once */
            memcpy(&eight, hit + i, 8);
            for (size_t j = i; eight && j < smaller(i + 8, size); j++) {
                inside[found] = magnitude[j];
                found += hit[j];
            }
        }
    }
    return found;
}

/* gain tau, 0 where the magnitude of tau is below the bound. */
INLINE double LOOP(part)(STORED stored, REAL from, REAL bound, double gain) {
    REAL x = LOAD(stored), near = x - from, magnitude = near < 0 ? -near : near;
    return magnitude < bound ? 0 : gain * ((double)x - (double)from);
}

/* What the sign election and the sums of both signs gain by `models` rows, a constant where this is called. */
INLINE void LOOP(elect_some)(size_t models, const STORED *const *rows, size_t start, const REAL *from, const REAL *bounds,
                             const double *gains, const double *weights, struct election *restrict sums, size_t size) {
    const STORED *row[SOME];
    REAL bound[SOME];
    double gain[SOME], weight[SOME];
    for (size_t k = 0; k < models; k++)
        row[k] = rows[k] + start, bound[k] = bounds[k], gain[k] = gains[k], weight[k] = weights[k];
    for (size_t i = 0; i < size; i++) {
        double total = sums->total[i], plus = sums->plus[i], minus = sums->minus[i];
        double for_plus = sums->for_plus[i], for_minus = sums->for_minus[i];
        for (size_t k = 0; k < models; k++) {
            double part = LOOP(part)(row[k][i], from[i], bound[k], gain[k]);
            total = total + part;
            plus = plus + (part > 0 ? part : 0);
            minus = minus + (part < 0 ? part : 0);
            for_plus = for_plus + (part > 0 ? weight[k] : 0);
            for_minus = for_minus + (part < 0 ? weight[k] : 0);
        }
        sums->total[i] = total, sums->plus[i] = plus, sums->minus[i] = minus;
        sums->for_plus[i] = for_plus, sums->for_minus[i] = for_minus;
    }
}

/* Trim each row below its bound, elect a sign per element from the sum of gains[k] rows[k], and add to the base
 * scale times the sum over the rows of that sign, divided by the sum of their weights when `least` is not zero:
 * least > 0 is the smallest divisor there can be; least < 0 means |divisor| <= -least counts as 1.
 * With `differ` != 0 a row is a model, and its difference from the base is taken first. `tie` is the sign of a zero sum.
 * A sum that is NaN gives NaN. Magnitudes are REAL, all else is float64. 1 when all results are finite. */
FAST int32_t LOOP(disjoint_merge)(const STORED *base, const STORED *const *rows, const REAL *bounds,
                                  const double *gains, const double *weights, int32_t differ, int32_t tie, double least,
                                  double scale, STORED *restrict out, size_t models, size_t n) {
    struct election sums;
    REAL from[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        memset(&sums, 0, sizeof sums);
        for (size_t i = 0; i < size; i++) from[i] = differ ? LOAD(base[start + i]) : 0;
        for (size_t k = 0; k < models; k += SOME)
            BY_CONSTANT(models - k, LOOP(elect_some), rows + k, start, from, bounds + k, gains + k, weights + k, &sums, size)
        for (size_t i = 0; i < size; i++) {
            double total = sums.total[i];
            int32_t sign = total > 0 ? 1 : total < 0 ? -1 : tie;
            double sum = sign > 0 ? sums.plus[i] : sign < 0 ? sums.minus[i] : 0;
            sum = total == total ? sum : total;
            double divisor = sign > 0 ? sums.for_plus[i] : sums.for_minus[i];
            double size_of = divisor < 0 ? -divisor : divisor;
            if (least > 0) divisor = divisor > least ? divisor : least;
            else if (least < 0) divisor = size_of > -least ? divisor : 1;
            else divisor = 1;
            out[start + i] = STORE((double)LOAD(base[start + i]) + scale * (sum / divisor));
        }
    }
    return LOOP(finite)(out, n);
}

/* sum += gain tau, trimmed; as above. */
INLINE void LOOP(vote_some)(size_t models, const STORED *const *rows, size_t start, const REAL *from, const REAL *bounds,
                            const double *gains, double *restrict sum, size_t size) {
    const STORED *row[SOME];
    REAL bound[SOME];
    double gain[SOME];
    for (size_t k = 0; k < models; k++) row[k] = rows[k] + start, bound[k] = bounds[k], gain[k] = gains[k];
    for (size_t i = 0; i < size; i++) {
        double total = sum[i];
        for (size_t k = 0; k < models; k++) total = total + LOOP(part)(row[k][i], from[i], bound[k], gain[k]);
        sum[i] = total;
    }
}

/* How many more elements have a positive than a negative sum of gains[k] rows[k], trimmed as in disjoint_merge. */
FAST int64_t LOOP(lead_of_plus)(const STORED *base, const STORED *const *rows, const REAL *bounds, const double *gains,
                                int32_t differ, size_t models, size_t n) {
    double sum[STEP];
    REAL from[STEP];
    int64_t lead = 0;
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        memset(sum, 0, sizeof sum);
        for (size_t i = 0; i < size; i++) from[i] = differ ? LOAD(base[start + i]) : 0;
        for (size_t k = 0; k < models; k += SOME)
            BY_CONSTANT(models - k, LOOP(vote_some), rows + k, start, from, bounds + k, gains + k, sum, size)
        for (size_t i = 0; i < size; i++) lead += (sum[i] > 0) - (sum[i] < 0);
    }
    return lead;
}

#include "rules.h"
