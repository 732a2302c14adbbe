"""Goal: who speaks the binary protocol sees of larder what it sees of memcached, whatever the network
does, and a packet that lies costs nothing.

Method: streams of packets, fixed and random, are played against larder and Debian's memcached 1.6.18
and must be answered alike, CAS numbers compared by identity; what the two disagree on by purpose
is looked at alone.  Random streams print their seed; SCENARIO_SEED=N repeats one.
"""
import os
import random
import struct
import time

import pytest

import packets
import server
from packets import Client, count, packet, play, play_one_by_one, store, touch

KB, MB = 1 << 10, 1 << 20
# Item limit 1 MiB less header, CAS, key of 3 bytes and CR LF: the largest value under such a key.
LARGEST_VALUE = 1048514
# Its background threads hold items for a while, and then numbers are not changed in place.
PEER_OPTIONS = ("-o", "no_lru_maintainer,no_lru_crawler")
NEVER = 0xffffffff
OK, NOT_FOUND, EXISTS, TOO_LARGE, INVALID, NOT_STORED, NON_NUMERIC = range(7)
UNKNOWN = 0x81


def check_same(theirs, ours, where=""):
    theirs, ours = packets.number_cas(theirs), packets.number_cas(ours)
    for i, (a, b) in enumerate(zip(theirs, ours)):
        assert a == b, "%s response %d\n memcached %.500s\n larder    %.500s" % (where, i, a, b)
    assert len(theirs) == len(ours), where


@pytest.fixture(scope="module")
def running():
    with server.Server(server.LARDERD, "-m", "256") as larder:
        with server.Server(server.MEMCACHED, "-m", "256", *PEER_OPTIONS) as peer:
            yield larder, peer


@pytest.fixture
def pair(running):
    for s in running:
        play(s, packet("flush"))
    yield running
    running[0].check_accounting()
    running[0].check_reports()


# ---- every opcode, cut everywhere -----------------------------------------------------------

# No '-' anywhere: 1.6.18 looks for one in what lies behind a number of 2^63 or more, and that may be
# left over from any other test.
EVERY_OPCODE = [
    store("set", b"key", b"value", flags=7), packet("get", b"key"), packet("getq", b"key"),
    packet("getq", b"none"), packet("getk", b"key"), packet("getkq", b"key"),
    packet("getkq", b"none"), packet("getk", b"none"), packet("get", b"none", opaque=9),
    store("add", b"key", b"no"), store("add", b"new", b"1"), store("addq", b"new", b"2"),
    store("addq", b"other", b"quiet"), store("replace", b"new", b"12", exptime=100),
    store("replaceq", b"none", b"x"), store("setq", b"quiet", b"\r\n\x80\n"),
    packet("get", b"quiet"), packet("append", b"key", b"+end"), packet("prepend", b"key", b"pre+"),
    packet("appendq", b"key", b"!"), packet("prependq", b"key", b"?"),
    packet("append", b"none", b"x"), packet("prependq", b"none", b"x"), packet("get", b"key"),
    store("set", b"key", b"x", cas=12345678901), store("add", b"none", b"x", cas=1),
    store("add", b"key", b"x", cas=1), store("replace", b"nothing", b"x", cas=1),
    store("replaceq", b"none", b"x", cas=1), packet("append", b"key", b"x", cas=12345678901),
    packet("delete", b"key", cas=12345678901), packet("deleteq", b"none", cas=1),
    count("incr", b"new", 30), count("decr", b"new", 2), count("incrq", b"new", 1),
    count("decrq", b"new", 1), count("incr", b"made", 5, 10), count("incr", b"made", 5, 10),
    count("decr", b"none", 5, 10, NEVER), count("incrq", b"none", 5, 10, NEVER),
    count("decrq", b"made2", 5, 2 ** 64 - 1), count("incr", b"made2", 2),
    count("incr", b"key", 1), count("incr", b"made", 1, cas=12345678901),
    packet("get", b"made"), packet("get", b"made2"),
    touch("touch", b"key", 100), touch("touch", b"none", 100), touch("gat", b"key", 100),
    touch("gatq", b"key", 0), touch("gatq", b"none", 0), touch("gatk", b"key", 100),
    touch("gatkq", b"key", NEVER), touch("gatk", b"none", 1), touch("gatkq", b"none", 1),
    packet("get", b"a b\r\n\0c"), store("set", b"a b\r\n\0c", b"odd"), packet("getk", b"a b\r\n\0c"),
    store("set", b"k" * 250, b""), packet("getk", b"k" * 250),
    store("set", b"gone", b"x", exptime=2592001), packet("get", b"gone"),
    store("set", b"far", b"x", exptime=NEVER), packet("get", b"far"),
    packet("noop"), packet("verbosity"), packet(0x40), packet("sasl_list"),
    packet("stat", b"reset"), packet("stat", b"nonsense"),
    packet("delete", b"key"), packet("delete", b"key"), packet("deleteq", b"new"),
    packet("flush", extras=struct.pack(">I", 1000)), packet("get", b"quiet"),
    packet("flush", extras=struct.pack(">I", 2592001)), packet("get", b"quiet"),
    packet("flushq"), packet("get", b"quiet"), packet("flush"),
]


