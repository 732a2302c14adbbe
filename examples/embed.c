/*
 * embed.c -- a program with a cache inside: four threads ask for the same slow answers.
 *
 *     cc embed.c $(pkg-config --cflags --libs liblarder) -pthread -o embed
 *
 * Reads, in this order: the cache is made (main), a thread joins it (worker), an answer is fetched
 * or made (look_up), many keys are asked for at once without a copy (sum_of_lengths).
 */
#include <larder.h>

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define THREADS 4
#define QUESTIONS 20000
#define LOOK_UPS 100000
#define BATCH 32
#define ANSWER_TTL_S 300

struct worker {
    pthread_t thread;
    struct larder *cache;
    unsigned number, made;
};

static void
die(const char *what, enum larder_error error)
{
    fprintf(stderr, "embed: %s: %s\n", what, larder_strerror(error));
    exit(1);
}

/* What a cache is for: it takes long, and says the same each time. */
static size_t
make_answer(char *to, size_t size, unsigned question)
{
    unsigned steps = 0;
    for (unsigned long n = question + 1; n != 1; n = n % 2 ? 3 * n + 1 : n / 2)
        steps++;
    return (size_t)snprintf(to, size, "%u: 1 is reached after %u steps", question, steps);
}

static struct larder_bytes
key_of(char *to, size_t size, unsigned question)
{
    int length = snprintf(to, size, "answer:%u", question);
    return larder_span(to, (size_t)length);
}

/*
 * Fetch it, or make it and store it.  That it could not be stored is no reason to fail: the answer
 * is there, only the cache does not have it.
 */
static void
look_up(struct worker *w, struct larder_thread *me, unsigned question)
{
    char key_text[32], answer[128];
    struct larder_bytes key = key_of(key_text, sizeof key_text, question);
    enum larder_error error = larder_get(me, key, answer, sizeof answer, NULL);
    if (error == LARDER_OK)
        return;
    if (error != LARDER_MISS)
        die("get", error);
    size_t length = make_answer(answer, sizeof answer, question);
    w->made++;
    error = larder_set(me, key, larder_span(answer, length), ANSWER_TTL_S);
    if (error != LARDER_OK)
        fprintf(stderr, "embed: set: %s\n", larder_strerror(error));
}

/*
 * Many keys in one section: they are announced, so their memory is on its way together, and looked
 * at where they lie.  A view ends with the section; that of a short value with the next call.
 */
static size_t
sum_of_lengths(struct larder_thread *me, unsigned first)
{
    char texts[BATCH][32];
    struct larder_bytes keys[BATCH];
    size_t sum = 0;
    for (unsigned i = 0; i < BATCH; i++)
        keys[i] = key_of(texts[i], sizeof texts[i], first + i);
    larder_enter(me);
    larder_prefetch(me, keys, BATCH);
    for (unsigned i = 0; i < BATCH; i++) {
        struct larder_view view;
        if (larder_get_view(me, keys[i], &view) == LARDER_OK)
            sum += view.value_bytes;
    }
    larder_leave(me);
    return sum;
}

static void *
worker(void *argument)
{
    struct worker *w = argument;
    struct larder_thread *me;
    enum larder_error error = larder_join(w->cache, &me);
    if (error != LARDER_OK)
        die("join", error);
    unsigned question = w->number;
    for (unsigned i = 0; i < LOOK_UPS; i++) {
        question = (question * 1103515245u + 12345u) % 0x7fffffffu;
        look_up(w, me, question % QUESTIONS);
        if (i % 1000 == 999)
            larder_incr(me, larder_text("thousands"), 1, NULL);
    }
    sum_of_lengths(me, w->number * BATCH);
    larder_part(me);
    return NULL;
}

static void
report(struct larder *cache, unsigned made)
{
    struct larder_stats stats = {.size = sizeof stats};
    larder_stats_read(cache, &stats);
    printf("%u look-ups, %u answers made, %llu in the cache, %llu KiB in use\n",
           THREADS * LOOK_UPS, made, (unsigned long long)stats.items_present,
           (unsigned long long)stats.memory_used_bytes / 1024);
}

int
main(void)
{
    struct larder_config config = {
        .size = sizeof config,
        .memory_bytes = (size_t)16 << 20,
        .threads_max = THREADS + 1,
    };
    struct worker workers[THREADS];
    struct larder *cache;
    struct larder_thread *me;
    unsigned made = 0;

    enum larder_error error = larder_create(&config, &cache);
    if (error != LARDER_OK)
        die("create", error);
    error = larder_join(cache, &me);
    if (error != LARDER_OK)
        die("join", error);
    larder_set(me, larder_text("thousands"), larder_text("0"), 0);

    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.cache = cache, .number = i};
        if (pthread_create(&workers[i].thread, NULL, worker, &workers[i]) != 0)
            die("no thread", LARDER_NO_MEMORY);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        pthread_join(workers[i].thread, NULL);
        made += workers[i].made;
    }

    struct larder_view view;
    if (larder_get_alloc(me, larder_text("thousands"), &view) == LARDER_OK) {
        printf("%s thousand look-ups\n", (const char *)view.value);
        larder_free(view.value);
    }
    report(cache, made);
    larder_part(me);
    larder_destroy(cache);
    return 0;
}
