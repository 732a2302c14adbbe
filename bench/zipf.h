/*
 * zipf.h -- random numbers for tracegen: a uniform stream, and ranks by Zipf's law.
 *
 * The uniform stream is xoshiro256** (Blackman, Vigna 2018), seeded by
 * splitmix64.  Ranks are drawn by rejection-inversion (Hoermann, Derflinger
 * 1996, "Rejection-inversion to generate variates from monotone discrete
 * distributions"): constant time and no table, however many ranks there are.
 *
 * The same seed gives the same numbers on every machine: traces are compared
 * by name.  One thread.
 *
 * Include it after common.h.
 */
#ifndef BENCH_ZIPF_H
#define BENCH_ZIPF_H

#include <math.h>

#define RANDOM_UNIT (1.0 / 9007199254740992.0) /* 2^-53 */

static uint64_t random_state[4];

static inline uint64_t
random_rotate(uint64_t x, int by)
{
    return (x << by) | (x >> (64 - by));
}

static inline void
random_seed(uint64_t seed)
{
    for (uint64_t i = 0; i < 4; i++)
        random_state[i] = mix64(seed + i * 0x9e3779b97f4a7c15ull);
}

static inline uint64_t
random_next(void)
{
    uint64_t *s = random_state, result = random_rotate(s[1] * 5, 7) * 9, t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = random_rotate(s[3], 45);
    return result;
}

/* Uniform in 0..1, 1 excluded. */
static inline double
random_unit(void)
{
    return (double)(random_next() >> 11) * RANDOM_UNIT;
}

/* Zipf(alpha) on 1..count; h, H and its inverse are the names of the paper. */
struct zipf {
    uint64_t count;
    double alpha, h_first, h_last, shortcut;
};

/* log1p(x) / x and expm1(x) / x, also near 0 */
static inline double
zipf_log1p_ratio(double x)
{
    return fabs(x) > 1e-8 ? log1p(x) / x : 1 - x * (0.5 - x * (1.0 / 3 - 0.25 * x));
}

static inline double
zipf_expm1_ratio(double x)
{
    return fabs(x) > 1e-8 ? expm1(x) / x : 1 + x * 0.5 * (1 + x / 3 * (1 + 0.25 * x));
}

static inline double
zipf_h(const struct zipf *z, double x)
{
    return exp(-z->alpha * log(x));
}

static inline double
zipf_h_integral(const struct zipf *z, double x)
{
    double log_x = log(x);

    return zipf_expm1_ratio((1 - z->alpha) * log_x) * log_x;
}

static inline double
zipf_h_integral_inverse(const struct zipf *z, double x)
{
    double t = x * (1 - z->alpha);

    if (t < -1)
        t = -1;
    return exp(zipf_log1p_ratio(t) * x);
}

static inline void
zipf_init(struct zipf *z, uint64_t count, double alpha)
{
    z->count = count;
    z->alpha = alpha;
    z->h_first = zipf_h_integral(z, 1.5) - 1;
    z->h_last = zipf_h_integral(z, (double)count + 0.5);
    z->shortcut = 2 - zipf_h_integral_inverse(z, zipf_h_integral(z, 2.5) - zipf_h(z, 2));
}

static inline uint64_t
zipf_draw(const struct zipf *z)
{
    if (z->alpha == 0)
        return 1 + random_next() % z->count;
    for (;;) {
        double u = z->h_last + random_unit() * (z->h_first - z->h_last);
        double x = zipf_h_integral_inverse(z, u), rank = floor(x + 0.5);

        if (rank < 1)
            rank = 1;
        else if (rank > (double)z->count)
            rank = (double)z->count;
        if (rank - x <= z->shortcut || u >= zipf_h_integral(z, rank + 0.5) - zipf_h(z, rank))
            return (uint64_t)rank;
    }
}

/*
 * How many distinct ranks are expected in so many draws of Zipf(alpha) over
 * count ranks.  Ranks are taken in strips of 1 %, which is exact enough and
 * quick; the first pass sums the weights, the second the chances to be drawn.
 */
static inline double
zipf_expected_distinct(double draws, double count, double alpha)
{
    double weight_sum = 0, distinct = 0;

    for (int pass = 0; pass < 2; pass++) {
        for (double i = 1; i <= count;) {
            double width = i < 1000 ? 1 : floor(i * 0.01), weight;

            if (i + width > count + 1)
                width = count + 1 - i;
            weight = pow(i + (width - 1) / 2, -alpha);
            if (pass == 0)
                weight_sum += width * weight;
            else
                distinct += width * (1 - exp(-draws * weight / weight_sum));
            i += width;
        }
    }
    return distinct;
}

#endif
