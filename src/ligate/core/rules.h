/* Loops that a single rule needs: RAM, SCE, PCB-Merging, Consensus, MagMax. loops.h includes this, with the same names defined. */

/* Whether a row differs from the base by more than epsilon, or by NaN. */
INLINE int32_t LOOP(differs)(STORED base, STORED row, REAL epsilon) {
    REAL near = LOAD(row) - LOAD(base), magnitude = near < 0 ? -near : near;
    return !(magnitude <= epsilon);
}

/* counts[k]: how often row k differs from the base by more than epsilon; counts[models + k]: how often it alone does. */
FAST void LOOP(overlap)(const STORED *base, const STORED *const *rows, REAL epsilon, uint64_t *restrict counts,
                        size_t models, size_t n) {
    int32_t many[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        memset(many, 0, sizeof many);
        for (size_t k = 0; k < models; k++)
            for (size_t i = 0; i < size; i++) many[i] += LOOP(differs)(base[start + i], rows[k][start + i], epsilon);
        for (size_t k = 0; k < models; k++) {
            uint32_t all = 0, alone = 0;
            for (size_t i = 0; i < size; i++) {
                int32_t differs = LOOP(differs)(base[start + i], rows[k][start + i], epsilon);
                all += differs, alone += differs & (many[i] == 1);
            }
            counts[k] += all, counts[models + k] += alone;
        }
    }
}

/* out = base + scale m, m the mean of the differences from the base that are larger than epsilon; where there is only
 * one of these, it times its gain. 1 when all results are finite. */
FAST int32_t LOOP(mean_of_changed)(const STORED *base, const STORED *const *rows, const double *gains, REAL epsilon,
                                   double scale, STORED *restrict out, size_t models, size_t n) {
    double total[STEP], raised[STEP];
    int32_t many[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        memset(total, 0, sizeof total), memset(raised, 0, sizeof raised), memset(many, 0, sizeof many);
        for (size_t k = 0; k < models; k++) {
            const STORED *row = rows[k] + start;
            double gain = gains[k];
            for (size_t i = 0; i < size; i++) {
                int32_t differs = LOOP(differs)(base[start + i], row[i], epsilon);
                double part = differs ? (double)(LOAD(row[i]) - LOAD(base[start + i])) : 0;
                total[i] += part, raised[i] += part * gain, many[i] += differs;
            }
        }
        for (size_t i = 0; i < size; i++) {
            double mean = total[i] / (many[i] > 1 ? many[i] : 1), part = many[i] == 1 ? raised[i] : mean;
            out[start + i] = STORE((double)LOAD(base[start + i]) + scale * part);
        }
    }
    return LOOP(finite)(out, n);
}

/* The variance over the rows times the square of their number: exactly 0 where all are equal. */
INLINE void LOOP(spread_of)(const STORED *const *rows, size_t start, double *restrict out, size_t models, size_t size) {
    double total[STEP];
    for (size_t i = 0; i < size; i++) total[i] = out[i] = 0;
    for (size_t k = 1; k < models; k++)
        for (size_t i = 0; i < size; i++) {
            double apart = (double)LOAD(rows[k][start + i]) - (double)LOAD(rows[0][start + i]);
            total[i] += apart, out[i] += apart * apart;
        }
    for (size_t i = 0; i < size; i++) out[i] = out[i] * (double)models - total[i] * total[i];
}

FAST void LOOP(spreads)(const STORED *const *rows, double *restrict out, size_t models, size_t n) {
    for (size_t start = 0; start < n; start += STEP)
        LOOP(spread_of)(rows, start, out + start, models, smaller(STEP, n - start));
}

/* Put the base's numbers into all rows where these spread less over their models. */
FAST void LOOP(select)(const STORED *base, STORED *const *rows, double least, size_t models, size_t n) {
    double spread[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        LOOP(spread_of)((const STORED *const *)rows, start, spread, models, size);
        for (size_t k = 0; k < models; k++)
            for (size_t i = start; i < start + size; i++) rows[k][i] = spread[i - start] < least ? base[i] : rows[k][i];
    }
}

/* out = base + the weighted mean of the differences that have the sign of their sum, + when it is 0. 1 when all results
 * are finite. */
FAST int32_t LOOP(elected_mean)(const STORED *base, const STORED *const *rows, const double *weights,
                                STORED *restrict out, size_t models, size_t n) {
    double sum[STEP], total[STEP], divisor[STEP], from[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        memset(sum, 0, sizeof sum), memset(total, 0, sizeof total), memset(divisor, 0, sizeof divisor);
        for (size_t i = 0; i < size; i++) from[i] = (double)LOAD(base[start + i]);
        for (size_t k = 0; k < models; k++)
            for (size_t i = 0; i < size; i++) sum[i] += (double)LOAD(rows[k][start + i]) - from[i];
        for (size_t k = 0; k < models; k++) {
            const STORED *row = rows[k] + start;
            double weight = weights[k];
            for (size_t i = 0; i < size; i++) {
                double apart = (double)LOAD(row[i]) - from[i], agrees = sum[i] >= 0 ? apart : -apart;
                agrees = agrees > 0 ? agrees : 0;
                total[i] += agrees * weight, divisor[i] += agrees > 0 ? weight : 0;
            }
        }
        for (size_t i = 0; i < size; i++) {
            double mean = total[i] / (divisor[i] > 0 ? divisor[i] : 1);
            out[start + i] = STORE(from[i] + (sum[i] >= 0 ? mean : -mean));
        }
    }
    return LOOP(finite)(out, n);
}

