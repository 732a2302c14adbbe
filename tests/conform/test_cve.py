"""Goal: larder has none of the holes that memcached had.

Method: for each published hole, and for fixes that got no number, what broke memcached is sent to
larder: a test is named after what it looks at, and docs/security.md lists them all, those
without a counterpart too.  Each connection must be answered or closed as said; after that
another client is served, the memory has not grown, the items add up (lib/server.py), and the
sanitizers of those builds have found nothing.
"""
import os
import pathlib
import re
import select
import socket
import struct

import pytest

import packets
import server
from packets import HEADER, packet, store

MB = 1 << 20
SANITIZED = re.search(r"/(clang-)?[at]san/", server.LARDERD)
ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
OK, NOT_FOUND, INVALID, UNKNOWN = 0, 1, 4, 0x81
BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"     # also one of less than four bytes
KEY, VALUE = b"witness", b"unharmed" * 40


class Target:
    """A server with a value in it that must be there, as it was, when all is over."""

    def __init__(self, running):
        self.running = running
        with self.connect() as c:
            assert c.ask(b"set %s 7 0 %d\r\n%s\r\n" % (KEY, len(VALUE), VALUE)) == b"STORED\r\n"
        self.before = running.status("VmRSS")

    def connect(self):
        return self.running.connect()

    def check(self, grown_max_kb=4096):
        with self.connect() as c:
            assert c.get(b"get %s\r\n" % KEY) == (
                b"VALUE %s 7 %d\r\n%s\r\nEND\r\n" % (KEY, len(VALUE), VALUE))
        assert self.running.alive()
        self.running.check_reports()
        if not SANITIZED:
            assert self.running.status("VmRSS") - self.before < grown_max_kb


@pytest.fixture
def target(larder):
    """target() starts a server; all that were started are checked at the end."""
    made = []

    def start(*options, **how):
        made.append(Target(larder(*(options or ("-m", "64")), **how)))
        return made[-1]

    yield start
    for t in made:
        t.check()


def refused(target, requests, status, after=b""):
    """Each packet is answered with that status, and then its connection is closed."""
    for request in requests:
        with target.connect() as c:
            c.send(request + after)
            head = HEADER.unpack(c.read(HEADER.size))
            c.read(head[6])
            assert (head[0], head[5]) == (0x81, status), request[:HEADER.size]
            assert c.rest() == b"", request[:HEADER.size]


def header(opcode, key=0, extras=0, body=0, magic=0x80):
    """24 bytes that promise what they like."""
    return HEADER.pack(magic, packets.OPCODES.get(opcode, opcode), key, extras, 0, 0, body, 0, 0)


# ---- text: lengths, lines, words ------------------------------------------------------------

def test_cve_2009_1255_and_1494_stats_tell_no_addresses(target):
    """`stats maps` gave /proc/self/maps, and with it where everything lies;
    `stats malloc` likewise."""
    t = target("-m", "64", "-vvv")
    with t.connect() as c:
        for group in (b"maps", b"malloc", b"map", b"mallocs"):
            assert c.ask(b"stats %s\r\n" % group) == b"ERROR\r\n"
    told = repr([t.running.stats(group) for group in ("", "settings", "conns")])
    mapped = pathlib.Path("/proc/%d/maps" % t.running.pid).read_text()
    starts = [int(line.split("-")[0], 16) for line in mapped.splitlines()]
    pages = {n >> 12 for n in starts}
    numbers = [int(n, 16) for n in re.findall(r"\b(?:0x)?([0-9a-f]{9,16})\b", told)]
    numbers += [int(n) for n in re.findall(r"\b\d{9,20}\b", told)]
    assert not [hex(n) for n in numbers if n >> 12 in pages]
    assert "0x" not in told and "/lib" not in told


LENGTHS = [b"%d" % (base + off) for base in (1 << 31, 1 << 32, 1 << 63, 1 << 64)
           for off in (-3, -2, -1, 0, 1, 5, 100)] + [b"-1", b"-2", b"-2147483648", b"1" * 100]


