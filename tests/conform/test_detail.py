"""Goal: `stats detail` counts what memcached counts, exactly, in memory that is bounded.

Method: streams in text and in packets are played against larder and the peer and the dumps are
compared as sets of lines; many clients count at once and the sums must be right to the last one;
prefixes are made until there is no memory for them.
"""
import concurrent.futures
import re

import pytest

import packets
import server
from packets import packet

MB = 1 << 20


def store(command, key, value=b"x", extra=b""):
    return b"%s %s 0 0 %d%s\r\n%s\r\n" % (command, key, len(value), extra, value)


def rows(dump):
    """{prefix: [get, hit, set, del]}; every line has the right shape and its prefix once."""
    lines = dump.split(b"\r\n")
    found = {}
    for line in lines:
        match = re.fullmatch(rb"PREFIX (.*) get (\d+) hit (\d+) set (\d+) del (\d+)", line)
        assert match and match.group(1) not in found, line
        found[match.group(1)] = [int(n) for n in match.groups()[1:]]
    return found


def dump(s):
    with s.connect() as c:
        c.send(b"stats detail dump\r\n")
        text = c.until(b"END\r\n")
    return rows(text[:-2]) if text else {}


# No prefix begins another one: where both are in one chain the peer takes the one for the other.
TEXT = b"".join([
    store(b"set", b"a:1"), store(b"set", b"a:b:c"), store(b"set", b"none"),
    store(b"set", b"a"), store(b"set", b"end:"), store(b"add", b"new:1"), store(b"add", b"new:1"),
    store(b"replace", b"rep:1"), store(b"append", b"a:1"), store(b"prepend", b"pre:1"),
    store(b"cas", b"cas:1", extra=b" 5"), store(b"set", b"quiet:1", extra=b" noreply"),
    b"set bad:1 0 0 1\r\nxxx\r\n", b"set len:1 0 0 -1\r\n",
    store(b"set", b"large:1", b"x" * 2 * MB), store(b"add", b"large:2", b"x" * 2 * MB),
    store(b"set", b"long:1", b"x" * 500000),
    store(b"set", b"k" * 249 + b":"), b"get %s:k\r\n" % (b"k" * 248),
    b"get a:1 z:1 none y:\r\n", b"gets a:1 a:2\r\n", b"gat 0 a:1 gat:1\r\n",
    b"gats 0 gts:1 a:1\r\n", b"gat x a:1\r\n", b"get long:1\r\n", b"touch t:1 0\r\n",
    b"touch a:1 0\r\n", b"incr i:1 1\r\n",
    b"decr a:1 1\r\n", b"delete a:b:c\r\n", b"delete d:1\r\n", b"delete d:2 noreply\r\n",
    b"mg m:1 v\r\n", b"ms m:1 1\r\nx\r\n", b"md m:1\r\n", b"ma m:1 N0\r\n", b"flush_all\r\n",
    b"get a:1\r\n"])


def test_counts_agree_in_text(larder, memcached):
    told = []
    for s in (larder("-m", "64"), memcached("-m", "64")):
        s.play(b"stats detail on\r\n" + TEXT)
        told.append(dump(s))
    assert told[0] == told[1]
    assert told[0][b"a"] == [6, 4, 3, 1]
    assert b"m" not in told[0] and b"t" not in told[0] and b"i" not in told[0]


def test_counts_agree_in_packets(larder, memcached):
    requests = [
        packets.store("set", b"s:1", b"x"), packets.store("setq", b"s:2", b"x"),
        packets.store("add", b"s:1", b"x"), packets.store("addq", b"add:1", b"x"),
        packets.store("replace", b"rep:1", b"x"), packets.store("set", b"cas:1", b"x", cas=7),
        packet("append", b"s:1", b"x"), packet("prependq", b"pre:1", b"x"),
        packets.store("set", b"large:1", b"x" * 2 * MB), packet("get", b"s:1"),
        packet("getk", b"miss:1"), packet("getq", b"miss:2"), packet("getkq", b"s:1"),
        packets.touch("touch", b"s:1", 0), packets.touch("touch", b"t:1", 0),
        packets.touch("gat", b"s:1", 0), packets.touch("gatq", b"gat:1", 0),
        packets.touch("gatkq", b"s:2", 0), packets.count("incr", b"i:1"),
        packets.count("decr", b"i:1"), packet("delete", b"s:2"), packet("deleteq", b"d:1"),
        packet("delete", b"s:1", cas=99)]
    told = []
    for s in (larder("-m", "64"), memcached("-m", "64")):
        with packets.Client(s) as c:
            assert c.stats(b"detail on") == {}
            for request in requests:
                c.ask_all(request)
            value = c.stats(b"detail dump")["detailed"]
            assert value.endswith("END\r\n")
            told.append(rows(value[:-len("\r\nEND\r\n")].encode()))
            assert told[-1] == dump(s)
            assert c.stats(b"reset") == {}
            assert c.stats(b"detail dump") == {"detailed": "END\r\n"}
            assert c.stats(b"detail off") == {}
            assert c.stats(b"detail nonsense") is None
    assert told[0] == told[1]
    assert told[0][b"s"] == [5, 5, 4, 2]