INLINE void LOOP(apart)(const STORED *base, const STORED *row, double *restrict out, size_t size) {
    for (size_t i = 0; i < size; i++) out[i] = (double)LOAD(row[i]) - (double)LOAD(base[i]);
}

/* sum = all differences from the base, in the order of the models. */
INLINE void LOOP(sum_of)(const STORED *base, const STORED *const *rows, size_t start, double *restrict sum, size_t models,
                         size_t size) {
    for (size_t i = 0; i < size; i++) sum[i] = (double)LOAD(rows[0][start + i]) - (double)LOAD(base[start + i]);
    for (size_t k = 1; k < models; k++)
        for (size_t i = 0; i < size; i++) sum[i] += (double)LOAD(rows[k][start + i]) - (double)LOAD(base[start + i]);
}

/* out[k]: the scores of PCB-Merging; bounds[2 k] the larger and bounds[2 k + 1] the smaller bound of magnitudes. */
FAST void LOOP(scores)(const STORED *base, const STORED *const *rows, const double *bounds, double *restrict out,
                       size_t models, size_t n) {
    double sum[STEP], apart[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        LOOP(sum_of)(base, rows, start, sum, models, size);
        for (size_t k = 0; k < models; k++) {
            LOOP(apart)(base + start, rows[k] + start, apart, size);
            score(apart, sum, bounds[2 * k + 1], bounds[2 * k], (double)models, out + k * n + start, size);
        }
    }
}

/* out = base + scale times the mean of the clipped differences, weighted by how far their score is on the way from
 * floors[k] to floors[k] + rooms[k]; without room it is 1 from the floor on, with negative room 0. 1 when all results are
 * finite. */
FAST int32_t LOOP(compete)(const STORED *base, const STORED *const *rows, const double *bounds, const double *floors,
                           const double *rooms, const double *weights, double scale, STORED *restrict out, size_t models,
                           size_t n) {
    double sum[STEP], total[STEP], divisor[STEP], apart[STEP], scores[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        LOOP(sum_of)(base, rows, start, sum, models, size);
        memset(total, 0, sizeof total), memset(divisor, 0, sizeof divisor);
        for (size_t k = 0; k < models; k++) {
            double high = bounds[2 * k], low = bounds[2 * k + 1], floor = floors[k], room = rooms[k], weight = weights[k];
            double unit = room > 0 ? room : 1;
            LOOP(apart)(base + start, rows[k] + start, apart, size);
            score(apart, sum, low, high, (double)models, scores, size);
            for (size_t i = 0; i < size; i++) {
                double above = scores[i] - floor, share = (above > 0 ? above : 0) / unit;
                share = room > 0 ? (share < 1 ? share : 1) : room < 0 ? 0 : scores[i] >= floor ? 1 : 0;
                double length = apart[i] < 0 ? -apart[i] : apart[i];
                length = length > low ? length : low;
                length = length < high ? length : high;
                double clipped = apart[i] < 0 ? -length : apart[i] > 0 ? length : 0;
                divisor[i] += share, total[i] += clipped * (share * weight);
            }
        }
        for (size_t i = 0; i < size; i++) {
            double mean = total[i] / (divisor[i] > 0 ? divisor[i] : 1);
            out[start + i] = STORE((double)LOAD(base[start + i]) + scale * mean);
        }
    }
    return LOOP(finite)(out, n);
}

/* out = base + scale times the weighted sum of the differences, where it matters to enough rows: their difference is at
 * least strictness[k] times what the sum has besides. 1 when all results are finite. */
FAST int32_t LOOP(consensus)(const STORED *base, const STORED *const *rows, const double *weights, const double *strictness,
                             int32_t agreement, double scale, STORED *restrict out, size_t models, size_t n) {
    double sum[STEP], from[STEP];
    int32_t votes[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        for (size_t i = 0; i < size; i++) from[i] = (double)LOAD(base[start + i]);
        LOOP(add_all)(rows, start, weights, from, sum, models, size);
        memset(votes, 0, sizeof votes);
        for (size_t k = 0; k < models; k++) {
            const STORED *row = rows[k] + start;
            double strict = strictness[k];
            for (size_t i = 0; i < size; i++) {
                double apart = (double)LOAD(row[i]) - from[i], others = sum[i] - apart;
                apart = apart < 0 ? -apart : apart, others = others < 0 ? -others : others;
                votes[i] += apart >= others * strict;
            }
        }
        for (size_t i = 0; i < size; i++) out[start + i] = STORE(from[i] + scale * sum[i] * (double)(votes[i] >= agreement));
    }
    return LOOP(finite)(out, n);
}

/* out = base + scale times the difference of the largest magnitude, of equal ones the positive. 1 when all results are
 * finite. */
FAST int32_t LOOP(largest)(const STORED *base, const STORED *const *rows, double scale, STORED *restrict out, size_t models,
                           size_t n) {
    double up[STEP], down[STEP], apart[STEP];
    for (size_t start = 0; start < n; start += STEP) {
        size_t size = smaller(STEP, n - start);
        LOOP(apart)(base + start, rows[0] + start, up, size);
        memcpy(down, up, size * sizeof(double));
        for (size_t k = 1; k < models; k++) {
            LOOP(apart)(base + start, rows[k] + start, apart, size);
            for (size_t i = 0; i < size; i++) {
                up[i] = apart[i] > up[i] ? apart[i] : up[i];
                down[i] = apart[i] < down[i] ? apart[i] : down[i];
            }
        }
        for (size_t i = 0; i < size; i++)
            out[start + i] = STORE((double)LOAD(base[start + i]) + scale * (up[i] >= -down[i] ? up[i] : down[i]));
    }
    return LOOP(finite)(out, n);
}