def test_every_cut(pair):
    """A stream of all opcodes is answered alike wherever it is cut in two."""
    larder, peer = pair
    stream = b"".join(EVERY_OPCODE)
    whole = play(peer, stream)
    check_same(whole, play(larder, stream))
    for cut in range(1, len(stream)):
        check_same(whole, play(larder, stream, [cut]), "cut at %d:" % cut)


def test_every_byte_alone(pair):
    larder, peer = pair
    stream = b"".join(EVERY_OPCODE)
    check_same(play(peer, stream), play(larder, stream, range(1, len(stream))))


def test_repeated_pipeline(pair, long):
    """Thousands of packets at once, and in pieces of odd sizes."""
    larder, peer = pair
    stream = b"".join(EVERY_OPCODE) * (200 if long else 50)
    whole = play(peer, stream)
    for size in (len(stream), 1000, 2047, 16384, 65537):
        check_same(whole, play(larder, stream, range(size, len(stream), size)))


def test_counters(larder, memcached):
    """The counters of the commands are memcached's."""
    requests = EVERY_OPCODE[:EVERY_OPCODE.index(packet("stat", b"reset"))]
    names = """cmd_get cmd_set cmd_touch cmd_flush get_hits get_misses delete_hits delete_misses
        incr_hits incr_misses decr_hits decr_misses cas_hits cas_misses cas_badval touch_hits
        touch_misses""".split()
    told = []
    for s in (larder(), memcached(*PEER_OPTIONS)):
        play_one_by_one(s, requests)
        stats = s.stats()
        told.append({name: stats[name] for name in names})
    assert told[0] == told[1]


# ---- compare and swap, sizes ----------------------------------------------------------------

def test_cas(pair):
    """Each opcode that takes a number: the right one, and the same once more."""
    def scenario(s):
        found = []
        with Client(s) as c:
            for made in (lambda cas: store("set", b"k", b"1", cas=cas),
                         lambda cas: store("add", b"k", b"2", cas=cas),
                         lambda cas: store("replace", b"k", b"3", cas=cas),
                         lambda cas: packet("append", b"k", b"4", cas=cas),
                         lambda cas: packet("prepend", b"k", b"5", cas=cas),
                         lambda cas: count("incr", b"k", 6, cas=cas),
                         lambda cas: count("decr", b"k", 7, cas=cas),
                         lambda cas: packet("delete", b"k", cas=cas)):
                cas = c.ask(store("set", b"k", b"0")).cas
                assert c.ask(packet("get", b"k")).cas == cas
                found += c.ask_all(made(cas ^ 1)) + c.ask_all(made(cas)) + c.ask_all(made(cas))
                found += c.ask_all(packet("get", b"k"))
        return found

    larder, peer = pair
    check_same(scenario(peer), scenario(larder))


def test_empty_value_is_compared_first(larder):
    with Client(larder()) as c:
        cas = c.ask(store("set", b"k", b"")).cas
        assert c.ask(count("incr", b"k", cas=cas + 1)).status == EXISTS
        assert c.ask(count("incr", b"k", cas=cas)).status == NON_NUMERIC


