/*
 * report.c -- what came out of a simulation: a table, or one JSON object.
 *
 * All but the number of items is of the requests that are counted.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>

#include "sim.h"

static double
ratio(uint64_t part, uint64_t whole)
{
    return whole ? (double)part / (double)whole : 0.0;
}

#define SINCE_WARM(result, field) ((result)->end.field - (result)->warm.field)

/* Bytes that were copied to keep entries, for each byte that was stored. */
static double
write_amplification(const struct sim_result *r)
{
    return ratio(SINCE_WARM(r, bytes_copied_evicting) + SINCE_WARM(r, bytes_copied_cleaning),
                 SINCE_WARM(r, bytes_stored));
}

/* ---- for people ------------------------------------------------------------------------------ */

static void
print_table(const struct sim_options *o, const struct sim_result *results)
{
    printf("%7s %10s %10s %9s %9s %10s %10s %7s\n", "memory", "requests", "miss ratio",
           "byte miss", "write amp", "items", "evictions", "seconds");
    for (unsigned i = 0; i < o->size_count; i++) {
        const struct sim_result *r = &results[i];
        const struct sim_tally *t = &r->tally;

        printf("%7s %10" PRIu64 " %10.5f %9.5f %9.3f %10" PRIu64 " %10" PRIu64 " %7.2f\n",
               r->size->text, t->requests, ratio(t->misses, t->gets),
               ratio(t->miss_bytes, t->get_bytes), write_amplification(r), r->end.items_present,
               SINCE_WARM(r, items_evicted), r->seconds);
    }
}

static void
print_share(const char *what, uint64_t part, uint64_t whole, const char *of)
{
    printf("  %-28s %14" PRIu64 "  %6.2f %% of %s\n", what, part, 100 * ratio(part, whole), of);
}

static void
print_evictions(const struct sim_result *r)
{
    uint64_t stored = SINCE_WARM(r, items_stored), evicted = SINCE_WARM(r, items_evicted);
    uint64_t expired = SINCE_WARM(r, items_expired), used = r->end.memory_used_bytes;

    printf("\n%s\n", r->size->text);
    print_share("evicted", evicted, stored, "what was stored");
    print_share("  never read", SINCE_WARM(r, evicted_unfetched), evicted, "the evicted");
    print_share("  for a place in the index", SINCE_WARM(r, index_evicted), evicted,
                "the evicted");
    print_share("expired", expired, stored, "what was stored");
    print_share("  never read", SINCE_WARM(r, expired_unfetched), expired, "the expired");
    print_share("stored in the main queue", SINCE_WARM(r, ghost_hits), stored, "what was stored");
    print_share("promoted", SINCE_WARM(r, promoted), stored, "what was stored");
    print_share("second chances", SINCE_WARM(r, second_chances), stored, "what was stored");
    print_share("bytes copied to evict", SINCE_WARM(r, bytes_copied_evicting),
                SINCE_WARM(r, bytes_stored), "those stored");
    print_share("bytes copied to clean", SINCE_WARM(r, bytes_copied_cleaning),
                SINCE_WARM(r, bytes_stored), "those stored");
    print_share("bytes in use", used, r->end.memory_limit_bytes, "the limit");
    print_share("  entries", r->end.bytes_present, used, "those");
    print_share("  dead", r->end.dead_bytes, used, "those");
    print_share("  index", r->end.index_bytes, used, "those");
    print_share("  ghosts", r->end.ghost_bytes, used, "those");
    print_share("  expired, about", r->end.expired_held_bytes, used, "those");
    printf("  %-28s %14.1f\n", "index bytes of an entry",
           ratio(r->end.index_bytes, r->end.items_present));
    printf("  %-28s %14" PRIu64 "\n", "age of the evicted, seconds", r->end.evicted_age_s);
    printf("  %-28s %14" PRIu64 "\n", "... of those never read",
           r->end.evicted_unfetched_age_s);
}