@pytest.mark.parametrize("line", [b"set k 0 0 %s", b"add k 0 0 %s noreply", b"append k 0 0 %s",
                                  b"cas k 0 0 %s 1", b"ms k %s", b"ms k S%s"])
def test_cve_2009_2415_lengths_that_wrap(target, line):
    """A length that is negative, or too large for the type it went into, made the heap overflow."""
    t = target()
    for length in LENGTHS:
        with t.connect() as c:
            c.send(line % length + b"\r\n" + b"version\r\n" * 50)
            c.socket.shutdown(socket.SHUT_WR)
            # A length that is none is an error; one that is too large is swallowed to its end.
            assert re.fullmatch(
                rb"(CLIENT_ERROR bad (data chunk|command line format)\r\n)?(VERSION .*\r\n)+|"
                rb"(SERVER_ERROR object too large for cache\r\n)?", c.rest()), length
    with t.connect() as c:
        assert c.ask(b"mg k\r\n") == b"EN\r\n"


@pytest.mark.parametrize("start", [b"", b"\0", b"get ", b"get key ", b"set ", b"mg ", b"stats "])
def test_cve_2010_1152_lines_without_end(target, start):
    """`cat /dev/zero | nc` took all memory."""
    t = target()
    with t.connect() as c:
        sent, fill = len(start), (b"A" if start != b"\0" else b"\0") * 65536
        try:
            c.send(start)
            while sent < 64 * MB:
                c.send(fill)
                sent += len(fill)
        except OSError:
            pass
        assert sent < 64 * MB, "the line is still being read"


def test_cve_2019_11596_lru_without_arguments(target):
    """`lru mode` and `lru temp_ttl` without the words behind them read a null pointer."""
    t = target()
    with t.connect() as c:
        for line in (b"lru", b"lru mode", b"lru temp_ttl", b"lru tune", b"lru tune 1",
                     b"lru mode x", b"lru temp_ttl " + b"9" * 30, b"lru tune 1 1 1 " + b"9" * 400,
                     b"lru " + b"x " * 500):
            assert c.ask(line + b"\r\n") == b"ERROR\r\n", line


def test_cve_2020_22570_meta_commands_cut_short(target):
    """A meta command without the words that it needs ended the server."""
    t = target()
    answers = (b"CLIENT_ERROR ", b"ERROR", b"EN", b"NF", b"MN", b"HD")
    for command in (b"mg", b"ms", b"md", b"ma", b"me", b"mn", b"m", b"mx"):
        for rest in (b"", b" ", b"  ", b"\t", b" \t ", b" k b", b" = b", b" ==== b", b" \0",
                     b" k \0", b" k O", b" k M", b" k T", b" k \xff", b" k " + b"v " * 300, b" k S",
                     b" " + b"k" * 251, b" " + b"A" * 400 + b" b", b" k k k", b" k -1", b" k 0x1"):
            with t.connect() as c:
                heard = c.play(command + rest + b"\r\n\r\nversion\r\n")
                assert heard.startswith(answers), (command + rest, heard)
                assert heard.endswith(b"VERSION 1.6.45\r\n"), (command + rest, heard)


def test_cve_2023_46852_many_blanks_in_a_get(target):
    """More blanks behind "get" than fit ran over a buffer (of the proxy)."""
    t = target()
    for blanks in (1, 2, 23, 24, 25, 250, 2000, 2047, 2048, 2049, 16384, 100000, MB - 100):
        for command in (b"get", b"gets"):
            with t.connect() as c:
                heard = c.play(command + b" " * blanks + b"none\r\n")
                assert heard in (b"END\r\n", b""), (blanks, heard[:100])
                heard = t.running.play(command + b" none" + b" " * blanks + b"\r\n")
                assert heard in (b"END\r\n", b""), (blanks, heard[:100])
    for command in (b"gat 1", b"gats 1", b"mg"):
        for blanks in (24, 250, 2000):
            heard = t.running.play(command + b" " * blanks + b"none\r\n")
            assert heard in (b"END\r\n", b"EN\r\n"), (command, blanks, heard[:100])