def test_values_around_the_limit(pair):
    def scenario(s):
        found = []
        with Client(s) as c:
            for opcode in ("set", "setq", "add", "replace", "append", "prependq"):
                for size in (LARGEST_VALUE - 1, LARGEST_VALUE, LARGEST_VALUE + 1, 2 * MB):
                    c.ask(packet("delete", b"key"))
                    if opcode != "add":
                        c.ask(store("set", b"key", b""))
                    value = b"v" * size
                    found += c.ask_all(packet(opcode, b"key", value) if "pend" in opcode
                                       else store(opcode, b"key", value))
                    found += c.ask_all(packet("get", b"key"))
            found += c.ask_all(store("set", b"key", b"v" * 2 * MB, cas=77))
            found += c.ask_all(packet("get", b"key"))
        return found

    larder, peer = pair
    check_same(scenario(peer), scenario(larder))


@pytest.mark.parametrize("options", [("-C",), ("-F",), ("-t", "1"), ("-R", "1")], ids=" ".join)
def test_agree_with_options(larder, memcached, options):
    """Without CAS the peer's flush lasts until the second is over: it comes last."""
    requests = [r for r in EVERY_OPCODE if r[1] not in (0x08, 0x18)]
    requests += [packet("flush"), packet("flushq"), touch("flush", b"", 1000)]
    both = larder(*options), memcached(*options, *PEER_OPTIONS)
    check_same(play_one_by_one(both[1], requests), play_one_by_one(both[0], requests))
    assert both[0].stats()["cmd_flush"] == both[1].stats()["cmd_flush"]


# ---- random streams -------------------------------------------------------------------------

class RandomPackets:
    """Packets over few keys, so that they meet."""

    KEYS = [b"a", b"b", b"c d", b"number", b"k" * 250, b"\xff\x00\r\n"]
    # Never counted: what is too long to be a number differs.
    LONG = b"long"
    TIMES = [0, 0, 0, 100, 2592000, 2592001, 2000000000, NEVER]
    CASES = [0, 0, 0, 0, 1, 2 ** 63, 2 ** 64 - 1]

    def __init__(self, seed):
        self.random = random.Random(seed)

    def key(self):
        return self.random.choice(self.KEYS + [self.LONG])

    def noise(self, size):
        return self.random.randbytes(size)

    def value(self, key, joined=False):
        """No number of 2^63 and more is counted, and none grows: see test_scenarios.py."""
        r = self.random
        if key == self.LONG and r.random() < 0.2:
            return b"x" + self.noise(r.choice([70000, 600000, LARGEST_VALUE - 300]))
        if r.random() < 0.5 and not joined:
            return b"%d" % r.choice([0, 1, 9, 99, 2 ** 32, 2 ** 62, r.getrandbits(60)])
        # With another number than that of an empty value, incr finds what is no number on one, the
        # wrong entry on the other.
        sizes = [1, 2, 10, 100, 500, 1000, 4097, 5000] + [0] * (key == self.LONG)
        return (b"x" + self.noise(5000))[:r.choice(sizes)]

    def request(self):
        r = self.random
        kind, key = r.randrange(20), self.key()
        more = {"cas": r.choice(self.CASES), "opaque": r.getrandbits(31)}
        quiet = r.choice(["", "q"])
        if kind < 5:
            return store(r.choice(["set", "set", "add", "replace"]) + quiet, key, self.value(key),
                         r.choice([0, 0, 1, NEVER]), r.choice(self.TIMES), **more)
        if kind < 7:
            return packet(r.choice(["append", "prepend"]) + quiet, key, self.value(key, True),
                          **more)
        if kind < 12:
            return packet(r.choice(["get", "getk"]) + quiet, key, **more)
        if kind < 15:
            opcode = r.choice(["incr", "decr"])
            most = 2 ** 64 - 1 if opcode == "decr" else 2 ** 32
            return count(opcode + quiet, r.choice(self.KEYS), r.choice([0, 1, 7, most]),
                         r.choice([0, 5, 2 ** 62]), r.choice(self.TIMES), **more)
        if kind < 17:
            opcode = r.choice(["touch", "gat", "gatk", "gatq", "gatkq"])
            return touch(opcode, key, r.choice(self.TIMES), **more)
        if kind < 19:
            return packet("delete" + quiet, key, **more)
        return r.choice([packet("noop", **more), packet("verbosity", **more),
                         packet("flush" + quiet if r.random() < 0.3 else "noop", **more)])

    def requests(self, number):
        """Start from nothing: every stream stands for itself."""
        return [packet("flush"), *(self.request() for _ in range(number))]


