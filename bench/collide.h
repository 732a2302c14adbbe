/*
 * collide.h -- keys made by somebody who knows the seed of the hash: any hash wanted, at no cost.
 *
 * For a key of 32 bytes XXH3 computes
 *
 *     avalanche(32 * P + fold(k0 ^ (s0 + seed), k1 ^ (s1 - seed))
 *                      + fold(k2 ^ (s2 + seed), k3 ^ (s3 - seed)))
 *
 * of the key's words k and the secret's words s, where fold() xors both halves of a product.  With
 * k0 = s0 + seed the first fold is 0 whatever k1 is; with k2 = (s2 + seed) ^ 1 the second is its
 * other factor, which k3 sets freely.  The avalanche is a bijection.  So k3 follows from the hash
 * wanted, and k1 makes 2^64 different keys of it.
 *
 * The keys are checked with the store's own hash: should that change, the bench says so and ends.
 *
 * Include it after common.h.
 */
#ifndef BENCH_COLLIDE_H
#define BENCH_COLLIDE_H

#define COLLIDE_KEY_BYTES 32u

struct collide_key {
    uint64_t word[COLLIDE_KEY_BYTES / 8];
};

/* The first bytes of XXH3's default secret; words are little endian, as XXH3 reads them. */
static const unsigned char collide_secret[32] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
    0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
};

#define COLLIDE_LENGTH_PRIME    0x9e3779b185ebca87ull
#define COLLIDE_AVALANCHE_PRIME 0x165667919e3779f9ull

/* x with x * odd = 1 modulo 2^64: Newton's iteration doubles the bits that are right. */
static inline uint64_t
collide_inverse(uint64_t odd)
{
    uint64_t x = odd;

    for (int i = 0; i < 6; i++)
        x *= 2 - odd * x;
    return x;
}

static inline uint64_t
collide_before_avalanche(uint64_t hash)
{
    hash ^= hash >> 32;
    hash *= collide_inverse(COLLIDE_AVALANCHE_PRIME);
    return hash ^ hash >> 37;
}

/* The key with this number among those that have this hash. */
static inline struct collide_key
collide_key_make(uint64_t hash, uint64_t number, uint64_t seed)
{
    uint64_t sum = collide_before_avalanche(hash) - COLLIDE_KEY_BYTES * COLLIDE_LENGTH_PRIME;
    uint64_t secret[4];

    memcpy(secret, collide_secret, sizeof secret);
    return (struct collide_key){
        {secret[0] + seed, number, (secret[2] + seed) ^ 1, sum ^ (secret[3] - seed)}};
}

#endif
