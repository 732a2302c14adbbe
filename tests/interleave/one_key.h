/*
 * one_key.h -- what the scenarios about a single key share: how it is at first, short bodies for
 * threads, and where these note what they have found.
 */
#ifndef INTERLEAVE_ONE_KEY_H
#define INTERLEAVE_ONE_KEY_H

#include "scene.h"

/* Of the running schedule. */
struct found {
    enum store_outcome put[SCHEDULE_THREADS_MAX], delete;
    char got[SCHEDULE_THREADS_MAX];
    struct store_view view;
    uint64_t number[SCHEDULE_THREADS_MAX];
    bool flushed, stored, put_after_flush, flush_after_put;
};
extern struct found found;

extern struct store_key the_key;
extern uint64_t one_key_cas;           /* of what prepare_a has stored */

void one_key_prepare_absent(void);
void one_key_prepare_a(void);
void one_key_prepare_long_a(void);
void one_key_begin(void);
char one_key_final_letter(void);

/* Threads: the last digit says which. */
void one_key_get_twice_1(void);        /* got[0], got[1] */
void one_key_get_2(void);              /* got[2] */
void one_key_set_c_2(void);
void one_key_delete_2(void);

#endif