@pytest.mark.limit(1200)
def test_random_packets(pair, long):
    """As the peer answers one packet at a time, larder answers a pipeline cut at random."""
    larder, peer = pair
    first = int(os.environ.get("SCENARIO_SEED", time.time_ns() % 10 ** 9))
    rounds = 1 if "SCENARIO_SEED" in os.environ else (3000 if long else 200)
    for seed in range(first, first + rounds):
        print("SCENARIO_SEED=%d" % seed)
        requests = RandomPackets(seed).requests(random.Random(seed).choice([1, 5, 50, 200]))
        stream = b"".join(requests)
        cuts = random.Random(seed).sample(range(1, len(stream)), min(12, len(stream) - 1))
        check_same(play_one_by_one(peer, requests), play(larder, stream, cuts))


# ---- who speaks what ------------------------------------------------------------------------

NOOP_REPLY = b"\x81\x0a" + bytes(22)
VERSION_REPLY = b"\x81\x0b" + bytes(9) + b"\6" + bytes(12) + b"1.6.45"


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_the_first_byte_decides(larder, unix):
    """Alone in its packet it says nothing yet; from then on the other protocol is not spoken."""
    running = larder(unix=unix)
    with running.connect() as c:
        c.send(b"\x80")
        assert c.silent()
        c.send(packet("noop")[1:] + packet("noop"))
        assert c.read(48) == NOOP_REPLY * 2
        c.send(b"v")
        assert c.rest() == b""
    with running.connect() as c:
        c.send(b"v")
        assert c.silent()
        assert c.ask(b"ersion\r\n").startswith(b"VERSION ")
        assert c.ask(packet("version") + b"\r\n") == b"ERROR\r\n"
        assert c.ask(b"mn\r\n") == b"MN\r\n"


def test_ascii_alone(larder):
    with larder("-B", "ascii").connect() as c:
        assert c.ask(packet("version") + b"\r\n") == b"ERROR\r\n"
        assert c.ask(b"mn\r\n") == b"MN\r\n"


@pytest.mark.parametrize("unix", [False, True], ids=["tcp", "unix"])
def test_binary_alone(larder, unix):
    """Text is closed without an answer, at its first byte; statistics are had by packets."""
    running = larder("-B", "binary", unix=unix)
    with running.connect() as c:
        c.send(b"g")
        assert c.rest() == b""
    with Client(running) as c:
        assert c.ask(store("set", b"k", b"v")).status == OK
        assert c.stats(b"settings")["binding_protocol"] == "binary"
        assert c.stats()["curr_items"] == "1"


def test_each_listener_has_its_own(larder):
    ports = [server.free_port() for _ in range(3)]
    running = larder("-B", "binary", "-l", "proto[ascii]:127.0.0.1:%d,127.0.0.1:%d,"
                     "proto[negotiating]:127.0.0.1:{port}" % (ports[0], ports[1]), listen=False)
    answers = []
    for port in (ports[0], ports[1], running.port):
        running.port, kept = port, running.port
        for said in (b"mn\r\n", packet("version") + b"\r\n"):
            with running.connect() as c:
                c.send(said + b"quit\r\n")
                answers.append(c.rest())
        running.port = kept
    assert answers == [b"MN\r\n", b"ERROR\r\n", b"", VERSION_REPLY, b"MN\r\n", VERSION_REPLY]


def test_both_protocols_see_one_cache(larder):
    running = larder()
    with Client(running) as c, running.connect() as text:
        cas = c.ask(store("set", b"k", b"v\r\n", flags=3)).cas
        assert text.get(b"gets k\r\n") == b"VALUE k 3 3 %d\r\nv\r\n\r\nEND\r\n" % cas
        assert text.ask(b"cas k 4 0 1 %d\r\n7\r\n" % cas) == b"STORED\r\n"
        assert c.ask(count("incr", b"k", 3)).value == (10).to_bytes(8, "big")
        assert text.get(b"get k\r\n") == b"VALUE k 4 2\r\n10\r\nEND\r\n"