def test_cve_2023_46853_line_feed_alone(target):
    """A line that ends with LF and no CR was counted one byte too long (by the proxy)."""
    t = target()
    lines = {b"get none": b"END\r\n", b"gets none": b"END\r\n", b"mg none": b"EN\r\n",
             b"mg none v": b"EN\r\n", b"delete none": b"NOT_FOUND\r\n", b"mn ": b"MN\r\n",
             b"md none q": b"NF\r\n", b"incr none 1": b"NOT_FOUND\r\n", b"": BAD_LINE,
             b"touch none 1": b"NOT_FOUND\r\n", b"mn": BAD_LINE,
             b"set k 0 0 1\r\nx\r\nget k": b"STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n"}
    for line, answer in lines.items():
        stream = (line + b"\n") * 3
        wanted = answer * 3
        assert t.running.play(stream) == wanted, line
        assert t.running.play(stream, range(1, len(stream))) == wanted, line
    assert t.running.play(b"set k 0 0 1\nx\r\nget k\n") == (
        b"STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n")


def test_cve_2026_90698_empty_lines_first(target):
    """A connection that begins with empty lines made the tokenizer read what was not there."""
    t = target()
    for empty in (b"\r\n", b"\n", b" \r\n", b"\r\r\n", b"  \n"):
        for count in (1, 2, 100):
            heard = t.running.play(empty * count + b"version\r\n")
            assert heard == BAD_LINE * count + b"VERSION 1.6.45\r\n", (empty, heard[:80])
    for first in (b"\0\r\n", b"\r", b"\x80\r\n", b"\x81\r\n"):
        with t.connect() as c:
            c.send(first)
            c.reset()


def test_fix_17684bfa9_numbers_without_an_end(target):
    """A number at the end of its item was read on into what lies behind it."""
    t = target()
    with t.connect() as c:
        for digits in range(1, 21):
            values = [b"9" * digits, b"1" + b"0" * (digits - 1)]
            for i, value in enumerate(values):      # side by side: the next one begins with a digit
                for key in (b"1n%d" % i, b"2n%d" % i):
                    assert c.ask(b"set %s 825307441 0 %d\r\n%s\r\n" % (key, digits, value)) == (
                        b"STORED\r\n")
            for i, value in enumerate(values):
                for key in (b"1n%d" % i, b"2n%d" % i):
                    said = c.ask(b"incr %s 1\r\n" % key).rstrip()
                    if int(value) >= 1 << 64:
                        assert said.startswith(b"CLIENT_ERROR cannot increment"), (value, said)
                    else:
                        assert said == b"%d" % ((int(value) + 1) % (1 << 64)), (value, said)
        c.ask(b"set 1n0 0 0 1\r\n1\r\n")
        for number in (b"1" * 21, b"1" * 1000, b"1x", b"-", b"+", b"-1", b"0x10"):
            assert c.ask(b"incr 1n0 %s\r\n" % number) == (
                b"CLIENT_ERROR invalid numeric delta argument\r\n"), number
            assert c.ask(b"ma 1n0 D%s\r\n" % number).startswith(b"CLIENT_ERROR "), number


@pytest.mark.parametrize("fix, words", [("0240ddee0", b"reassign"), ("6ab74b585", b"automove")])
def test_fix_of_slabs_arguments(target, fix, words):
    """0240ddee0 and 6ab74b585: classes that do not exist, too few words, numbers out of range."""
    t = target()
    with t.connect() as c:
        for rest in (b"", b" ", b" 1", b" -1 -1", b" 0 0", b" 1 1", b" 255 1", b" 1 256", b" 64 64",
                     b" 4294967295 1", b" -2147483648 2147483647", b" x y", b" 1 2 3 4 5 6",
                     b" window", b" ratio 9"):
            heard = c.ask(b"slabs %s%s\r\n" % (words, rest))
            assert heard.startswith((b"ERROR", b"CLIENT_ERROR", b"BADCLASS", b"NOSPARE", b"SAME",
                                     b"OK")), (fix, rest, heard)
        assert c.ask(b"slabs reassign 255 1\r\n").startswith(b"BADCLASS")
        assert c.ask(b"slabs reassign 4294967295 1\r\n").startswith(b"CLIENT_ERROR")


