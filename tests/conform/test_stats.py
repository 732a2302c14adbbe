"""Goal: the numbers of `stats` mean what they mean in memcached.

Method: after the same commands the counters of larder and of the peer are equal; every name that
the peer reports is reported.  Then what only larder counts: where its items have gone.
"""
import re
import threading
import time

import pytest

import server

# Counters that depend on nothing but the commands.
COUNTERS = """cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits
    cas_badval touch_hits touch_misses curr_items total_items evictions store_too_large
    store_no_memory""".split()
# What 1.6.18 has and 1.6.45 has not.
GONE = {"slab_reassign_evictions_nomem"}


def store(command, key, value, ttl=0, extra=b""):
    return b"%s %s 0 %d %d%s\r\n%s\r\n" % (command, key, ttl, len(value), extra, value)


STREAMS = {
    "gets": store(b"set", b"a", b"1") + b"get a b c\r\ngets a a\r\nget b\r\nget %s\r\n" % (
        b"k" * 250),
    "stores": b"".join([
        store(b"set", b"a", b"1"), store(b"set", b"a", b"2"), store(b"add", b"a", b"3"),
        store(b"add", b"b", b"3"), store(b"replace", b"b", b"4"), store(b"replace", b"c", b"4"),
        store(b"append", b"a", b"4"), store(b"append", b"c", b"4"), store(b"prepend", b"a", b"4"),
        store(b"set", b"a", b"1", extra=b" noreply")]),
    "deletes": store(b"set", b"a", b"1") + b"delete a\r\ndelete a\r\ndelete b noreply\r\n",
    "counting": store(b"set", b"n", b"1") + store(b"set", b"x", b"x") + b"".join([
        b"incr n 1\r\nincr n 100000\r\ndecr n 5\r\ndecr n 99999999\r\nincr none 1\r\n",
        b"decr none 1\r\nincr x 1\r\ndecr x 1\r\nincr n abc\r\n"]),
    "cas": store(b"set", b"a", b"1") + store(b"cas", b"a", b"2", extra=b" 0") + store(
        b"cas", b"none", b"2", extra=b" 1"),
    "touches": store(b"set", b"a", b"1") + b"".join([
        b"touch a 100\r\ntouch none 100\r\ntouch a abc\r\ngat 100 a none a\r\ngats 0 a\r\n"]),
    "flush": store(b"set", b"a", b"1") + store(b"set", b"b", b"1") + b"".join([
        b"flush_all\r\nget a\r\nget a\r\nflush_all 0 noreply\r\nflush_all abc\r\nget b\r\n"]),
    "expired": store(b"set", b"a", b"1", ttl=-1) + b"get a\r\nget a\r\n" + store(
        b"set", b"b", b"1") + b"touch b -1\r\nget b\r\ngat 0 b\r\n",
    "expired, and asked for in other ways": b"".join(
        store(b"set", b"a", b"1", ttl=-1) + how
        for how in (b"gat 9 a\r\n", b"gats 9 a\r\n", b"touch a 9\r\n", b"mg a\r\n", b"mg a h v\r\n",
                    b"mg a T9\r\n", b"mg a v T9\r\n", b"mg a N9\r\n", b"mg a v N9 T8\r\n")),
    "gone, and met by who does not ask for it": b"".join(
        store(b"set", b"a", b"1", ttl=ttl) + gone + how
        for ttl, gone in ((-1, b""), (0, b"flush_all\r\n"))
        for how in (store(b"set", b"a", b"2"), store(b"add", b"a", b"2"),
                    store(b"replace", b"a", b"2"), store(b"append", b"a", b"2"),
                    store(b"cas", b"a", b"2", extra=b" 1"), b"delete a\r\n", b"incr a 1\r\n",
                    b"decr a 1\r\n", b"md a\r\n", b"md a I\r\n", b"ma a\r\n", b"ma a N0\r\n",
                    b"me a\r\n", b"ms a 1\r\n2\r\n")),
    "too large": store(b"set", b"a", b"1") + store(b"set", b"a", b"x" * 2000000) + store(
        b"add", b"b", b"x" * 2000000) + b"get a\r\n",
    "meta": b"".join([
        b"ms a 1\r\nx\r\nms a 1 ME\r\nx\r\nms b 1 MR\r\nx\r\nms b 1 C5\r\nx\r\n",
        b"ms a 1 C0\r\nx\r\nms a 1 MA\r\nx\r\nms a 1 T\r\nx\r\n",
        b"mg a v\r\nmg a T30\r\nmg b\r\nmg b T30 q\r\nmg v N30\r\nmg w N30 T60\r\nmg v\r\n",
        b"md a C0\r\nmd a I\r\nmd a\r\nmd a\r\nmd b I\r\nmg v T-1\r\nmg v\r\nmg v\r\n",
        b"ma n\r\nma n MD\r\nma n N0 J7\r\nma n D5\r\nma n MD q\r\nma n C99\r\nma w\r\n",
        b"me none\r\nmn\r\n"]),
    "bad": b"nonsense\r\n" + b"set a 0 0 x\r\nset a 0 0 3\r\nabcdefnonsense\r\nget a\r\n",
}


