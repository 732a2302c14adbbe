/*
 * tune.c -- slabs, lru and lru_crawler: what they are asked is checked as memcached 1.6.45 checks
 * it, remembered for `stats settings`, and nothing more.
 *
 * There are no slab classes here, no LRU lists and no crawler.  A tool that moves pages is told
 * that there are none to spare, which is true; one that starts a crawl is told that it has been
 * done: housekeeping collects what has expired, without being asked.
 */
#include "inner.h"

#include <errno.h>
#include <stdlib.h>

#include "base/num.h"

#define WORDS_MAX 8u
#define REAL_CHARS_MAX 63u
#define CLASS_LARGEST 39               /* memcached's, where it has not been told otherwise */
#define CLASSES_MAX 64u                /* ... and for the crawler, in any case */
#define LRU_PERCENT_MAX 80u
#define WINDOW_MIN 3u
#define WINDOW_MAX 1800u
#define CRAWLER_SLEEP_US_MAX 1000000u

#define ANY UINT32_MAX                 /* number of words */

#define BADCLASS SLICE("BADCLASS invalid class id\r\n")
#define NO_CRAWLER SLICE("CLIENT_ERROR lru crawler disabled\r\n")

/* A command's words after the second one.  Guarded by cmd->lock while a command is executed. */
struct words {
    const struct cmd_config *config;
    struct cmd_tuning *tuning;
    struct slice at[WORDS_MAX];        /* empty: there are no more */
    unsigned count;                    /* of all, those beyond WORDS_MAX too */
};

/* As C reads it, from a bounded copy: the end of the word, or white space, must follow. */
static bool
read_real(struct slice word, double *out)
{
    char text[REAL_CHARS_MAX + 1], *end;
    if (word.len == 0 || word.len > REAL_CHARS_MAX)
        return false;
    memcpy(text, word.at, word.len);
    text[word.len] = '\0';
    errno = 0;
    double value = strtod(text, &end);
    if (errno != 0 || end == text || (*end && !num_is_white(*end)))
        return false;
    *out = value;
    return true;
}

/* ---- slabs ----------------------------------------------------------------------------------- */

static struct slice
slabs_reassign(struct words *w)
{
    int32_t from, to;
    if (!w->tuning->slab_reassign)
        return SLICE("CLIENT_ERROR slab reassignment disabled\r\n");
    if (!num_parse_i32(w->at[0], &from) || !num_parse_i32(w->at[1], &to))
        return PROTO_BAD_FORMAT;
    if (from == to)
        return SLICE("SAME src and dst class are identical\r\n");
    if (from < 0 || from > CLASS_LARGEST || to < 0 || to > CLASS_LARGEST)
        return SLICE("BADCLASS invalid src or dst class id\r\n");
    return SLICE("NOSPARE source class has no spare pages\r\n");
}

static struct slice
automove_window(struct words *w)
{
    uint32_t window;
    if (!num_parse_u32(w->at[1], &window))
        return PROTO_BAD_FORMAT;
    if (window < WINDOW_MIN || window > WINDOW_MAX)
        return SLICE("CLIENT_ERROR automove window too low or too high\r\n");
    w->tuning->automove_window = (int)window;
    return PROTO_OK;
}

static struct slice
slabs_automove(struct words *w)
{
    uint32_t level;
    if (slice_equal(w->at[0], SLICE("ratio")))
        return read_real(w->at[1], &w->tuning->automove_ratio) ? PROTO_OK : PROTO_ERROR;
    if (slice_equal(w->at[0], SLICE("freeratio")))
        return read_real(w->at[1], &w->tuning->automove_free_ratio) ? PROTO_OK : PROTO_ERROR;
    if (slice_equal(w->at[0], SLICE("window")))
        return automove_window(w);
    if (!num_parse_u32(w->at[0], &level))
        return PROTO_BAD_FORMAT;
    if (level > 2)
        return PROTO_ERROR;
    w->tuning->automove = (int)level;
    return PROTO_OK;
}

/* ---- lru ------------------------------------------------------------------------------------- */

static struct slice
lru_tune(struct words *w)
{
    uint32_t hot, warm;
    double hot_factor, warm_factor;
    if (!num_parse_u32(w->at[0], &hot) || !num_parse_u32(w->at[1], &warm) ||
        !read_real(w->at[2], &hot_factor) || !read_real(w->at[3], &warm_factor))
        return PROTO_ERROR;
    if ((uint64_t)hot + warm > LRU_PERCENT_MAX)
        return SLICE("ERROR hot and warm pcts must not exceed 80\r\n");
    if (hot_factor <= 0 || warm_factor <= 0)
        return SLICE("ERROR hot/warm age factors must be greater than 0\r\n");
    w->tuning->hot_pct = (int)hot;
    w->tuning->warm_pct = (int)warm;
    w->tuning->hot_max_factor = hot_factor;
    w->tuning->warm_max_factor = warm_factor;
    return PROTO_OK;
}

static struct slice
lru_mode(struct words *w)
{
    bool segmented = slice_equal(w->at[0], SLICE("segmented"));
    if (!w->tuning->maintainer || (!segmented && !slice_equal(w->at[0], SLICE("flat"))))
        return PROTO_ERROR;
    w->tuning->segmented = segmented;
    return PROTO_OK;
}

static struct slice
lru_temp_ttl(struct words *w)
{
    int32_t ttl;
    if (!w->tuning->maintainer || !num_parse_i32(w->at[0], &ttl))
        return PROTO_ERROR;
    w->tuning->temporary = ttl >= 0;
    if (ttl >= 0)
        w->tuning->temporary_ttl_s = ttl;
    return PROTO_OK;
}