# ---- binary: lengths that contradict each other ---------------------------------------------

STORES = ("set", "add", "replace", "setq", "addq", "replaceq")
JOINS = ("append", "prepend", "appendq", "prependq")
SIGNED = (0x7fffffff, 0x80000000, 0x80000001, 0xfffffff0, 0xffffffe8, 0xfffffffe, 0xffffffff)


def test_cve_2011_4971_negative_bodies(target):
    """A body of 0xffffffff bytes was taken for -1."""
    t = target()
    for opcode in packets.OPCODES:
        refused(t, [header(opcode, 1, 0, body) + b"A" * 500 for body in SIGNED], INVALID)
        refused(t, [header(opcode, 0, 0, SIGNED[-1])], INVALID)


def test_fix_229cf41be_sign_of_the_body(target):
    """The same once more in 2026: a sum of lengths and body changed its sign."""
    t = target()
    for opcode in STORES + JOINS:
        extras = 8 if opcode in STORES else 0
        for body in SIGNED:
            for key in (1, 250):
                refused(t, [header(opcode, key, extras, body) + b"A" * 400], INVALID)
    with t.connect() as c:      # cut before and behind each byte of the length
        for byte in header("set", 1, 8, 0x80000000):
            try:
                c.send(bytes([byte]))
            except OSError:
                break
        assert HEADER.unpack(c.read(HEADER.size))[5] == INVALID


def test_cve_2013_0179_printed_keys_have_an_end(target):
    """-vv printed the key of a delete as if a zero byte ended it."""
    t = target("-m", "64", "-vv")
    secret = b"S3CRET" * 20
    with t.connect() as c:
        c.send(store("setq", b"k", secret) + packet("delete", b"K" * 250))
        assert HEADER.unpack(c.read(HEADER.size))[5] == NOT_FOUND
    refused(t, [header("delete", 251, 0, 251) + b"D" * 251], INVALID)
    assert server.wait_until(lambda: "K" * 250 in t.running.stderr())
    said = t.running.stderr()
    assert "K" * 251 not in said and "S3CRET" not in said and "DDD" not in said


@pytest.mark.parametrize("number", ["7290", "7291"])
def test_cve_2013_7290_and_7291_printed_keys_have_an_end(target, number):
    """The same for all other commands, binary (7290) and text and meta (7291)."""
    t = target("-m", "64", "-vv")
    secret = b"S3CRET" * 20
    key = b"".join(b"%c" % (33 + i % 90) for i in range(250)).replace(b"%", b"_")
    with t.connect() as c:
        c.send(b"set s 0 0 %d noreply\r\n%s\r\n" % (len(secret), secret))
        assert c.ask(b"mn\r\n") == b"MN\r\n"
    if number == "7290":
        plain = ("get", "getq", "getk", "getkq", "append", "stat")
        stream = b"".join(packet(opcode, key) for opcode in plain) + store("set", key, secret)
        stream += packets.touch("touch", key, 0) + packets.count("incr", key)
        with packets.Client(t.running) as c:
            c.ask_all(stream)
    else:
        t.running.play(b"".join(line % key for line in (
            b"get %s\r\n", b"touch %s 1\r\n", b"incr %s 1\r\n", b"delete %s\r\n", b"mg %s v\r\n",
            b"set %s 0 0 120\r\n" + secret + b"\r\n", b"ms %s 120\r\n" + secret + b"\r\n",
            b"md %s q\r\n", b"ma %s\r\n", b"get %s%%s%%n\r\n")))
    said = t.running.stderr()
    assert "S3CRET" not in said
    assert all(len(line) < 400 for line in said.splitlines())


