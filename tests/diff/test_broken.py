"""Broken commands are answered as the model and the recordings say.

Goal: no line and no packet, however broken, is answered otherwise than by memcached 1.6.45.
Method: broken.py with fixed seeds; the server under test, the model and Debian's memcached are
compared.  A kind of commands that the server does not speak is compared with memcached alone.
"""
import collections
import os

import pytest

import broken
import marks
import replay_recordings as recordings
import rules
import server

RULES_MAX = 40
COMMANDS = 8000 * (10 if os.environ.get("LARDER_TEST_LONG") else 1)


def run(tmp_path, said, *words):
    args = broken.parser().parse_args([*words, "--findings", str(tmp_path)])
    return broken.run(args, said.append)


@pytest.mark.limit(600)
@pytest.mark.parametrize("kind", broken.KINDS)
def test_stream(tmp_path, kind):
    tested = ["--server", server.LARDERD] if kind in broken.spoken(server.LARDERD) else []
    said = []
    found, counts = run(tmp_path, said, *tested, "--only", kind, "--commands", str(COMMANDS),
                        "--seed", "20240611", "--oracle", server.MEMCACHED)
    findings = "\n".join(p.read_text() for p in tmp_path.glob("finding-*"))
    assert not found, findings + "\n".join(said)
    assert counts["compared"] > COMMANDS / 20, said
    assert counts["unusable"] < counts["batches"] / 10, said


def test_a_wrong_server_is_found(tmp_path, monkeypatch):
    """memcached 1.6.18 is one."""
    monkeypatch.setattr(broken, "PATIENCE", 1.0)
    monkeypatch.setattr(broken, "SHRINKING_SECONDS", 1)
    found, _ = run(tmp_path, [], "--server", server.MEMCACHED, "--oracle", "", "--commands",
                   "2000", "--only", "text", "--most", "2")
    assert found == 2


def test_rules_are_few_and_cite_recordings():
    recorded = {c["name"] for c in recordings.load()}
    assert 0 < len(rules.NAMES) <= RULES_MAX
    for name, cited in rules.CITED:
        assert cited.split() and set(cited.split()) <= recorded, name
    assert rules.NAMES == {name for name, _ in rules.CITED}


@pytest.fixture(scope="module")
def peers(tmp_path_factory):
    folder = tmp_path_factory.mktemp("findings")
    both = (broken.Peer("server", server.LARDERD, folder),
            broken.Peer("memcached", server.MEMCACHED, folder))
    yield both
    assert [peer.stop() for peer in both] == [0, 0]


# What 1.6.18 answers otherwise for two reasons at once, or for one that is seldom met.
HELD = b"mg k t u\r\n"       # its reply refers to the item until it is sent
LENGTH_1000 = b"replace k 1 1 1000 3\r\n"
EXPLAINED = {
    "awaits what is data": ("data that does not come", (
        b"set k 0 0 300 2 noreply\r\n", LENGTH_1000.ljust(300, b"f") + b"\r\n")),
    "awaits what is swallowed": ("data that does not come", (
        b"set k k 1 300 2\r\n", LENGTH_1000.ljust(300, b"f") + b"\r\n")),
    "held, and time of ma": ("number in a new item", (
        b"set k 0 0 1\r\n5\r\n", HELD, b"ma k T-1\r\n", b"md k\r\n")),
    "held, fetched, and time left": ("number in a new item", (
        b"ma k N100\r\n", b"mg k l\r\n", b"incr k 5\r\n", b"me k\r\n")),
    "held, and padding": ("number in a new item", (
        b"set k 0 0 2\r\n10\r\n", HELD, b"decr k 1\r\n", b"mg k s\r\n")),
    "minus sign": ("what lies behind a number", (
        b"set k 0 0 21\r\n-18446744073709551615\r\n", b"incr k 1\r\n")),
    "append, and base64 of me": ("base64 forgotten", (
        b"set ABCD 0 0 1\r\n5\r\n", b"ms QUJDRA== 1 MP b\r\n5\r\n", b"me ABCD v\r\n")),
}


def judge(peers, requests):
    """What larder and 1.6.18 are found to answer wrong, and the rules it took."""
    batch = broken.Batch(b"", "text", 0)
    batch.requests = list(requests)
    batch.play()
    assert batch.usable
    counts = collections.Counter()
    for peer in peers:
        peer.converse([broken.FORGET], True)
    return (broken.judge_server(peers[0], batch), broken.judge_oracle(peers[1], batch, counts),
            set(counts) & rules.NAMES)


@pytest.mark.parametrize("name", EXPLAINED)
def test_explained(peers, name):
    rule, requests = EXPLAINED[name]
    assert judge(peers, requests) == (None, None, {rule})


def test_what_is_not_held_is_compared(peers):
    """A first get leaves nobody who refers to the item: the number is changed where it stands."""
    requests = (b"set k 0 0 2\r\n10\r\n", b"get k\r\n", b"decr k 1\r\n", b"mg k s h\r\n")
    assert judge(peers, requests) == (None, None, set())


def test_marks():
    known = marks.Known()
    reply = b"a " + marks.cas(7) + b" " + marks.seconds(100) + b" " + marks.cas(8) + b"\r\n"
    good = b"a 12 99 13\r\n"
    assert marks.match(reply, good, 0, known) == len(good)
    assert marks.match(marks.cas(7), b"12", 0, known) == 2
    assert marks.match(marks.cas(7), b"13", 0, known) < 0      # another number than before
    assert marks.match(marks.cas(9), b"12", 0, known) < 0      # a number that is taken
    assert marks.match(reply, b"a 12 90 13\r\n", 0, known) < 0
    assert marks.match(reply, b"a 12 99 13\n\n", 0, known) < 0
    assert known.fill(b"x" + marks.wanted_cas(8, binary=True)) == b"x" + bytes(7) + b"\x0d"
    assert int(known.fill(marks.wanted_cas(7))) == 12
