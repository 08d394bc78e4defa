/* The innermost loops, compiled when the package is installed on a machine with a C compiler.
 *
 * Each function gives exactly the bits of its torch counterpart in kernels.py, which runs where this file was not
 * compiled: every product and sum is rounded on its own (-ffp-contract=off), sums over models run in their order.
 * All loops over elements are meant for the compiler to vectorise; -fno-thread-jumps keeps their branches together.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && __GNUC__ >= 12
#define FAST __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define FAST
#endif
#define INLINE static inline __attribute__((always_inline))

enum { TILE = 4096, STEP = 512 }; /* elements whose counts or float64 sums stay in the first-level cache */
enum { SOME = 4 };                /* models whose sums go through registers together */

/* call(..., models, size) with the number of models as a constant, so that loops over models disappear. */
#define BY_CONSTANT(models, call, ...)                                                                                 \
    switch (models) {                                                                                                  \
    case 1: CALL(call, 1, __VA_ARGS__); break;                                                                         \
    case 2: CALL(call, 2, __VA_ARGS__); break;                                                                         \
    case 3: CALL(call, 3, __VA_ARGS__); break;                                                                         \
    default: CALL(call, SOME, __VA_ARGS__); break;                                                                     \
    }
#define CALL(call, models, ...) call(models, __VA_ARGS__)

struct election {
    double total[STEP], plus[STEP], minus[STEP], for_plus[STEP], for_minus[STEP];
};

static inline size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* The sum of up to STEP numbers as a tree: halves are added until one number is left. Overwrites them. */
INLINE double folded(double *restrict tree, size_t size) {
    for (size_t i = size; i < STEP; i++) tree[i] = 0;
    for (size_t half = STEP / 2; half; half /= 2)
        for (size_t i = 0; i < half; i++) tree[i] += tree[half + i];
    return tree[0];
}

INLINE float float_of(uint32_t bits) {
    float number;
    memcpy(&number, &bits, 4);
    return number;
}

INLINE uint32_t bits_of(float number) {
    uint32_t bits;
    memcpy(&bits, &number, 4);
    return bits;
}

/* bfloat16 is the upper half of a float32. */
INLINE float from_bf16(uint16_t half) { return float_of((uint32_t)half << 16); }