def test_cve_2016_8704_append_with_a_body_shorter_than_its_key(target):
    """The length of the value is body less key: below zero it went to the allocator."""
    t = target()
    with t.connect() as c:
        c.send(store("set", b"k", b"v"))
        assert HEADER.unpack(c.read(HEADER.size))[5] == 0
    for opcode in JOINS:
        refused(t, [header(opcode, 250, 0, 0) + b"A" * 1024,
                    header(opcode, 250, 0, 249) + b"k" * 1024,
                    header(opcode, 0xffff, 0, 1) + b"A" * 1024], UNKNOWN)
        refused(t, [header(opcode, 1, 8, 9) + b"A" * 9, header(opcode, 0, 0, 5) + b"A" * 5,
                    header(opcode, 1, 0, 0xffffffd0) + b"A" * 1024], INVALID)


def test_cve_2016_8705_set_with_a_body_shorter_than_key_and_extras(target):
    t = target()
    for opcode in STORES:
        refused(t, [header(opcode, 250, 8, 0) + b"A" * 1024,
                    header(opcode, 250, 8, 257) + b"A" * 1024,
                    header(opcode, 1, 8, 8) + b"A" * 1024,
                    header(opcode, 0xffff, 0xff, 9) + b"A" * 99], UNKNOWN)
        refused(t, [header(opcode, 1, 0, 5) + b"A" * 5,
                    header(opcode, 1, 8, 0xffffffd0) + b"A" * 1024,
                    header(opcode, 0, 8, 8) + b"A" * 8,
                    header(opcode, 1, 255, 300) + b"A" * 300], INVALID)


def test_cve_2016_8706_sasl_with_a_body_shorter_than_its_key(target):
    """There is no SASL here: nothing of such a packet is read but its lengths."""
    t = target()
    for opcode in ("sasl_auth", "sasl_step", "sasl_list"):
        refused(t, [header(opcode, 32, 0, 1) + b"A" * 1024, header(opcode, 0xffff, 0, 0)], UNKNOWN)
        with packets.Client(t.running) as c:
            token = b"" if opcode == "sasl_list" else b"\0user\0pass"
            assert c.ask(packet(opcode, b"PLAIN" if token else b"", token)).status == UNKNOWN
            assert c.ask(packet("noop")).status == 0


def test_cve_2017_9951_quiet_requests_that_lie(target):
    """What was left of 2016-8705: add, set and getq with a body below zero read the heap."""
    t = target()
    for opcode in ("addq", "setq", "getq", "getkq", "deleteq", "incrq", "gatq", "touch"):
        refused(t, [header(opcode, 0xfa, 0, 0xffffffe8) + b"A" * 2000,
                    header(opcode, 1, 8, 0x80000008) + b"A" * 30], INVALID, packet("noop"))
        refused(t, [header(opcode, 0xfa, 8, 1) + b"A" * 2000], UNKNOWN, packet("noop"))


def test_cve_2020_10931_extras_of_255_bytes(target):
    """The extras were copied into a header with room for 20."""
    t = target()
    for opcode in packets.OPCODES:
        if opcode in ("unused", "verbosity") or opcode.startswith("sasl"):
            continue
        for extras in (1, 5, 9, 21, 24, 25, 128, 255):
            right = {"flush": (4,), "flushq": (4,)}.get(opcode, ())
            if extras not in right:
                refused(t, [header(opcode, 1, extras, extras + 1) + b"A" * 256], INVALID)
        refused(t, [header(opcode, 0, 255, 0) + b"A" * 256, header(opcode, 1, 255, 255)], UNKNOWN)


