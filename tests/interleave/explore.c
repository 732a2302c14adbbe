/*
 * explore.c -- the tree of schedules, depth first.
 *
 * A schedule is the list of its decisions.  The next one shares all but the last decision that has
 * an untried alternative; behind it every thread runs as long as it can.  Which words are contended
 * is learned on the way: when there is a new one the tree has new branches and is begun again.
 */
#include "explore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/check.h"
#include "contended.h"

#define DECISIONS_MAX 20000u
#define SCHEDULES_MAX 10000u           /* of one tree */
#define SCHEDULES_MAX_LONG 50000u
#define LEARNING_SCHEDULES 100u
#define TEXT_BYTES_MAX 400u            /* of a schedule that is printed */
#define TURN_BYTES_MAX 24u
#define RANDOM_SCHEDULES 1500u
#define RANDOM_SCHEDULES_LONG 20000u

/* ---- what happened, for a repetition --------------------------------------------------------- */

struct turn {
    uint64_t step;
    unsigned thread;
};

static struct turn turns[DECISIONS_MAX];    /* not taken as they come by themselves */
static unsigned turn_count;
static const struct scenario *scenario;
static uint64_t seed;

static unsigned
note_turn(const struct decision *d, unsigned choice)
{
    if (choice != 0 && turn_count == DECISIONS_MAX)
        schedule_complain("a loop does not end");
    else if (choice != 0)
        turns[turn_count++] = (struct turn){d->step, d->threads[choice]};
    return choice;
}

/* A schedule too long to be read is found again by its seed. */
static void
say_how_to_repeat(void)
{
    char text[TEXT_BYTES_MAX] = "";
    size_t used = 0;
    unsigned i = 0;
    for (; i < turn_count && used + TURN_BYTES_MAX < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%" PRIu64 ">%u", i ? "," : "",
                                 turns[i].step, turns[i].thread);
    printf("    LARDER_SCENARIO=%s ", scenario->name);
    if (i == turn_count)
        printf("LARDER_SCHEDULE='%s'\n", text);
    else
        printf("LARDER_SEED=%" PRIu64 " (%u turns, the first: %s)\n", seed, turn_count, text);
    fflush(stdout);
}

static bool
run(const struct decider *by)
{
    turn_count = 0;
    const char *wrong = schedule_run(by);
    if (!wrong)
        return true;
    printf("%s: %s; again with\n", scenario->name, wrong);
    say_how_to_repeat();
    return false;
}

/* ---- one given schedule ---------------------------------------------------------------------- */

static struct turn given[DECISIONS_MAX];
static unsigned given_count, given_at;
static struct decider repeater;

static unsigned
decide_as_given(const struct decision *d)
{
    if (given_at >= given_count || given[given_at].step != d->step)
        return 0;
    unsigned choice = 0;
    while (choice < d->count && d->threads[choice] != given[given_at].thread)
        choice++;
    given_at++;
    repeater.wanted_step = given_at < given_count ? given[given_at].step : 0;
    return note_turn(d, choice < d->count ? choice : 0);
}

static bool
explore_given(const char *text)
{
    given_count = given_at = 0;
    for (char *end; *text; text = *end == ',' ? end + 1 : end) {
        CHECK(given_count < DECISIONS_MAX);
        given[given_count].step = strtoull(text, &end, 10);
        CHECK(*end == '>');
        given[given_count++].thread = (unsigned)strtoul(end + 1, &end, 10);
        CHECK(*end == ',' || *end == 0);
    }
    repeater = (struct decider){.wanted_step = given_count ? given[0].step : 0,
                                .decide = decide_as_given};
    bool good = run(&repeater);
    printf("%s: the schedule given is %s\n", scenario->name, good ? "good" : "bad");
    return good;
}

/* ---- random ---------------------------------------------------------------------------------- */

static uint64_t random_state;
static unsigned switch_rarely;         /* one decision in so many */

static uint64_t
random_next(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state >> 16;
}

static unsigned
decide_at_random(const struct decision *d)
{
    if (!d->forced && random_next() % switch_rarely)
        return 0;
    return note_turn(d, (unsigned)(random_next() % d->count));
}

static bool
explore_random(unsigned count)
{
    static const unsigned rarely[] = {2, 4, 8, 32};
    struct decider by = {.fine = true, .decide = decide_at_random};
    for (unsigned i = 0; i < count; i++) {
        switch_rarely = rarely[i % 4];
        by.fine = i % 8 < 4;
        if (!run(&by))
            return false;
    }
    return true;
}