/* ---- lru_crawler ----------------------------------------------------------------------------- */

/* A list with commas.  *out_count is how many classes it names.  False: one of them is none. */
static bool
read_classes(struct slice list, unsigned *out_count)
{
    *out_count = 0;
    for (const char *at = list.at, *end = list.at + list.len; at < end; at++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        struct slice number = {at, (size_t)((comma ? comma : end) - at)};
        uint32_t class;
        if (number.len > 0) {
            if (!num_parse_u32(number, &class) || class < 1 || class >= CLASSES_MAX)
                return false;
            ++*out_count;
        }
        at += number.len;
    }
    return true;
}

static struct slice
crawl(struct words *w)
{
    unsigned count;
    if (!w->tuning->crawler)
        return NO_CRAWLER;
    if (slice_equal(w->at[0], SLICE("all")))
        return PROTO_OK;
    if (slice_equal(w->at[0], SLICE("hash")))
        return SLICE("ERROR an unknown error happened\r\n");
    if (!read_classes(w->at[0], &count))
        return BADCLASS;
    return count > 0 ? PROTO_OK : SLICE("NOTSTARTED no items to crawl\r\n");
}

/* There are no dumps yet; what is refused is refused for memcached's reasons. */
static struct slice
dump(struct words *w, struct slice forbidden)
{
    unsigned count;
    bool whole = slice_equal(w->at[0], SLICE("all")) || slice_equal(w->at[0], SLICE("hash"));
    if (!w->tuning->crawler)
        return NO_CRAWLER;
    if (!w->config->dump_enabled)
        return forbidden;
    return whole || read_classes(w->at[0], &count) ? PROTO_ERROR : BADCLASS;
}

static struct slice
metadump(struct words *w)
{
    return dump(w, SLICE("ERROR metadump not allowed\r\n"));
}

static struct slice
mgdump(struct words *w)
{
    return dump(w, SLICE("ERROR key dump not allowed\r\n"));
}

static struct slice
crawler_tocrawl(struct words *w)
{
    return num_parse_u32(w->at[0], &w->tuning->crawler_tocrawl) ? PROTO_OK : PROTO_BAD_FORMAT;
}

static struct slice
crawler_sleep(struct words *w)
{
    uint32_t sleep_us;
    if (!num_parse_u32(w->at[0], &sleep_us))
        return PROTO_BAD_FORMAT;
    if (sleep_us > CRAWLER_SLEEP_US_MAX)
        return SLICE("CLIENT_ERROR sleep must be one second or less\r\n");
    w->tuning->crawler_sleep_us = (int)sleep_us;
    return PROTO_OK;
}

static struct slice
crawler_enable(struct words *w)
{
    if (w->tuning->crawler)
        return SLICE("ERROR failed to start lru crawler thread\r\n");
    w->tuning->crawler = true;
    return PROTO_OK;
}

static struct slice
crawler_disable(struct words *w)
{
    w->tuning->crawler = false;
    return PROTO_OK;
}

/* ---- the table ------------------------------------------------------------------------------- */

/* least, most: words that follow, "noreply" included; with other numbers the command is unknown. */
static const struct row {
    enum verb verb;
    unsigned least, most;
    struct slice (*run)(struct words *w);
    const char *word;
} rows[] = {
    {VERB_SLABS, 2, 2, slabs_reassign, "reassign"},
    {VERB_SLABS, 1, ANY, slabs_automove, "automove"},
    {VERB_LRU, 4, ANY, lru_tune, "tune"},
    {VERB_LRU, 1, ANY, lru_mode, "mode"},
    {VERB_LRU, 1, ANY, lru_temp_ttl, "temp_ttl"},
    {VERB_LRU_CRAWLER, 1, 1, crawl, "crawl"},
    {VERB_LRU_CRAWLER, 1, 1, metadump, "metadump"},
    {VERB_LRU_CRAWLER, 1, 1, mgdump, "mgdump"},
    {VERB_LRU_CRAWLER, 1, 1, crawler_tocrawl, "tocrawl"},
    {VERB_LRU_CRAWLER, 1, 1, crawler_sleep, "sleep"},
    {VERB_LRU_CRAWLER, 0, 0, crawler_enable, "enable"},
    {VERB_LRU_CRAWLER, 0, 0, crawler_disable, "disable"},
};

static const struct row *
row_of(enum verb verb, struct slice word, unsigned count)
{
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct row *r = &rows[i];
        if (r->verb == verb && slice_equal(word, (struct slice){r->word, strlen(r->word)}))
            return count >= r->least && count <= r->most ? r : NULL;
    }
    return NULL;
}

enum cmd_outcome
run_tune(struct cmd_thread *t, const struct request *req, struct cmd_cursor *cursor,
         struct reply *reply)
{
    struct cmd *cmd = t->cmd;
    struct words w = {.config = &cmd->config, .tuning = &cmd->tuning};
    struct slice rest = req->args, name = proto_next_word(&rest), word;
    (void)cursor;
    while ((word = proto_next_word(&rest)).len > 0) {
        if (w.count < WORDS_MAX)
            w.at[w.count] = word;
        w.count++;
    }
    const struct row *row = row_of(req->verb, name, w.count);
    if (!row)
        return answer(req, reply, PROTO_ERROR);
    pthread_mutex_lock(&cmd->lock);
    struct slice told = row->run(&w);
    pthread_mutex_unlock(&cmd->lock);
    return answer(req, reply, told);
}

struct cmd_tuning
cmd_tuning_now(struct cmd *cmd)
{
    pthread_mutex_lock(&cmd->lock);
    struct cmd_tuning now = cmd->tuning;
    pthread_mutex_unlock(&cmd->lock);
    return now;
}
