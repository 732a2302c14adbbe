"""Goal: meta commands do what recordings of short exchanges cannot show.

Method: values that go in and out in parts, replies that find no room, many clients at once who
want the same lease, memory that is short, keys that would break a line.  The recordings themselves
are replayed by test_recordings.py.
"""
import base64
import re
import threading

import pytest

MB = 1 << 20


def ms(key, value, flags=b""):
    return b"ms %s %d %s\r\n%s\r\n" % (key, len(value), flags, value)


def encoded(key):
    return base64.b64encode(key)


def pattern(size, salt=0):
    return (b"%08d" % salt + bytes(range(97, 123)) * (size // 26 + 1))[:size]


def head_and_value(connection):
    """The line of an answer and the value behind it, if there is one."""
    line = connection.line()
    if not line.startswith(b"VA "):
        return line, None
    value = connection.read(int(line.split()[1]) + 2)
    assert value.endswith(b"\r\n")
    return line, value[:-2]


# ---- long values ----------------------------------------------------------------------------

@pytest.mark.parametrize("size", [5000, 70000, 900000, 5 * MB])
def test_long_values_in_and_out(larder, size):
    running = larder("-m", "128", "-I", "8m")
    value = pattern(size)
    with running.connect() as c:
        assert c.ask(ms(b"big", value, b"k c%s s Oab F7 T100" % (b"x" * 300))).split()[:2] == [
            b"HD", b"kbig"]
        c.send(b"mg big s v Oab k f t\r\nmn\r\n")
        line, got = head_and_value(c)
        assert re.fullmatch(b"VA %d s%d Oab kbig f7 t(100|9\\d)\r\n" % (size, size), line)
        assert got == value
        assert c.line() == b"MN\r\n"
        assert c.ask(ms(b"big", value[:2 * MB], b"MA s")) == b"HD s%d\r\n" % (
            size + min(size, 2 * MB))
        c.send(b"mg big v T-1\r\nmg big v\r\n")
        assert head_and_value(c)[1] == value + value[:2 * MB]
        assert c.line() == b"EN\r\n"


def test_what_uploads_answer(larder):
    """The flags of the line are repeated when the block has come, the key too, whatever it is."""
    running = larder("-m", "64")
    key, value = encoded(b"a b\nc"), pattern(300000)
    cases = [
        (ms(key, value, b"b k q Ox"), b""),
        (ms(key, value, b"b k ME s Ox q c"), b"NS k%s b s300000 Ox c0\r\n" % key),
        (ms(key, value, b"Oyy b C1 c s"), b"EX Oyy c0 s300000\r\n"),
        (ms(b"none", value, b"C1 c s k"), b"NF c0 s300000 knone\r\n"),
        (ms(b"none", value, b"MR Ox"), b"NS Ox\r\n"),
        (ms(b"none", value, b"MA N0 s"), b"HD s300000\r\n"),
        (ms(b"none", value, b"MP N0 s k"), b"HD s600000 knone\r\n"),
        (ms(b"none", value, b"k s E77 c"), b"HD knone s300000 c77\r\n"),
        (ms(b"none", value, b"q")[:-2] + b"xy", b"CLIENT_ERROR bad data chunk\r\n"),
        (b"mg none c s\r\n", b"HD c77 s300000\r\n"),
        (ms(b"none", value, b"y q k"), b"CLIENT_ERROR invalid flag\r\n"),
        (b"mg %s b k s\r\n" % key, b"HD k%s b s300000\r\n" % key),
    ]
    for cut in (None, 20, 100000):
        with running.connect() as c:
            c.send(b"md %s b q\r\nmd none q\r\nmn\r\n" % key)
            c.until(b"MN\r\n")
            for request, answer in cases:
                for part in ([request] if cut is None else [request[:cut], request[cut:]]):
                    c.send(part)
                c.send(b"mn\r\n")
                assert c.until(b"MN\r\n") == answer, request[:40]


@pytest.mark.parametrize("mode", [b"", b"ME", b"MR", b"MA", b"C5", b"q"])
def test_too_large_takes_the_old_value(larder, mode):
    running = larder("-I", "1m")
    with running.connect() as c:
        assert c.ask(ms(b"foo", b"old")) == b"HD\r\n"
        assert c.ask(ms(b"foo", b"x" * (MB + 1), mode)) == (
            b"SERVER_ERROR object too large for cache\r\n")
        assert c.ask(b"mg foo\r\n") == b"EN\r\n"
        assert c.ask(ms(b"foo", b"fits", b"ME")) == b"HD\r\n"


# ---- replies --------------------------------------------------------------------------------

def test_the_longest_replies_all_find_room(larder):
    running = larder()
    key = encoded(bytes(range(186)))
    opaque = b"O" + b"o" * 31
    asked = b"mg %s b k %s s t c f l h q N100 E18446744073709551615\r\n" % (key, opaque)
    count = 20000
    heard = running.play(asked * count).split(b"\r\n")
    assert len(heard) == count + 1
    shape = re.compile(b"HD k%s b %s s0 t-1 c18446744073709551615 f0 l0 h0 W" % (
        re.escape(key), opaque))
    assert shape.fullmatch(heard[0])
    again = re.compile(b"HD k%s b %s s0 t\\d+ c18446744073709551615 f0 l\\d+ h[01] Z" % (
        re.escape(key), opaque))
    for line in heard[1:-1]:
        assert again.fullmatch(line), line


def test_keys_that_would_break_a_line(larder):
    """memcached repeats the key of a vivified entry as it is: whoever chose it writes the reply."""
    running = larder()
    with running.connect() as c:
        for key in (b"a b", b"a\r\nHD", b"\n", b" "):
            code = encoded(key)
            assert c.ask(b"mg %s b N30 k\r\n" % code) == b"HD k%s b W\r\n" % code
            assert c.ask(b"mg %s b k\r\n" % code) == b"HD k%s b Z\r\n" % code
            assert c.ask(b"ma %s b k N0\r\n" % encoded(key + b"n")) == (
                b"HD k%s b\r\n" % encoded(key + b"n"))
            assert c.ask(b"me %s b\r\n" % code).startswith(b"ME %s exp=" % code)
        assert c.ask(b"mg a\tb N30 k\r\n") == b"HD ka\tb W\r\n"


def test_marks_follow_the_entry(larder):
    running = larder()
    code = encoded(b"foo")
    with running.connect() as c:
        for request, answer in [
                (ms(code, b"9", b"b"), b"HD"), (b"mg foo k\r\n", b"HD k%s b" % code),
                (b"ma foo\r\n", b"HD"), (b"mg foo k\r\n", b"HD k%s b" % code),
                (ms(b"foo", b"1", b"MA"), b"HD"), (b"mg foo k\r\n", b"HD k%s b" % code),
                (b"md foo I\r\n", b"HD"), (b"ma foo\r\n", b"HD"),
                (b"mg foo h\r\n", b"HD h1 X W"), (b"mg foo\r\n", b"HD Z X"),
                (b"md foo I\r\n", b"HD"), (b"mg foo u\r\n", b"HD X W"),
                (b"md foo x\r\n", b"HD"), (b"mg foo k s h\r\n", b"HD k%s b s0 h0" % code),
                (ms(b"foo", b"1"), b"HD"), (b"mg foo k\r\n", b"HD kfoo")]:
            assert c.ask(request) == answer + b"\r\n", request


@pytest.mark.parametrize("blanks", [0, 5, 3000])
def test_marks_stay_where_a_number_fits(larder, blanks):
    running = larder()
    number = b"11" + b" " * blanks
    with running.connect() as c:
        for request, answer in [
                (ms(b"foo", number), b"HD"), (b"mg foo h\r\n", b"HD h0"), (b"decr foo 2\r\n", b"9"),
                (b"mg foo h\r\n", b"HD h1"), (b"md foo I\r\n", b"HD"), (b"incr foo 0\r\n", b"9"),
                (b"mg foo h s\r\n", b"HD h1 s%d X W" % len(number)), (b"incr foo 0\r\n", b"9"),
                (b"mg foo\r\n", b"HD Z X")]:
            heard = c.ask(request)
            assert heard == answer + b"\r\n", request


def test_me(larder):
    running = larder()
    with running.connect() as c:
        assert c.ask(b"me foo\r\n") == b"EN\r\n"
        sizes = []
        for value in (b"x", b"x" * 100, b"x" * 500000):
            c.ask(ms(b"foo", value, b"E5"))
            line = c.ask(b"me foo\r\n")
            told = re.fullmatch(
                rb"ME foo exp=-1 la=\d+ cas=5 fetch=no cls=\d+ size=(\d+)\r\n", line)
            assert told, line
            sizes.append(int(told.group(1)) - len(value))
        assert 0 < sizes[0] < 64 and 0 < sizes[1] < 64 and 0 < sizes[2] < 5000
    assert running.stats()["cmd_meta"] == "4"


# ---- leases ---------------------------------------------------------------------------------

LEASES = {
    "vivify": ([], b"mg %s N600\r\n", b"HD W\r\n", b"HD Z\r\n"),
    "stale": ([b"set %s 0 0 1\r\nx\r\n", b"md %s I\r\n"], b"mg %s\r\n", b"HD X W\r\n",
              b"HD Z X\r\n"),
    "recache": ([b"set %s 0 300 1\r\nx\r\n"], b"mg %s R600\r\n", b"HD W\r\n", b"HD Z\r\n"),
}


@pytest.mark.parametrize("kind", LEASES)
def test_of_many_clients_one_wins(larder, kind):
    """Clients on all workers ask for the same key at once, and go on to the next together."""
    running = larder("-t", "4")
    before, asked, won, lost = LEASES[kind]
    clients, rounds = 8, 150
    keys = [b"lease%d" % i for i in range(rounds)]
    with running.connect() as c:
        for key in keys:
            for request in before:
                c.ask(request % key)
    answers = [[] for _ in range(clients)]
    start = threading.Barrier(clients)

    def ask_all(mine):
        with running.connect() as c:
            for key in keys:
                start.wait()
                mine.append(c.ask(asked % key))

    threads = [threading.Thread(target=ask_all, args=(mine,)) for mine in answers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for round_ in zip(*answers):
        assert sorted(round_) == sorted([won] + [lost] * (clients - 1))


def test_a_token_is_told_though_the_value_must_wait(larder):
    """The value finds no room behind others; when it is its turn its token has been given away."""
    running = larder("-m", "128", "-I", "1m")
    value = pattern(60000)
    with running.connect() as c:
        for i in range(40):
            key = b"v%d" % i
            assert c.ask(ms(key, value)) == b"HD\r\n"
            assert c.ask(b"md %s I\r\n" % key) == b"HD\r\n"
        c.send(b"".join(b"mg v%d v\r\nmg v%d s\r\n" % (i, i) for i in range(40)))
        for i in range(40):
            line, got = head_and_value(c)
            assert line == b"VA 60000 X W\r\n" and got == value
            assert c.line() == b"HD s60000 Z X\r\n"


def test_a_token_goes_with_its_entry_while_the_value_waits(larder):
    """A reader that does not read has won tokens, one of them for a value that has found no room yet;
    another reader wins those of the entries that came since.  No token is told to both."""
    running = larder("-m", "256", "-I", "1m", "-t", "1")
    old, new, count = pattern(60000), pattern(60001), 400
    with running.connect() as slow, running.connect() as c:
        for i in range(count):
            assert c.ask(ms(b"v%d" % i, old)) == b"HD\r\n"
            assert c.ask(b"md v%d I\r\n" % i) == b"HD\r\n"
        slow.send(b"".join(b"mg v%d v\r\n" % i for i in range(count)))
        won = []
        for i in range(count):
            c.send(ms(b"v%d" % i, new) + b"md v%d I\r\nmg v%d s\r\n" % (i, i))
            assert c.line() == b"HD\r\n" and c.line() == b"HD\r\n"
            won.append(c.line() == b"HD s60001 X W\r\n")
        seen = []
        for i in range(count):
            line, got = head_and_value(slow)
            assert got == old and line == b"VA 60000 X W\r\n" or got == new
            assert not (won[i] and got == new and b"W" in line), (i, line)
            seen.append(got)
    assert old in seen and new in seen and won.count(True) > count / 2


def test_what_is_told_to_expire_is_given_though_it_must_wait(larder):
    running = larder("-m", "128", "-I", "1m")
    value = pattern(60000)
    with running.connect() as c:
        for i in range(40):
            assert c.ask(ms(b"v%d" % i, value)) == b"HD\r\n"
        c.send(b"".join(b"mg v%d v T-1\r\nmg v%d\r\n" % (i, i) for i in range(40)))
        for i in range(40):
            line, got = head_and_value(c)
            assert line == b"VA 60000\r\n" and got == value
            assert c.line() == b"EN\r\n"


def test_what_waits_is_shown_as_it_was(larder):
    """A value that finds no room is looked for twice: the first look leaves no trace."""
    running = larder("-m", "128", "-I", "1m")
    with running.connect() as c:
        for i in range(40):
            assert c.ask(ms(b"v%d" % i, pattern(20000))) == b"HD\r\n"
        c.send(b"".join(b"mg v%d v h\r\n" % i for i in range(40)))
        for i in range(40):
            assert head_and_value(c)[0] == b"VA 20000 h0\r\n"
        assert c.ask(ms(b"long", pattern(65200))) == b"HD\r\n"
        c.send(b"".join(b"mg long v\r\nmg new%d v h t N30\r\n" % i for i in range(10)))
        for i in range(10):
            assert head_and_value(c)[0] == b"VA 65200\r\n"
            assert head_and_value(c)[0] == b"VA 0 h0 t-1 W\r\n"


def test_vivifying_in_little_memory(larder):
    """Each entry is new and evicts others; each answer is a win, and the balance is right."""
    running = larder("-m", "8")
    count = 150000
    asked = b"".join(b"mg key-%d-%s N0\r\n" % (i, b"k" * 60) for i in range(count))
    assert running.play(asked) == b"HD W\r\n" * count
    stats = running.stats()
    assert int(stats["items_evicted"]) > 0
    assert int(stats["cmd_get"]) == int(stats["get_hits"]) == count


def test_without_memory(larder):
    """-M: who cannot vivify misses; what cannot be emptied stays."""
    running = larder("-m", "8", "-M")
    with running.connect() as c:
        i = 0
        while c.ask(ms(b"key%d" % i, b"x" * 3000)) == b"HD\r\n":
            i += 1
        while c.ask(ms(b"small%d" % i, b"")) == b"HD\r\n":
            i += 1
        assert c.ask(ms(b"none", b"x" * 3000, b"q")) == (
            b"SERVER_ERROR out of memory storing object\r\n")
        assert c.ask(b"mg %s N30\r\n" % (b"k" * 250)) == b"EN\r\n"
        assert c.ask(b"ma %s N30\r\n" % (b"k" * 250)) == b"SERVER_ERROR out of memory\r\n"
        assert c.ask(b"md key0 I\r\n") == b"HD\r\n"
        assert c.ask(b"mg key0 s\r\n") == b"HD s3000 X W\r\n"


def test_a_long_value_that_finds_no_memory(larder):
    """-M: it is refused as such, with append and prepend as well; ms takes the old one with it."""
    running = larder("-m", "8", "-M")
    refused = b"SERVER_ERROR out of memory storing object\r\n"
    value = b"x" * 500000
    with running.connect() as c:
        i = 0
        while c.ask(ms(b"key%d" % i, b"x" * 3000)) == b"HD\r\n":
            i += 1
        for command in (b"append", b"prepend", b"add", b"replace"):
            for key in (b"key1", b"none"):
                line = b"%s %s 0 0 500000\r\n" % (command, key)
                assert c.ask(line + value + b"\r\n") == refused
        assert c.ask(b"mg key1 s\r\n") == b"HD s3000\r\n"
        assert c.ask(ms(b"key1", value, b"MA")) == refused
        assert c.ask(b"mg key1 s\r\n") == b"EN\r\n"
        assert int(running.stats()["store_no_memory"]) >= 9


# ---- hostile lines --------------------------------------------------------------------------

def test_lines_of_2048_bytes(larder):
    running = larder()
    answers = {
        b"CLIENT_ERROR options flags are too long\r\n": [b"mg k " + b"v " * 1021 + b"v",
                                                          b"md k " + b"T1 " * 681],
        b"CLIENT_ERROR opaque token too long\r\n": [b"mg k O" + b"o" * 2042],
        b"CLIENT_ERROR bad command line format\r\n": [b"mg " + b"k" * 2045, b"ms k" + b" " * 2044,
                                                       b"mg k " + b"! " * 1021],
        b"EN\r\n": [b"mg k k"[:5] + b" " * 2043, b"mg k" + b" " * 2043 + b"v"],
    }
    with running.connect() as c:
        for answer, lines in answers.items():
            for line in lines:
                assert c.ask(line + b"\r\n") == answer, line[:20]