@pytest.mark.parametrize("name", STREAMS)
def test_counters_agree(larder, memcached, name):
    # Without its background threads, which also drop what has expired or is flushed.
    ours, theirs = larder(), memcached("-o", "no_lru_maintainer,no_lru_crawler")
    answers = [server.number_cas(s.play(STREAMS[name])) for s in (ours, theirs)]
    assert answers[0] == answers[1]
    ours, theirs = ours.stats(), theirs.stats()
    different = {n: (ours[n], theirs[n]) for n in COUNTERS if ours[n] != theirs[n]}
    assert not different, "larder, memcached: %s" % different


def test_every_name_is_there(larder, memcached):
    """Programs that watch memcached find what they look for."""
    ours, theirs = larder(), memcached()
    assert set(theirs.stats()) - GONE <= set(ours.stats())
    assert set(theirs.stats("settings")) <= set(ours.stats("settings"))


def test_who_we_are(larder):
    """memcached's version for clients that test for features, our own beside it."""
    stats = larder().stats()
    assert stats["version"] == "1.6.45"
    assert stats["larder_version"].count(".") == 2
    assert stats["pointer_size"] == "64"


def test_connections_and_bytes(larder):
    running = larder("-m", "100", "-t", "3")
    with running.connect() as a, running.connect() as b:
        a.ask(b"mn\r\n")
        b.ask(store(b"set", b"key", b"x" * 1000))
        # The connection that found it up may still be counted.
        assert server.wait_until(lambda: running.stats()["curr_connections"] == "3")
        before = running.stats()
        a.get(b"get key\r\n")
        after = running.stats()
    assert int(before["pid"]) == running.pid
    assert int(before["limit_maxbytes"]) == 100 << 20
    assert int(before["threads"]) == 3
    assert abs(int(before["time"]) - time.time()) < 5
    assert int(before["bytes"]) > 1000
    written = int(after["bytes_written"]) - int(before["bytes_written"])
    answer = len(b"VALUE key 0 1000\r\n\r\nEND\r\n") + 1000
    # The first answer to `stats` may be counted before it is sent or after.
    assert answer <= written < answer + 20000
    read = int(after["bytes_read"]) - int(before["bytes_read"])
    assert read == len(b"get key\r\n") + len(b"stats\r\n")


def test_reset(larder):
    """Counters start again, gauges stay."""
    running = larder()
    running.play(store(b"set", b"a", b"1") + b"get a\r\nget b\r\nincr a 1\r\n")
    with running.connect() as c:
        assert c.ask(b"stats reset\r\n") == b"RESET\r\n"
    stats = running.stats()
    for name in ("cmd_get", "cmd_set", "get_hits", "get_misses", "incr_hits", "total_items"):
        assert stats[name] == "0", name
    assert stats["curr_items"] == "1"
    assert int(stats["bytes"]) > 0
    running.play(b"get a\r\n")
    assert running.stats()["get_hits"] == "1"


def test_reset_by_somebody_else(larder):
    """While `stats` is being answered: no number falls below 0, and so becomes a very large one."""
    running = larder("-t", "4")
    over = threading.Event()

    def repeat(request, answer):
        with running.connect() as c:
            while not over.is_set():
                c.send(request * 30)
                c.read(30 * len(answer))

    others = [threading.Thread(target=repeat, args=args) for args in
              ((b"get none\r\n", b"END\r\n"), (b"stats reset\r\n", b"RESET\r\n"))]
    for thread in others:
        thread.start()
    try:
        with running.connect() as c:
            for _ in range(4000):
                c.send(b"stats\r\n")
                numbers = re.findall(rb" (\d+)\r\n", c.until(b"END\r\n"))
                assert max(map(int, numbers)) < 1 << 63
    finally:
        over.set()
        for thread in others:
            thread.join()


def test_words_that_are_too_many(larder, memcached):
    """Passed over behind reset, settings and conns; no group begins otherwise."""
    for running in (larder(), memcached()):
        with running.connect() as c:
            running.play(b"get none\r\n")
            assert c.ask(b"stats reset foo\r\n") == b"RESET\r\n"
            assert running.stats()["cmd_get"] == "0"
            assert c.ask(b"stats nonsense reset\r\n") == b"ERROR\r\n"
            assert c.ask(b"stats reset noreply\r\n") == b"RESET\r\n"
        assert running.stats("settings foo bar")["cas_enabled"] == "yes"
        assert "conn_parse_cmd" in running.stats("conns foo").values()


def test_settings(larder):
    settings = larder("-m", "77", "-c", "333", "-t", "3", "-R", "50", "-F",
                      "-o", "idle_timeout=60").stats("settings")
    wanted = {"maxbytes": str(77 << 20), "maxconns": "333", "num_threads": "3",
              "reqs_per_event": "50", "flush_enabled": "no", "idle_timeout": "60",
              "cas_enabled": "yes", "item_size_max": str(1 << 20), "evictions": "on",
              "inter": "127.0.0.1", "auth_enabled_sasl": "no", "verbosity": "0"}
    assert {name: settings.get(name) for name in wanted} == wanted