def test_commands_are_logged(larder):
    running = larder("-vv")
    with Client(running) as c:
        c.ask(store("set", b"a\nb", b"v"))
        c.ask(packet("stat", b"settings"))
    assert server.wait_until(lambda: " binary 10 settings" in running.stderr())
    assert " binary 01 a\\x0ab\n" in running.stderr()


# ---- statistics -----------------------------------------------------------------------------

def test_statistics_are_those_of_text(larder):
    running = larder("-m", "100")
    with Client(running) as c:
        for group in ("", "settings"):
            ours, text = c.stats(group.encode()), running.stats(group)
            assert list(ours) == list(text)
            if group:
                assert ours == text
        assert c.stats(b"reset foo") == {}
        assert c.stats(b"settings foo") == c.stats(b"settings")
        assert c.stats(b"items") == c.stats(b"items foo") == {}
        assert c.stats(b"slabs") == {"active_slabs": "0", "total_malloced": "0"}
        assert c.stats(b"conns") is None
        assert c.stats(b"conns foo") is None
        assert c.stats(b"nonsense") is None
        assert int(c.stats()["cmd_get"]) == 0


def test_many_statistics_that_nobody_reads(larder):
    """Each answer is kept whole; they are made one at a time, as the client takes them."""
    running = larder("-m", "64")
    with Client(running) as c:
        before = running.status("VmRSS")
        c.send(packet("stat") * 1000 + packet("quit"))
        time.sleep(0.5)
        if not server.SANITIZED:
            assert running.status("VmRSS") - before < 2048
        found = packets.take_all(c.connection.rest())
    assert sum(not r.key for r in found) == 1001
    assert len(found) % 1000 == 1


# ---- packets that lie -----------------------------------------------------------------------

@pytest.mark.parametrize("request_, status", [
    (packet("get", key_bytes=3, body_bytes=1), UNKNOWN),
    (packet("set", key_bytes=65535, extras_bytes=255, body_bytes=0), UNKNOWN),
    (packet("get", key_bytes=251, body_bytes=251), INVALID),
    (packet("noop", key_bytes=65535, body_bytes=65535), INVALID),
    (packet(0x77, key_bytes=300, body_bytes=300), INVALID),
    (store("set", b"k", b"v", body_bytes=(1 << 30) + 1), INVALID),
    (store("addq", b"k", b"v", body_bytes=0xffffffff), INVALID),
    (packet("append", b"k", b"v", body_bytes=0x80000000), INVALID),
    (packet(0x77, body_bytes=0xffffffff), INVALID),
    (touch("gat", b"k", 0, body_bytes=99), INVALID),
    (packet("stat", b"reset", b"xx"), INVALID),
    (packet("getq"), INVALID),
], ids=str)
def test_refused_and_closed(larder, request_, status):
    """As soon as the header is there; what follows it is not looked at."""
    running = larder()
    with Client(running) as c:
        c.send(packet("noop") + request_[:24])
        assert c.response().opcode == 0x0a
        r = c.response()
        assert (r.status, r.opcode, r.cas) == (status, request_[1], 0)
        assert c.is_closed()
    with Client(running) as c:
        c.send(request_ + packet("noop") * 1000)
        assert c.response().status == status
        assert c.is_closed()


def test_unknown_opcode_with_a_body(larder):
    """It is thrown away once: what follows is the next packet."""
    running = larder()
    with Client(running) as c:
        for size in (0, 1, 100, 20000, 3 * MB):
            c.send(packet(0x25, b"key", b"v" * size, b"ext!", opaque=size))
            assert (c.ask(packet("noop")).status, c.response().opcode) == (UNKNOWN, 0x0a)