/* To nearest, ties to even, NaN to 0x7fc0. */
INLINE uint16_t to_bf16(float number) {
    uint32_t bits = bits_of(number), rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

/* float16, widened exactly; subnormal numbers too, without a subnormal float32 on the way. */
INLINE float from_f16(uint16_t half) {
    uint32_t bits = (half & 0x7fffu) << 13, exponent = bits & 0x0f800000u;
    float usual = float_of(bits + (exponent == 0x0f800000u ? 0x70000000u : 0x38000000u));
    float small = float_of(bits + 0x38800000u) - 0x1p-14f;
    return float_of(bits_of(exponent ? usual : small) | (uint32_t)(half & 0x8000u) << 16);
}

/* To nearest, ties to even, NaN to 0x7e00. */
INLINE uint16_t to_f16(float number) {
    uint32_t all = bits_of(number), bits = all & 0x7fffffffu;
    uint32_t usual = (bits + 0xc8000fffu + ((bits >> 13) & 1u)) >> 13;
    uint32_t tiny = bits_of(float_of(bits) + 0.5f) - 0x3f000000u; /* the last bit of 0.5 weighs what float16's last does */
    uint32_t half = bits < 0x38800000u ? tiny : bits < 0x47800000u ? usual : 0x7c00u;
    half |= (all >> 16) & 0x8000u;
    return (uint16_t)(bits > 0x7f800000u ? 0x7e00u : half);
}

/* One NaN here too: processors differ in its sign. */
INLINE float to_f32(double number) { return number == number ? (float)number : float_of(0x7fc00000u); }

INLINE double double_of(uint64_t bits) {
    double number;
    memcpy(&number, &bits, 8);
    return number;
}

INLINE double polynomial(const double *coefficients, int count, double x) {
    double value = coefficients[0];
    for (int k = 1; k < count; k++) value = value * x + coefficients[k];
    return value;
}

/* exp between -700 and 700, and tanh, as ops/smooth.py has them. */
INLINE double smooth_exp(double x) {
    static const double series[] = {1.0 / 6227020800.0, 1.0 / 479001600.0, 1.0 / 39916800.0, 1.0 / 3628800.0,
                                    1.0 / 362880.0,     1.0 / 40320.0,     1.0 / 5040.0,     1.0 / 720.0,
                                    1.0 / 120.0,        1.0 / 24.0,        1.0 / 6.0,        0.5,
                                    1.0,                1.0};
    double shifted = x * 1.4426950408889634 + 0x1.8p52, steps = shifted - 0x1.8p52; /* to nearest, ties to even */
    double rest = x - steps * 0x1.62e42fee00000p-1 - steps * 0x1.a39ef35793c76p-33;
    uint64_t bits;
    memcpy(&bits, &shifted, 8); /* its last bits are the number of steps */
    return polynomial(series, 14, rest) * double_of((bits + 1023) << 52);
}

INLINE double smooth_tanh(double x, int below) { /* below: x is known to be small */
    static const double series[] = {0x1.355824803674fp-11, -0x1.7da36452b75e3p-10, 0x1.d6d3d0e157de0p-9,
                                    -0x1.226e355e6c23dp-7, 0x1.664f4882c10fap-6,   -0x1.ba1ba1ba1ba1cp-5,
                                    0x1.1111111111111p-3,  -0x1.5555555555555p-2,  1.0};
    double size = x < 0 ? -x : x, small = polynomial(series, 9, x * x) * x;
    if (below) return small;
    double shrunk = smooth_exp((size < 20 ? size : 20) * -2), large = (1 - shrunk) / (1 + shrunk);
    return size < 0.125 ? small : x < 0 ? -large : large;
}

/* What PCB-Merging makes of differences from the base: importance times agreement, 0 against the others. */
INLINE void score_some(const double *apart, const double *total, double low, double high, double models, int below,
                       double *restrict out, size_t size) {
    double room = high - low;
    for (size_t i = 0; i < size; i++) {
        double length = apart[i] < 0 ? -apart[i] : apart[i];
        length = length > low ? length : low;
        length = (length < high ? length : high) - low;
        length = room > 0 ? length / room : 0;
        double score = smooth_exp(length * length * models) * smooth_tanh(apart[i] * total[i], below);
        out[i] = score > 0 ? score : 0;
    }
}

/* Most differences are small, and tanh of what is small costs little. */
INLINE void score(const double *apart, const double *total, double low, double high, double models, double *restrict out,
                  size_t size) {
    uint32_t above = 0;
    for (size_t i = 0; i < size; i++) above |= !(apart[i] * total[i] < 0.125 && apart[i] * total[i] > -0.125);
    if (above) score_some(apart, total, low, high, models, 0, out, size);
    else score_some(apart, total, low, high, models, 1, out, size);
}

/* One count of Philox 4x64 with ten rounds: four words of noise. */
INLINE void philox(uint64_t count, uint64_t key, uint64_t other, uint64_t *restrict out) {
    uint64_t a = count, b = 0, c = 0, d = 0;
    for (int round = 0; round < 10; round++) {
        unsigned __int128 left = (unsigned __int128)0xD2E7470EE14C6C93u * a;
        unsigned __int128 right = (unsigned __int128)0xCA5A826395121157u * c;
        a = (uint64_t)(right >> 64) ^ b ^ key;
        c = (uint64_t)(left >> 64) ^ d ^ other;
        b = (uint64_t)right, d = (uint64_t)left;
        key += 0x9E3779B97F4A7C15u, other += 0xBB67AE8584CAA73Bu;
    }
    out[0] = a, out[1] = b, out[2] = c, out[3] = d;
}

/* Elements [start, start + n) of an endless row of uniform integers below 2^24; at most TILE of them. */
static void noise(const uint64_t *key, uint64_t start, uint32_t *restrict out, size_t n) {
    uint64_t words[4 + TILE / 2], first = start / 8, last = (start + n + 7) / 8; /* eight of each count */
    for (uint64_t count = first; count < last; count++) philox(count + 1, key[0], key[1], words + 4 * (count - first));
    size_t head = start % 8;
    for (size_t i = 0; i < n; i++) out[i] = (uint32_t)(words[(head + i) / 2] >> ((head + i) % 2 * 32)) >> 8;
}

/* Stored in 16 bits: compared in float32; sums are rounded to float32 and then to 16 bits. */
#define REAL float
#define STORED uint16_t
#define LOOP(name) name##_bf16
#define LOAD(number) from_bf16(number)
#define STORE(sum) to_bf16((float)(sum))
#define FINITE(number) (((number) & 0x7f80u) != 0x7f80u)
#include "loops.h"
#undef LOOP
#undef LOAD
#undef STORE
#undef FINITE

#define LOOP(name) name##_f16
#define LOAD(number) from_f16(number)
#define STORE(sum) to_f16((float)(sum))
#define FINITE(number) (((number) & 0x7c00u) != 0x7c00u)
#include "loops.h"
#undef STORED
#undef LOOP
#undef LOAD
#undef STORE
#undef FINITE

/* float32 as a rule gets it from 16 bits: compared in float32. */
#define STORED float
#define LOOP(name) name##_real32
#define LOAD(number) ((REAL)(number))
#define STORE(sum) ((float)(sum))
#define FINITE(number) ((number) - (number) == 0)
#include "loops.h"
#undef REAL
#undef LOOP
#undef STORE

/* Stored in 32 bits, or float64 as a rule gets it from there: compared in float64. */
#define REAL double
#define LOOP(name) name##_f32
#define STORE(sum) to_f32(sum)
#include "loops.h"
#undef STORED
#undef LOOP
#undef STORE

#define STORED double
#define LOOP(name) name##_f64
#define STORE(sum) (sum)
#include "loops.h"

/* Casts of whole rows; 1 when all are finite. */
FAST int32_t widen_bf16(const uint16_t *restrict from, float *restrict to, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = from_bf16(from[i]);
    return finite_bf16(from, n);
}

FAST int32_t narrow_bf16(const float *restrict from, uint16_t *restrict to, size_t n) {
    for (size_t i = 0; i < n; i++) to[i] = to_bf16(from[i]);
    return finite_bf16(to, n);
}

/* float64 -> float32, to nearest, but what is not exact ends in an odd bit: rounding it again to 16 bits then gives what
 * rounding once would have given. */
FAST void narrow_odd(const double *restrict from, float *restrict to, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double x = from[i], size = x < 0 ? -x : x;
        float near = (float)x;
        double back = near, back_size = back < 0 ? -back : back;
        uint32_t bits = bits_of(near);
        bits -= back_size > size;
        bits |= back != x;
        to[i] = float_of(bits);
    }
}