def test_conns(larder):
    """Each connection with its address and state; the asking one is parsing."""
    running = larder()
    with running.connect() as idle, running.connect() as sending:
        idle.ask(b"mn\r\n")
        sending.send(b"set key 0 0 100\r\nhalf")
        assert server.wait_until(lambda: "conn_nread" in running.stats("conns").values())
        conns = running.stats("conns")
        ours = "tcp:127.0.0.1:%d" % idle.socket.getsockname()[1]
        states = {conns[n[:-len("addr")] + "state"] for n in conns
                  if n.endswith(":addr") and not n.endswith("listen_addr")}
    assert ours in conns.values()
    assert {"conn_listening", "conn_parse_cmd", "conn_nread"} <= states


PLACES = ("items_stored",) + server.PLACES_OF_AN_ITEM


def test_where_items_go(larder):
    """stored = present + replaced + deleted + expired + evicted + flushed, step by step."""
    running = larder()

    def places():
        stats = running.stats()
        return {name: int(stats[name]) for name in PLACES}

    def check(stream, **changes):
        before = places()
        running.play(stream)
        after = places()
        assert {n: after[n] - before[n] for n in PLACES if after[n] != before[n]} == changes
        running.check_accounting()

    check(store(b"set", b"a", b"1"), items_stored=1, curr_items=1)
    check(store(b"set", b"a", b"2"), items_stored=1, items_replaced=1)
    check(b"delete a\r\ndelete a\r\n", curr_items=-1, items_deleted=1)
    check(store(b"add", b"a", b"2") + store(b"add", b"a", b"3"), items_stored=1, curr_items=1)
    check(store(b"set", b"e", b"1", ttl=-1) + b"get e\r\n", items_stored=1, items_expired=1)
    check(store(b"set", b"b", b"1") + b"flush_all\r\n", items_stored=1, curr_items=-1,
          items_flushed=2)


def test_evicted_items_are_counted(larder):
    """Many times more than there is memory for: every item is accounted for."""
    running = larder("-m", "8", "-I", "512k")
    for base in range(0, 40000, 1000):
        running.play(b"".join(store(b"set", b"key%d" % i, b"v" * (i % 3000), extra=b" noreply")
                              for i in range(base, base + 1000)))
    stats = running.stats()
    assert int(stats["evictions"]) > 0
    assert 0 < int(stats["curr_items"]) < 40000
    assert int(stats["items_stored"]) == 40000


def test_memory_of_segments(larder):
    """Live, dead, free, in limbo, lent: what dies moves from live to dead, nothing is counted twice."""
    running = larder("-m", "16", "-t", "1")

    def numbers():
        stats = running.stats()
        return {name: int(value) for name, value in stats.items() if value.isdigit()}

    running.play(b"".join(store(b"set", b"key%d" % i, b"v" * 1000, extra=b" noreply")
                          for i in range(2000)) + b"mn\r\n")
    full = numbers()
    assert full["memory_live_bytes"] == full["bytes"] > 2000 * 1000
    sealed = full["segments_sealed"] * full["segment_bytes"]
    assert full["memory_dead_bytes"] < sealed / 10
    running.play(b"".join(b"delete key%d noreply\r\n" % i for i in range(0, 1000, 2)) + b"mn\r\n")
    half = numbers()
    gone = full["memory_live_bytes"] - half["memory_live_bytes"]
    assert gone > 500 * 1000
    assert half["memory_dead_bytes"] - full["memory_dead_bytes"] == gone
    for stats in (full, half):
        for what in ("free", "limbo", "lent"):
            assert (stats["memory_%s_bytes" % what]
                    == stats["segments_" + what] * stats["segment_bytes"])
        assert 0 < stats["index_slots_used"] <= stats["index_slots"]


def test_slices_of_housekeeping(larder):
    """They are counted and the longest is known, from one reset to the next."""
    running = larder("-m", "8")
    assert int(running.stats()["maintain_slices"]) == 0
    running.play(b"".join(store(b"set", b"key%d" % i, b"v" * 1000, extra=b" noreply")
                          for i in range(20000)) + b"mn\r\n")
    stats = running.stats()
    assert int(stats["maintain_slices"]) >= int(stats["evictions"]) / 64 > 0
    assert 0 < int(stats["maintain_longest_us"]) < 1000000
    assert 0 < int(stats["maintain_us"])
    assert int(stats["maintain_long_slices"]) <= int(stats["maintain_slices"])
    with running.connect() as c:
        assert c.ask(b"stats reset\r\n") == b"RESET\r\n"
    for _ in range(100):
        stats = running.stats()
        if stats["maintain_slices"] == stats["maintain_longest_us"] == "0":
            break
        running.play(b"stats reset\r\n")
    assert stats["maintain_slices"] == stats["maintain_longest_us"] == "0"


def test_memory_beside_the_limit(larder):
    running = larder("-t", "16", "-m", "64")
    base = int(running.stats()["memory_base_bytes"])
    assert base >= 1 << 20
    if not re.search(r"/(clang-)?[at]san/", server.LARDERD):
        assert base <= 8 << 20
