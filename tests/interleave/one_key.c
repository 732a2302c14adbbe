/*
 * one_key.c -- see one_key.h.
 */
#include "one_key.h"

struct found found;
struct store_key the_key;
uint64_t one_key_cas;

void
one_key_prepare_absent(void)
{
    scene_open(true);
    the_key = scene_key(0);
    for (unsigned n = 0; n < SCHEDULE_THREADS_MAX; n++)    /* each has a segment to fill */
        scene_put(n, STORE_SET, scene_key(10 + n), 'z', 0);
}

void
one_key_prepare_a(void)
{
    struct store_view view;
    one_key_prepare_absent();
    scene_put(0, STORE_SET, the_key, 'a', 0);
    scene_get(SCENE_MAIN, the_key, NULL, &view);
    one_key_cas = view.cas;
}

void
one_key_prepare_long_a(void)
{
    one_key_prepare_absent();
    scene.size = SCENE_LONG;
    scene_put(0, STORE_SET, the_key, 'a', 0);
}

void
one_key_begin(void)
{
    found = (struct found){0};
}

char
one_key_final_letter(void)
{
    return scene_get(SCENE_MAIN, the_key, NULL, NULL);
}

void
one_key_get_twice_1(void)
{
    found.got[0] = scene_get(1, the_key, NULL, NULL);
    found.got[1] = scene_get(1, the_key, NULL, NULL);
}

void
one_key_get_2(void)
{
    found.got[2] = scene_get(2, the_key, NULL, NULL);
}

void
one_key_set_c_2(void)
{
    found.put[2] = scene_put(2, STORE_SET, the_key, 'c', 0);
}

void
one_key_delete_2(void)
{
    found.delete = scene_delete(2, the_key);
}
