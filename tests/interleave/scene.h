/*
 * scene.h -- a small store for scenarios, and its commands in short words.
 *
 * Values tell what they are: all bytes of one are the same letter, and the letter says the length
 * and the client flags.  Lengths differ, but not by so much that an entry could not be overwritten
 * where it lies.  So a mixture of two values is seen as such.
 */
#ifndef INTERLEAVE_SCENE_H
#define INTERLEAVE_SCENE_H

#include "schedule.h"
#include "store/inner.h"

#define SCENE_MAIN SCHEDULE_THREADS_MAX    /* the thread of prepare and check */
#define SCENE_LETTER_MISS '-'
#define SCENE_LETTER_WRONG '?'

enum scene_size {
    SCENE_SMALL,                       /* may change in place */
    SCENE_LONG,                        /* never does; viewed where it lies */
    SCENE_PIECES                       /* two of them */
};

struct scene {
    struct store *s;
    struct store_thread *t[SCHEDULE_THREADS_MAX + 1];
    uint32_t now;                      /* of the store's clock, 100 at first */
    enum scene_size size;              /* of values put */
    uint32_t expiry;                   /* of values put */
};

extern struct scene scene;

void scene_open(bool evict);
void scene_close(void);
/* Complains if store_verify() does. */
void scene_verify(void);

/* ---- setting it up; not for threads ---------------------------------------------------------- */

/* A key whose hash ends in these `bits` bits and lies in this bucket; another for each number. */
struct store_key scene_key_of(uint64_t low, unsigned bits, unsigned bucket, unsigned number);
struct store_key scene_key(unsigned number);
/* The thread's segment is full from now on. */
void scene_seal(unsigned thread);
/* So many segments can still be had, which is fewer than housekeeping wants. */
void scene_leave_segments(unsigned count);
/* The index grows by one group when the thread adds its next entry.  For threads as well. */
void scene_split_next(unsigned thread);

/* ---- commands, each a section of its own ----------------------------------------------------- */

enum store_outcome scene_put(unsigned thread, enum store_mode mode, struct store_key key,
                             char letter, uint64_t cas);
enum store_outcome scene_delete(unsigned thread, struct store_key key);
/* Letter of the value, or SCENE_LETTER_MISS.  Complains about one that is not whole, when it is
 * found and, where it is read in place, after a pause as well.  out_view may be NULL. */
char scene_get(unsigned thread, struct store_key key, const uint32_t *new_expiry,
               struct store_view *out_view);
/* The same within a section that is open, as a plain get. */
char scene_get_inside(unsigned thread, struct store_key key);
/* Slices of housekeeping until nothing is due, `most` at most. */
void scene_maintain(unsigned thread, unsigned most);
void scene_flush(unsigned thread);

#define SCENE_EXPECT(what)                                                                        \
    ((what) ? (void)0                                                                             \
            : schedule_complain("%s:%d: must be true: %s", __FILE__, __LINE__, #what))

/* The same in all of a program's cases. */
#define SCENE_CASE(scenario)                                                                      \
    static void test_##scenario(void **state)                                                     \
    {                                                                                             \
        (void)state;                                                                              \
        assert_true(explore(&scenario));                                                          \
    }

#endif