def test_words_in_packets(larder):
    """The whole word; for the peer its beginning is enough, and it looks behind a key's end."""
    s = larder()
    with packets.Client(s) as c:
        for key in (b"detail", b"detail ", b"detail o", b"detail ons", b"detail dum",
                    b"details on"):
            assert c.stats(key) is None, key
        assert s.stats("settings")["detail_enabled"] == "no"
        assert c.stats(b"detail on") == {}
        assert s.stats("settings")["detail_enabled"] == "yes"


def test_words(larder, memcached):
    heard = [s.play(b"".join(b"stats%s\r\n" % words for words in (
        b" detail", b" detail  on  x", b" detail ON", b" detail o", b" detail off dump",
        b"  detail  on", b" detail dump x", b" detail dump noreply", b" sizes", b" sizes x")))
        for s in (larder(), memcached())]
    assert heard[0] == heard[1]


def test_a_delimiter_counts_from_the_start(larder):
    with larder("-D", "|", "-X") as s:
        assert s.stats("settings")["detail_enabled"] == "yes"
        assert s.stats("settings")["stat_key_prefix"] == "|"
    s = larder("-D", "|")
    s.play(store(b"set", b"a:b|c") + b"get a|c b:c\r\n")
    assert dump(s) == {b"a:b": [0, 0, 1, 0], b"a": [1, 0, 0, 0]}
    s.play(b"stats detail off\r\nget a|c\r\n")
    assert s.stats("settings")["detail_enabled"] == "no"
    assert dump(s) == {b"a:b": [0, 0, 1, 0], b"a": [1, 0, 0, 0]}


def test_empty_prefix(larder):
    s = larder("-D", ":")
    s.play(store(b"set", b":k") + store(b"set", b"::") + b"get :k a:\r\n")
    assert dump(s) == {b"": [1, 1, 2, 0], b"a": [1, 0, 0, 0]}


def test_prefixes_that_would_break_a_line(larder):
    """A key that came in a packet may hold anything; a dump holds lines."""
    s = larder()
    with packets.Client(s) as c:
        c.stats(b"detail on")
        for key in (b"a b:1", b"a\nPREFIX x:1", b"a\0b:1", b"b:\n 1"):
            c.ask(packets.store("set", key, b"x"))
    assert dump(s) == {b"b": [0, 0, 1, 0]}


def test_many_clients_count_at_once(larder):
    """Nothing is lost and nothing counted twice, new prefixes and old."""
    clients, rounds, shared, own = 8, 60, 5, 40
    s = larder("-t", "4")
    s.play(b"stats detail on\r\n")

    def count(number):
        stream = b""
        for i in range(rounds):
            for p in range(shared):
                stream += store(b"set", b"shared%d:%d" % (p, number), extra=b" noreply")
                stream += b"get shared%d:%d shared%d:none\r\n" % (p, number, p)
            stream += b"delete own%d-%d:x noreply\r\n" % (number, i % own)
        return s.play(stream).count(b"VALUE ")

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        assert list(pool.map(count, range(clients))) == [rounds * shared] * clients
    all_rounds = clients * rounds
    wanted = {b"shared%d" % p: [2 * all_rounds, all_rounds, all_rounds, 0] for p in range(shared)}
    for number in range(clients):
        for i in range(own):
            wanted[b"own%d-%d" % (number, i)] = [0, 0, 0, len(range(i, rounds, own))]
    assert dump(s) == wanted


def test_counted_dumped_and_forgotten_at_once(larder):
    """Whatever the others do, a dump is a list of lines, each prefix once; the server stays."""
    s = larder("-t", "4", "-m", "32")
    s.play(b"stats detail on\r\n")

    def work(number):
        for i in range(30):
            if number == 0:
                s.play(b"stats reset\r\nstats detail off\r\nstats detail on\r\n")
            elif number == 1:
                dump(s)
            else:
                s.play(b"".join(b"get p%d-%d:1\r\n" % (number, n) for n in range(i, 500 + i)))
        return True

    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        assert all(pool.map(work, range(6)))
    s.play(b"stats reset\r\n")
    assert dump(s) == {}


def borrowed(s):
    return int(s.stats()["memory_borrowed_bytes"])


@pytest.mark.parametrize("megabytes, least, most", [(8, 1000, 65535), (256, 65536, 65536)])
def test_memory_is_bounded(larder, megabytes, least, most):
    """No more than 65536 prefixes, an eighth of -m, and all is given back."""
    s = larder("-m", str(megabytes), "-t", "2")
    before = borrowed(s)
    s.play(b"stats detail on\r\n")
    for first in range(0, 80000, 2000):
        s.play(b"".join(b"delete %s%05d:k noreply\r\n" % (b"p" * (n % 100), n)
                        for n in range(first, first + 2000)) + b"mn\r\n")
    taken = borrowed(s) - before
    assert 0 < taken <= megabytes * MB // 8 + 64 * 1024
    found = dump(s)
    assert least <= len(found) <= most
    assert set(map(tuple, found.values())) == {(0, 0, 0, 1)}
    with packets.Client(s) as c:
        status = c.ask_all(packet("stat", b"detail dump"))[0].status
    assert status == (0x82 if megabytes > 8 else 0)  # too long for one packet
    known = next(iter(found))
    s.play(b"get %s:k new:k\r\n" % known)
    assert dump(s)[known] == [1, 0, 0, 1] and len(dump(s)) == len(found)
    s.play(b"stats reset\r\n")
    assert server.wait_until(lambda: borrowed(s) <= before + 64 * 1024)
    assert dump(s) == {}
