"""Goal: slabs, lru and lru_crawler are answered as by memcached, though there is nothing to tune,
and `stats settings` shows what they have set.

Method: the same lines to larder and to Debian's memcached 1.6.18; what that one does not know yet
is looked at alone, the recordings of 1.6.45 decide.
"""
import pytest

# In 1.6.18 numbers are lax and noreply is not heeded: none of that here.
TUNING = [line + b"\r\n" for line in b"""
slabs|slabs x|slabs reassign|slabs reassign 1|slabs reassign 1 1|slabs reassign -1 -1
slabs reassign -1 2|slabs reassign 0 1|slabs reassign 1 39|slabs reassign 1 40|slabs reassign 40 1
slabs reassign -2 1|slabs reassign x 1|slabs reassign 1 2 3
slabs automove|slabs automove x|slabs automove 0|slabs automove 1 5|slabs automove 2
slabs automove 3|slabs automove -1|slabs automove ratio|slabs automove ratio x
slabs automove ratio 1x|slabs automove ratio 5|slabs automove ratio -5|slabs automove ratio 0.25
slabs automove ratio 1e999
lru|lru x|lru tune|lru tune 1 2 3|lru tune 50 50 1 1|lru tune 10 20 0 1|lru tune 10 20 1 -1
lru tune 10 20 1 1x|lru tune -1 20 1 1|lru tune a b c d|lru tune 11 22 0.5 1.5
lru tune 0 0 1 1 more|lru tune 12 23 0.25 1.25|lru mode|lru mode x|lru mode flat|lru mode flat x
lru mode segmented|lru mode flat|lru temp_ttl|lru temp_ttl x|lru temp_ttl 5|lru temp_ttl -1
lru temp_ttl 7 8| lru mode segmented| slabs automove 0
lru_crawler|lru_crawler x|lru_crawler crawl|lru_crawler crawl ,|lru_crawler crawl 0
lru_crawler crawl 64|lru_crawler crawl x|lru_crawler crawl 1,x|lru_crawler crawl -1
lru_crawler crawl all x|lru_crawler sleep|lru_crawler sleep x|lru_crawler sleep 1000001
lru_crawler sleep 1000000|lru_crawler sleep -1|lru_crawler sleep 17|lru_crawler tocrawl
lru_crawler tocrawl x|lru_crawler tocrawl -1|lru_crawler tocrawl 19|lru_crawler enable
lru_crawler metadump|lru_crawler metadump 99|lru_crawler metadump 1 2|lru_crawler enable x
refresh_certs| refresh_certs x""".replace(b"\n", b"|").split(b"|") if line]
FOLLOWS = """slab_reassign slab_automove slab_automove_ratio lru_crawler lru_crawler_sleep
    lru_crawler_tocrawl lru_segmented hot_lru_pct warm_lru_pct hot_max_factor warm_max_factor
    temp_lru temporary_ttl lru_maintainer_thread""".split()
NO_MODERN = [b"lru mode flat\r\n", b"lru temp_ttl 5\r\n", b"slabs reassign x y\r\n",
             b"slabs automove 1\r\n", b"lru tune 12 23 0.5 1\r\n", b"lru_crawler crawl all\r\n",
             b"lru_crawler crawl 99\r\n", b"lru_crawler metadump all\r\n",
             b"lru_crawler sleep 7\r\n", b"lru_crawler disable\r\n", b"lru_crawler enable\r\n",
             b"lru_crawler crawl ,\r\n"]
FORBIDDEN = [b"lru_crawler metadump all\r\n", b"lru_crawler metadump 99\r\n"]


def one_by_one(s, lines):
    with s.connect() as c:
        return [(line, c.ask(line)) for line in lines]


@pytest.mark.parametrize("options, lines", [((), TUNING), (("-o", "no_modern"), NO_MODERN),
                                            (("-X",), FORBIDDEN)], ids=["", "no_modern", "X"])
def test_tuning_is_answered_and_shown(larder, memcached, options, lines):
    ours, theirs = larder(*options), memcached(*options)
    assert one_by_one(ours, lines) == one_by_one(theirs, lines)
    shown = [{n: s.stats("settings")[n] for n in FOLLOWS} for s in (ours, theirs)]
    assert shown[0] == shown[1]


def test_tuning_of_1_6_45(larder):
    """What the peer does not know yet; most of it is recorded."""
    s = larder()
    with s.connect() as c:
        def ask(line):
            return c.ask(line + b"\r\n")

        for rest in (b"window 3", b"window 1800", b"freeratio 0.125"):
            assert ask(b"slabs automove " + rest) == b"OK\r\n"
        for window in (b"2", b"1801"):
            assert ask(b"slabs automove window " + window).endswith(b"too low or too high\r\n")
        assert ask(b"slabs automove freeratio") == b"ERROR\r\n"
        assert ask(b"lru_crawler crawl 1,2,,63") == ask(b"lru_crawler crawl all") == b"OK\r\n"
        assert ask(b"lru_crawler mgdump 99") == b"BADCLASS invalid class id\r\n"
        c.send(b"slabs automove 0 noreply\r\nrefresh_certs noreply\r\nlru_crawler noreply\r\n")
        assert ask(b"lru_crawler disable") == ask(b"lru_crawler disable") == b"OK\r\n"
        assert ask(b"lru_crawler crawl all") == b"CLIENT_ERROR lru crawler disabled\r\n"
    shown = s.stats("settings")
    assert [shown[n] for n in ("slab_automove_window", "slab_automove_freeratio", "slab_automove",
                               "lru_crawler")] == ["1800", "0.125", "0", "no"]


def test_options_of_tuning(larder):
    s = larder("-o", "no_slab_reassign,no_lru_crawler,no_lru_maintainer")
    with s.connect() as c:
        assert c.ask(b"slabs reassign 1 2\r\n") == b"CLIENT_ERROR slab reassignment disabled\r\n"
        assert c.ask(b"lru_crawler crawl all\r\n") == b"CLIENT_ERROR lru crawler disabled\r\n"
        assert c.ask(b"lru mode flat\r\n") == b"ERROR\r\n"
        assert c.ask(b"lru_crawler enable\r\n") == b"OK\r\n"
        assert c.ask(b"lru_crawler crawl 1\r\n") == b"OK\r\n"
    assert s.stats("settings")["lru_crawler"] == "yes"