def test_fix_aa352388a_no_dumping_by_packets_either(target):
    """-X forbids to list keys; the binary protocol did it nevertheless."""
    t = target("-m", "64", "-X")
    with packets.Client(t.running) as c:
        for group in (b"detail", b"detail on", b"detail dump", b"cachedump 1 0", b"cachedump",
                      b"items", b"slabs"):
            found = c.ask_all(packet("stat", group))
            status = OK if group in (b"items", b"slabs") else NOT_FOUND
            assert {r.status for r in found} == {status}, group
            assert KEY not in b"".join(r.key + r.value for r in found)
    with t.connect() as c:
        for line in (b"stats cachedump 1 0", b"watch fetchers"):
            assert c.ask(line + b"\r\n") == b"ERROR\r\n"
        for word in (b"on", b"dump", b"nonsense"):
            heard = c.ask(b"stats detail %s\r\n" % word)
            assert heard == b"CLIENT_ERROR stats detail not allowed\r\n"
        for word, what in ((b"metadump", b"metadump"), (b"mgdump", b"key dump")):
            heard = c.ask(b"lru_crawler %s all\r\n" % word)
            assert heard == b"ERROR %s not allowed\r\n" % what


# ---- many references, large values, little memory -------------------------------------------

@pytest.mark.parametrize("protocol", ["text", "binary"])
def test_cve_2018_1000127_and_fix_e3b7d33ce_many_references(target, protocol):
    """65,536 answers that hold one item made its 16 bits of references wrap: it was freed in
    use.  e3b7d33ce: the same by packets."""
    t = target()
    count = 140000
    with t.connect() as c, t.connect() as other:
        assert other.ask(b"set hot 0 0 5\r\nfirst\r\n") == b"STORED\r\n"
        if protocol == "text":
            stream, end = (b"get " + b"hot " * 200 + b"\r\n") * (count // 200), b"MN\r\n"
            stream += b"mn\r\n"
        else:
            stream, end = packet("getkq", b"hot") * count, header("noop", magic=0x81)
            stream += packet("noop")
        at = 0
        c.socket.setblocking(False)
        while at < len(stream):     # until nothing more goes in: nobody reads the answers
            try:
                at += c.socket.send(stream[at:at + 65536])
            except BlockingIOError:
                if not select.select([], [c.socket], [], 0.3)[1]:
                    break
        for line, answer in ((b"set hot 0 0 6\r\nsecond\r\n", b"STORED\r\n"),
                             (b"delete hot\r\n", b"DELETED\r\n"),
                             (b"set hot 0 0 6\r\nsecond\r\n", b"STORED\r\n")):
            assert other.ask(line) == answer
        heard = bytearray()
        while not heard.endswith(end):
            ready, room, _ = select.select(
                [c.socket], [c.socket] if at < len(stream) else [], [], server.PATIENCE)
            assert ready or room, "no more answers"
            if ready:
                data = c.socket.recv(MB)
                assert data
                heard += data
            if room:
                at += c.socket.send(stream[at:at + 65536])
    if protocol == "text":
        left = heard.replace(b"VALUE hot 0 5\r\nfirst\r\n", b"").replace(
            b"VALUE hot 0 6\r\nsecond\r\n", b"")
        assert left == b"END\r\n" * (count // 200) + end
    else:
        kinds = {(r.key, r.value) for r in packets.take_all(bytes(heard[:-len(end)]))}
        assert kinds <= {(b"hot", b"first"), (b"hot", b"second")}


def test_issue_1306_large_value_with_a_wrong_end(target):
    """A value in pieces that does not end with CR LF: said to stop a build with assertions."""
    t = target("-m", "64", "-I", "8m")
    for size in (1, 16383, 16384, 65536, 524288, 524289, MB, 5 * MB):
        for end in (b"xx", b"\r\r", b"x\n", b"\n\r"):
            with t.connect() as c:
                c.send(b"set big 0 0 %d\r\n%s%s" % (size, b"v" * size, end))
                assert c.line() == b"CLIENT_ERROR bad data chunk\r\n", (size, end)
        with t.connect() as c:
            c.send(b"ms big %d\r\n%s" % (size, b"v" * size + b"zz"))
            assert c.line() == b"CLIENT_ERROR bad data chunk\r\n"
        with t.connect() as c:
            assert c.ask(b"mg big\r\n") == b"EN\r\n"
    t.before = t.running.status("VmRSS")        # segments that were used stay in use


@pytest.mark.parametrize("options", [("-m", "8"), ("-m", "8", "-M")], ids=["evicting", "-M"])
def test_fix_8b852b61f_out_of_memory(target, options):
    """Stores of all kinds while there is no memory left: an answer, and all goes on."""
    t = target(*options, "-I", "4m")
    answers = set()
    for size in (0, 100, 5000, 150000, MB, 3 * MB):
        with t.connect() as c:
            for i in range(20 if size < MB else 4):
                value = b"v" * size
                for line in (b"set k%d:%d 0 0 %d\r\n%s\r\n" % (size, i, size, value),
                             b"append k%d:%d 0 0 %d\r\n%s\r\n" % (size, i, size, value),
                             b"ms k%d:%d %d MP N0\r\n%s\r\n" % (size, i, size, value)):
                    answers.add(c.ask(line).rstrip())
                    if t.running.status("VmRSS") > 64 * 1024 and not SANITIZED:
                        raise AssertionError("memory grows")
            answers.add(c.ask(b"incr k0:1 1\r\n").split()[0])
            assert c.ask(b"ma n%d N0\r\n" % size).split()[0] in (b"HD", b"SERVER_ERROR")
    allowed = re.compile(rb"STORED|NOT_STORED|HD|NS|SERVER_ERROR|CLIENT_ERROR|NOT_FOUND|"
                         rb"SERVER_ERROR (out of memory|object too large).*")
    assert all(allowed.fullmatch(a) for a in answers), answers
    if "-M" in options:
        assert b"SERVER_ERROR out of memory storing object" in answers
    with t.connect() as c:
        assert c.ask(b"flush_all\r\n") == b"OK\r\n"
        assert c.ask(b"set %s 7 0 %d\r\n%s\r\n" % (KEY, len(VALUE), VALUE)) == b"STORED\r\n"
    t.before = t.running.status("VmRSS")


# ---- addresses, datagrams -------------------------------------------------------------------

def test_cve_2018_1000115_no_answers_to_datagrams(target):
    """Answers to UDP with a forged sender were 50,000 times as long as the request."""
    t = target()
    inodes = set()
    for link in pathlib.Path("/proc/%d/fd" % t.running.pid).iterdir():
        try:
            found = re.match(r"socket:\[(\d+)\]", os.readlink(link))
        except FileNotFoundError:      # a connection that has just ended
            continue
        if found:
            inodes.add(found.group(1))
    assert inodes
    for table in ("udp", "udp6"):
        lines = pathlib.Path("/proc/net", table).read_text().splitlines()[1:]
        assert not [line for line in lines if line.split()[9] in inodes]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(0.2)
        s.connect(("127.0.0.1", t.running.port))
        with pytest.raises((ConnectionRefusedError, TimeoutError)):
            s.send(struct.pack(">HHHH", 1, 0, 1, 0) + b"stats\r\n")
            s.recv(2000)


@pytest.mark.parametrize("bytes_", [1, 106])
def test_cve_2019_15026_addresses_of_unix_clients(target, bytes_):
    """`stats conns` read beyond the address of a client whose socket has no name, or a long one."""
    t = target(unix=True)
    name = b"\0" + b"n" * bytes_
    with socket.socket(socket.AF_UNIX) as s, t.connect() as nameless:
        s.bind(name)
        s.connect(t.running.unix)
        with server.Connection(s) as named:
            named.send(b"stats conns\r\n")
            told = named.until(b"END\r\n")
        assert nameless.ask(b"mn\r\n") == b"MN\r\n"
    assert all(line.startswith(b"STAT ") for line in told.splitlines())
    longest = max(len(line) for line in told.splitlines())
    assert longest < 40 + 108 and b"\0" not in told


# ---- the list -------------------------------------------------------------------------------

def test_the_page_and_the_tests_agree():
    """Each test that docs/security.md names is here, and each test here is named there."""
    page = (ROOT / "docs/security.md").read_text()
    named = set(re.findall(r"\btest_(?:cve|fix|issue)_\w+", page))
    here = {name for name in globals() if re.match(r"test_(cve|fix|issue)_", name)}
    assert named == here
