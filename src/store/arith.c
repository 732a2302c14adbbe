/*
 * arith.c -- incr and decr: a number in the text of a value.
 *
 * Where the new text is not longer and the entry is a small one, it changes in place.  Otherwise a
 * new entry takes its place, if the old one is still the same by then.
 */
#include "inner.h"
#include "view.h"

#include "base/num.h"

#define ROUNDS 8u

/* A number that is to be stored in a new entry. */
struct replacement {
    char text[NUM_U64_CHARS_MAX];
    uint32_t text_bytes, old_bytes;
    uint32_t client_flags;
    struct put_same same;
};

static uint64_t
result_of(const struct store_arith *how, uint64_t number)
{
    if (!how->decrement)
        return number + how->delta;    /* wraps modulo 2^64, as memcached does */
    return how->delta > number ? 0 : number - how->delta;
}

/* Group held; `seen` is a copy of the entry. */
static void
write_in_place(struct store_thread *t, const struct store_arith *how, struct item *it,
               struct item *seen, const struct replacement *r, struct store_number *out)
{
    memcpy(item_value(seen), r->text, r->text_bytes);
    memset(item_value(seen) + r->text_bytes, ' ', r->old_bytes - r->text_bytes);
    item_set_cas(seen, how->has_cas_new ? how->cas_new : link_cas_next(t, item_cas(seen)));
    if (how->has_expiry)
        item_set_expiry(seen, how->expiry);
    seen->access = access_made_now(t, item_access(seen));
    out->cas = item_cas(seen);
    words_write(it, seen, item_bytes(seen));
    link_expires(t, it, out->expiry);
}

/* TOO_SMALL: there is a new entry to be made, *r says which. */
enum in_place { PLACE_DONE, PLACE_TOO_SMALL, PLACE_MISS, PLACE_OTHER_CAS, PLACE_NON_NUMERIC };

static enum in_place
try_in_place(struct store_thread *t, const struct store_arith *how, struct replacement *r,
             struct store_number *out)
{
    struct index *ix = &t->store->index;
    struct item *it;
    enum store_gone gone;
    int slots_delta = 0;
    struct index_hold h = index_lock(ix, how->key.hash);
    slot_word *slot = link_find_live(t, &h, how->key, &it, &gone, &slots_delta);
    if (!slot) {
        index_unlock(ix, &h, slots_delta != 0);
        link_settle(t, slots_delta);
        count_found(t, gone);
        return PLACE_MISS;
    }
    struct item *seen = view_snapshot(t, it);
    enum in_place result = PLACE_TOO_SMALL;
    r->old_bytes = item_value_bytes(seen);
    if (how->compare && item_cas(seen) != how->cas_expected) {
        result = PLACE_OTHER_CAS;
    } else if (item_kind(seen) & ITEM_PIECES ||
               !num_scan_u64((struct slice){item_value(seen), r->old_bytes}, &out->number)) {
        result = PLACE_NON_NUMERIC;
    } else {
        out->number = result_of(how, out->number);
        out->expiry = item_expiry(seen);
        r->text_bytes = (uint32_t)num_put_u64(r->text, out->number);
        r->client_flags = item_client_flags(seen);
        r->same = (struct put_same){location_of(t->store, it), h.control};
        if (r->text_bytes <= r->old_bytes && seen != it) {
            write_in_place(t, how, it, seen, r, out);
            result = PLACE_DONE;
        }
    }
    index_unlock(ix, &h, result == PLACE_DONE);
    return result;
}

static struct store_put
put_for(const struct store_arith *how, uint32_t expiry)
{
    return (struct store_put){.mode = STORE_SET, .key = how->key, .expiry = expiry,
                              .cas_new = how->cas_new, .has_cas_new = how->has_cas_new};
}

/*
 * A number that does not fit where the old one lies, or lies in an entry that readers use in
 * place: a new entry takes its place, of the old length where the text is not longer.
 */
static enum store_outcome
replace(struct store_thread *t, const struct store_arith *how, const struct replacement *r,
        struct store_number *out)
{
    struct store_put put = put_for(how, how->expiry);
    struct put_job job;
    struct store_result result;
    put_job_init(&job, t, &put, r->client_flags);
    job.parts[0] = (struct slice){r->text, r->text_bytes};
    job.blanks = r->text_bytes < r->old_bytes ? r->old_bytes - r->text_bytes : 0;
    job.same = r->same;
    job.keep_expiry = !how->has_expiry;
    job.marks_kept = STORE_MARK_KEY_BINARY;
    if (r->text_bytes <= r->old_bytes) /* to clients it is the same entry */
        job.marks_kept |= STORE_MARK_FETCHED | STORE_MARK_STALE | STORE_MARK_TOKEN;
    job.cas_is = how->compare ? &how->cas_expected : NULL;
    enum store_outcome outcome = put_run(t, &job, &result);
    if (outcome == STORE_OK) {
        out->cas = result.cas;
        out->expiry = job.old_expiry;
    }
    return outcome;
}

static enum store_outcome
vivify(struct store_thread *t, const struct store_arith *how, struct store_number *out)
{
    struct store_put put = put_for(how, how->vivify_expiry);
    char text[NUM_U64_CHARS_MAX];
    struct put_job job;
    struct store_result result;
    put_job_init(&job, t, &put, 0);
    job.parts[0] = (struct slice){text, num_put_u64(text, how->initial)};
    job.absent = true;
    enum store_outcome outcome = put_run(t, &job, &result);
    if (outcome == STORE_OK)
        *out = (struct store_number){how->initial, result.cas, STORE_EXPIRY_NEVER, true};
    return outcome;
}

enum store_outcome
store_arith(struct store_thread *t, const struct store_arith *how, struct store_number *out_number)
{
    DCHECK(t->inside);
    ahead_go(t, &how->key);
    struct store_number number;
    enum store_outcome outcome = STORE_EXISTS;
    /* EXISTS from these two: what was seen has changed meanwhile. */
    for (unsigned round = 0; round < ROUNDS && outcome == STORE_EXISTS; round++) {
        struct replacement r;
        number = (struct store_number){0};
        switch (try_in_place(t, how, &r, &number)) {
        case PLACE_DONE:
            outcome = STORE_OK;
            break;
        case PLACE_TOO_SMALL:
            outcome = replace(t, how, &r, &number);
            break;
        case PLACE_MISS:
            outcome = how->vivify ? vivify(t, how, &number) : STORE_MISS;
            break;
        case PLACE_OTHER_CAS:
            return STORE_EXISTS;
        case PLACE_NON_NUMERIC:
            return STORE_NON_NUMERIC;
        }
    }
    if (outcome == STORE_OK)
        *out_number = number;
    return outcome == STORE_EXISTS ? STORE_AGAIN : outcome;
}