/* ---- all with few preemptions ---------------------------------------------------------------- */

struct branch {
    uint64_t step;
    uint8_t choice, count;             /* count: alternatives there were */
    bool forced;
};

static struct branch branches[DECISIONS_MAX];
static unsigned branch_count, branch_at, preemptions, preemptions_max;
static bool strayed;

/* Along the branches known, then onto new ones. */
static unsigned
decide_along(const struct decision *d)
{
    if (branch_at == DECISIONS_MAX) {
        schedule_complain("a loop does not end");
        return 0;
    }
    struct branch *b = &branches[branch_at++];
    if (branch_at > branch_count) {
        *b = (struct branch){d->step, 0, (uint8_t)d->count, d->forced};
        branch_count = branch_at;
    } else if (b->step != d->step || b->count != d->count) {
        strayed = true;
        return 0;
    }
    if (b->choice && !b->forced)
        preemptions++;
    return note_turn(d, b->choice);
}

/* On to the next schedule; false: there is none. */
static bool
next_branch(void)
{
    while (branch_count) {
        struct branch *b = &branches[branch_count - 1];
        bool had = b->choice && !b->forced;
        bool may = b->forced || preemptions - had < preemptions_max;
        if (may && b->choice + 1u < b->count) {
            b->choice++;
            return true;
        }
        preemptions -= had;
        branch_count--;
    }
    return false;
}

enum found { FOUND_ALL, FOUND_MANY, FOUND_WRONG };

/* FOUND_MANY: there are more than `most`. */
static enum found
explore_tree(unsigned most_preemptions, bool fine, unsigned most, unsigned *out_count)
{
    struct decider by = {.fine = fine, .decide = decide_along};
    uint64_t known = contended_count();
    unsigned count = 0;
    bool more = true;
    preemptions_max = most_preemptions;
    branch_count = 0;
    while (more && count < most) {
        branch_at = preemptions = 0;
        strayed = false;
        if (!run(&by))
            return FOUND_WRONG;
        count++;
        if (contended_count() != known) {
            known = contended_count();
            branch_count = 0;
        } else if (strayed || branch_at < branch_count) {
            printf("%s: the same decisions do not lead to the same place\n", scenario->name);
            return FOUND_WRONG;
        } else {
            more = next_branch();
        }
    }
    *out_count += count;
    return more ? FOUND_MANY : FOUND_ALL;
}

/* ---- one scenario ---------------------------------------------------------------------------- */

static bool
explore_one_tree(bool fine, unsigned most_preemptions, bool is_long)
{
    unsigned count = 0;
    enum found found = explore_tree(most_preemptions, fine,
                                    is_long ? SCHEDULES_MAX_LONG : SCHEDULES_MAX, &count);
    if (found == FOUND_WRONG)
        return false;
    printf("    %s, %u preemptions at most: %u schedules%s\n",
           fine ? "at every access" : "at atomic operations", most_preemptions, count,
           found == FOUND_ALL ? "" : ", not all of them");
    return true;
}

static bool
explore_trees(bool is_long)
{
    return explore_one_tree(false, 2, is_long) && explore_one_tree(true, 1, is_long) &&
           (!is_long || (explore_one_tree(false, 3, true) && explore_one_tree(true, 2, true)));
}

static void
choose_seed(void)
{
    const char *given_seed = getenv("LARDER_SEED");
    if (given_seed)
        seed = strtoull(given_seed, NULL, 10);
    else if (!seed)
        seed = (uint64_t)time(NULL);
}

static bool
explore_all(void)
{
    bool is_long = getenv("LARDER_TEST_LONG") != NULL;
    random_state = seed * 0x9e3779b97f4a7c15u + 1;
    printf("    LARDER_SEED=%" PRIu64 "\n", seed);
    return explore_random(LEARNING_SCHEDULES) && explore_trees(is_long) &&
           explore_random(is_long ? RANDOM_SCHEDULES_LONG : RANDOM_SCHEDULES);
}

bool
explore(const struct scenario *sc)
{
    const char *only = getenv("LARDER_SCENARIO"), *schedule = getenv("LARDER_SCHEDULE");
    if (only && strcmp(only, sc->name) != 0)
        return true;
    scenario = sc;
    sc->prepare();
    schedule_open(sc);
    schedule_at_crash(say_how_to_repeat);
    choose_seed();
    clock_t from = clock();
    bool good = schedule ? explore_given(schedule) : explore_all();
    printf("    %.1f s\n", (double)(clock() - from) / CLOCKS_PER_SEC);
    sc->finish();
    return good;
}