/* What a reader of the table alone should know. */
static void
print_notes(const struct sim_result *r)
{
    if (r->tally.refused)
        fprintf(stderr, "larder-sim: %s: %" PRIu64 " stores found no room\n", r->size->text,
                r->tally.refused);
    if (r->tally.not_numbers)
        fprintf(stderr, "larder-sim: %s: %" PRIu64 " incr of a value that is no number\n",
                r->size->text, r->tally.not_numbers);
}

/* ---- for programs ---------------------------------------------------------------------------- */

static void
print_json_string(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if ((unsigned char)*text < ' ')
            printf("\\u%04x", (unsigned char)*text);
        else if (*text == '"' || *text == '\\')
            printf("\\%c", *text);
        else
            putchar(*text);
    }
    putchar('"');
}

static void
print_json_counts(const struct sim_result *r)
{
    const struct sim_tally *t = &r->tally;
    const struct {
        const char *name;
        uint64_t number;
    } rows[] = {
        {"memory_bytes", r->size->bytes},
        {"all_requests", t->all_requests},
        {"requests", t->requests},
        {"gets", t->gets},
        {"hits", t->gets - t->misses},
        {"misses", t->misses},
        {"sets", t->sets},
        {"fills", t->fills},
        {"deletes", t->deletes},
        {"incrs", t->incrs},
        {"refused", t->refused},
        {"not_numbers", t->not_numbers},
        {"get_bytes", t->get_bytes},
        {"miss_bytes", t->miss_bytes},
        {"items", r->end.items_present},
        {"stored", SINCE_WARM(r, items_stored)},
        {"evictions", SINCE_WARM(r, items_evicted)},
        {"evicted_unfetched", SINCE_WARM(r, evicted_unfetched)},
        {"index_evicted", SINCE_WARM(r, index_evicted)},
        {"expired", SINCE_WARM(r, items_expired)},
        {"expired_unfetched", SINCE_WARM(r, expired_unfetched)},
        {"ghost_hits", SINCE_WARM(r, ghost_hits)},
        {"promoted", SINCE_WARM(r, promoted)},
        {"second_chances", SINCE_WARM(r, second_chances)},
        {"bytes_stored", SINCE_WARM(r, bytes_stored)},
        {"bytes_copied_evicting", SINCE_WARM(r, bytes_copied_evicting)},
        {"bytes_copied_cleaning", SINCE_WARM(r, bytes_copied_cleaning)},
        {"expired_held_bytes", r->end.expired_held_bytes},
        {"evicted_age_s", r->end.evicted_age_s},
        {"evicted_unfetched_age_s", r->end.evicted_unfetched_age_s},
        {"memory_used_bytes", r->end.memory_used_bytes},
        {"entry_bytes", r->end.bytes_present},
        {"dead_bytes", r->end.dead_bytes},
        {"index_bytes", r->end.index_bytes},
    };

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        printf("\"%s\": %" PRIu64 ", ", rows[i].name, rows[i].number);
}

static void
print_json(const struct sim_options *o, const struct sim_result *results)
{
    printf("{\"trace\": ");
    print_json_string(o->trace_path);
    printf(", \"seed\": %" PRIu64 ", \"speed\": %g, \"ttl\": %s, \"cas\": %s, \"sizes\": [",
           o->seed, o->speed, o->ttl ? "true" : "false", o->cas ? "true" : "false");
    for (unsigned i = 0; i < o->size_count; i++) {
        const struct sim_result *r = &results[i];
        const struct sim_tally *t = &r->tally;

        printf("%s\n {", i ? "," : "");
        print_json_counts(r);
        printf("\"miss_ratio\": %.6f, \"byte_miss_ratio\": %.6f, "
               "\"write_amplification\": %.4f, \"seconds\": %.3f}",
               ratio(t->misses, t->gets), ratio(t->miss_bytes, t->get_bytes),
               write_amplification(r), r->seconds);
    }
    printf("\n]}\n");
}

void
sim_report(const struct sim_options *o, const struct sim_result *results)
{
    if (o->json)
        print_json(o, results);
    else
        print_table(o, results);
    for (unsigned i = 0; i < o->size_count; i++) {
        if (o->evict_report && !o->json)
            print_evictions(&results[i]);
        print_notes(&results[i]);
    }
}