def test_a_gigabyte_is_promised(larder):
    """What is refused is swallowed as it comes; nothing is set aside for what was promised."""
    running = larder("-m", "64")
    with Client(running) as c:
        c.ask(store("set", b"key", b"old"))
        before = running.status("VmRSS")
        c.send(store("set", b"key", b"v" * 5 * MB, body_bytes=1 << 30))
        assert c.response().status == TOO_LARGE
        assert c.connection.silent()
        if not server.SANITIZED:
            assert running.status("VmRSS") - before < 2048
    with Client(running) as c:
        assert c.get(b"key") is None


def test_get_with_a_value_is_not_a_second_request(larder):
    """The value of a packet that has none is not taken for the next packet."""
    running = larder()
    inner = store("set", b"smuggled", b"x")
    for outer in (touch("touch", b"k", 0), packet("stat", b"reset"), packet("get", b"k")):
        lie = bytearray(outer + inner)
        lie[8:12] = struct.pack(">I", len(lie) - 24)
        with Client(running) as c:
            c.send(bytes(lie))
            assert c.response().status == INVALID
            assert c.is_closed()
    with Client(running) as c:
        assert c.get(b"smuggled") is None


# ---- slow clients and long values -----------------------------------------------------------

def test_long_values_in_drops(larder):
    """Many uploads at once, a piece of each at a time; then all of them are read as slowly."""
    running = larder("-m", "256", "-I", "16m")
    values = [bytes([65 + i]) * size for i, size in enumerate((MB, 8 * MB, 100 * KB, 5 * KB, MB + 1))]
    clients = [Client(running) for _ in values]
    uploads = [store("set", b"key%d" % i, v, flags=i) for i, v in enumerate(values)]
    while any(uploads):
        for i, c in enumerate(clients):
            c.send(uploads[i][:60000])
            uploads[i] = uploads[i][60000:]
    for i, c in enumerate(clients):
        assert c.response().status == OK
        c.send(packet("getk", b"key%d" % i) * 3 + packet("getq", b"none"))
    time.sleep(0.3)
    for i, c in enumerate(clients):
        for _ in range(3):
            r = c.response()
            assert (r.status, r.key, r.extras) == (OK, b"key%d" % i, struct.pack(">I", i))
            assert r.value == values[i]
        assert c.ask(packet("noop")).opcode == 0x0a
        c.connection.close()


@pytest.mark.parametrize("size", [1, 5 * KB, MB, 8 * MB])
def test_cut_in_the_middle(larder, size):
    """A client that goes away in a packet leaves the old value and nothing else behind."""
    running = larder("-m", "256", "-I", "16m")
    request = store("set", b"key", b"v" * size)
    with Client(running) as c:
        assert c.ask(store("set", b"key", b"old")).status == OK
        for cut in sorted({1, 23, 24, 31, 32, 35, len(request) // 2, len(request) - 1}):
            other = running.connect()
            other.send(request[:cut])
            other.reset() if cut % 2 else other.close()
        assert c.get(b"key") == b"old"
        assert c.ask(request).status == OK
        assert c.get(b"key") == b"v" * size


def test_reset_while_a_value_is_sent(larder):
    running = larder("-m", "256", "-I", "16m")
    with Client(running) as c:
        assert c.ask(store("set", b"key", b"v" * 8 * MB)).status == OK
        for _ in range(10):
            other = running.connect()
            other.send(packet("getk", b"key") * 4)
            other.read(100000)
            other.reset()
        assert c.get(b"key") == b"v" * 8 * MB


def test_append_to_long_values(larder):
    running = larder("-m", "256", "-I", "16m")
    with Client(running) as c:
        cas = c.ask(store("set", b"key", b"m" * MB)).cas
        assert c.ask(packet("append", b"key", b"e" * MB, cas=cas + 1)).status == EXISTS
        cas = c.ask(packet("append", b"key", b"e" * MB, cas=cas)).cas
        assert c.ask_all(packet("prependq", b"key", b"b", cas=cas)) == []
        assert c.get(b"key") == b"b" + b"m" * MB + b"e" * MB
        assert c.ask(packet("append", b"key", b"x" * 15 * MB)).status == NOT_STORED
        assert c.ask(packet("append", b"key", b"x" * 17 * MB)).status == TOO_LARGE
        assert c.get(b"key") == b"b" + b"m" * MB + b"e" * MB
