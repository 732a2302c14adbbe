"""Goal: larder answers every valid command as memcached does, and a wrong answer would be seen.

Method: short runs of valid.py with fixed seeds.  The checks of the generator and of the comparison
play memcached against a second one, which a proxy makes commit one fault at a time.
"""
import pathlib
import random
import re
import struct
import sys

import pytest

import server
HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "conform")]
import faulty_proxy  # noqa: E402
import replay_recordings as recordings  # noqa: E402
import valid  # noqa: E402
import valid_commands  # noqa: E402
import valid_play  # noqa: E402
import valid_reduce  # noqa: E402

ALL = valid.DIALECTS
SIDES_PATIENCE = 2.0


def run(tmp_path, binary, *more):
    said = []
    args = valid.arguments(["--server", binary, "--keep", str(tmp_path), *more])
    return valid.Run(args, said.append), said


@pytest.fixture(scope="module")
def running():
    pair = valid.Pair(server.MEMCACHED, server.MEMCACHED)
    pair.start()
    yield pair
    pair.stop()


@pytest.fixture
def twins(running):
    """memcached and memcached."""
    running.start()
    return running


@pytest.fixture(scope="module")
def player():
    p = recordings.Player(server.MEMCACHED, {})
    yield p
    p.stop()


# ---- larder ---------------------------------------------------------------------------------

@pytest.mark.parametrize("seed", ["a", "b"])
def test_larder(tmp_path, seed, long):
    pair = valid.Pair(server.LARDERD, server.MEMCACHED)
    r, said = run(tmp_path, server.LARDERD, "--seed", seed, "--reduce-seconds", "20",
                  "--differences", "1", "--commands", "2000000" if long else "16000")
    try:
        pair.start()
        r.all(pair)
        pair.stop()
    finally:
        pair.drop(0)
        pair.drop(1)
    assert not r.differences + r.deaths + r.refusals, "\n".join(said)


# ---- the generator --------------------------------------------------------------------------

@pytest.mark.parametrize("only", ["text", "meta", "binary", "text,meta,binary"])
def test_memcached_agrees_with_itself(tmp_path, twins, only):
    """Nothing is refused, nothing depends on chance."""
    r, said = run(tmp_path, server.MEMCACHED, "--only", only, "--commands", "8000")
    r.all(twins)
    assert not r.differences + r.deaths + r.refusals, "\n".join(said)


def lines_of(pieces, known):
    """The command lines of a unit; references are written as a number."""
    said = pieces if isinstance(pieces, bytes) else b"".join(
        p if isinstance(p, bytes) else b"77" for p in pieces)
    for line in said.split(b"\n"):
        line = line.rstrip(b"\r")
        if re.match(known, line):
            yield line


COMMAND = (rb"(get|gets|gat|gats|set|add|replace|append|prepend|cas|incr|decr|touch|delete|"
           rb"mg|ms|md|ma|me|mn|verbosity|flush_all)( |$)")


def test_what_is_avoided_is_not_generated():
    commands = valid_commands.Commands(random.Random(5), {"text", "meta"})
    words = set()
    for _ in range(60):
        for unit in commands.batch(0, ("text", "meta"), 150)["units"]:
            if unit[3] is not None and commands.random() < 0.3:
                commands.learn(unit[3], unit[2])
            for line in lines_of(unit[0], COMMAND):
                words.add(line.split(b" ")[0])
                for name, pattern in (*valid_commands.AVOIDED.items(),
                                      *valid_commands.ON_PURPOSE):
                    assert not re.search(pattern, line), (name, line)
    assert len(words) >= 21, words


def test_what_larder_does_on_purpose_is_documented():
    said = (HERE.parent.parent / "docs/protocol.md").read_text()
    assert all(words in said for words, _ in valid_commands.ON_PURPOSE)


RECORDED = {case["name"]: case for case in recordings.load()}


@pytest.mark.parametrize("name", sorted(valid_commands.AVOIDED))
def test_what_is_avoided_was_recorded(name, player, monkeypatch):
    """memcached 1.6.18 answers unlike the recording, to a line that the pattern describes."""
    case = RECORDED[name]
    said = "".join(recordings.as_list(case["send"])).encode("latin1")
    lines = [part.rstrip(b"\r") for part in re.split(rb"(?<=\n)|\r\n", said)]
    assert any(re.search(valid_commands.AVOIDED[name], line) for line in lines), said
    monkeypatch.setattr(recordings, "BRIEF", 0.2)
    assert player.fault(case, True), "1.6.18 answers as recorded"


# ---- what must be seen ----------------------------------------------------------------------

class Once:
    """Changes what a pattern matches, in one of the later replies that it matches."""

    def __init__(self, pattern, change, after=40):
        self.pattern, self.change, self.left = re.compile(pattern, re.S), change, after

    def __call__(self, data):
        def changed(match):
            self.left -= 1
            return self.change(match) if self.left == 0 else match.group(0)
        return self.pattern.sub(changed, data, 1)


class SaidAgain(Once):
    """Says something else once instead of a number that has been said before.

    Of a number that is new nobody could tell.
    """

    def __init__(self, pattern, instead, after=40):
        super().__init__(pattern, None, after)
        self.said, self.other = set(), with_group(1, lambda number: instead)

    def __call__(self, data):
        def changed(match):
            number = match.group(1)
            if number in self.said:
                self.left -= 1
                return self.other(match) if self.left == 0 else match.group(0)
            self.said.add(number)
            return match.group(0)
        return self.pattern.sub(changed, data, 1)


def with_group(number, change):
    def changed(match):
        said, start = match.group(0), match.start()
        a, b = match.start(number) - start, match.end(number) - start
        return said[:a] + change(said[a:b]) + said[b:]
    return changed


def flip(byte):
    return bytes([byte[0] ^ 1]) + byte[1:]


def plus(n):
    return lambda digits: b"%d" % (int(digits) + n)


HEAD = rb"^[^\n]*"       # of the first line: what is in values is left alone
PACKET = rb"^\x81[\x00-\x24].{2}.\x00\x00[\x00-\x06].{4}(.{4})(.{8})"
FAULTS = {
    "no fault": ("text,meta,binary", lambda: bytes, None),
    "a line": ("text", lambda: Once(rb"^STORED\r\n", lambda m: b"EXISTS\r\n"), "different"),
    "a missing line": ("text", lambda: Once(rb"^STORED\r\n", lambda m: b""), ""),
    "a line too many": ("text", lambda: Once(rb"^MN\r\n", lambda m: b"OK\r\nMN\r\n", 3), ""),
    "flags of a value": ("text", lambda: Once(rb"^VALUE \w+ (\d+) \d+\r\n",
                                               with_group(1, plus(1))), "different"),
    "one bit of a value": ("text", lambda: Once(rb"^VALUE \w+ \d+ [1-9]\d*\r\n(.)",
                                                with_group(1, flip)), "different"),
    "length of a value": ("text", lambda: Once(rb"^VALUE \w+ \d+ (\d\d)\r\n",
                                               with_group(1, plus(1))), ""),
    "a CAS number": ("text", lambda: SaidAgain(rb"^VALUE \w+ \d+ \d+ (\d+)\r\n",
                                               b"1"), "different"),
    "the same CAS numbers": ("text", lambda: lambda data: re.sub(
        rb"^(VALUE \w+ \d+ \d+ )\d+\r\n", rb"\g<1>5\r\n", data), "different"),
    "a changed meta CAS": ("meta", lambda: lambda data: re.sub(rb"^HD c\d+", b"HD c5", data),
                           "different"),
    "no stale mark": ("meta", lambda: Once(HEAD + rb"( X) W\r\n",
                                           with_group(1, lambda x: b""), 5), "different"),
    "ten seconds": ("meta", lambda: Once(HEAD + rb" t(\d\d+)", with_group(1, plus(10)), 10),
                    "different"),
    "one second": ("meta", lambda: lambda data: re.sub(
        HEAD + rb" t(\d{5,})", with_group(1, plus(-1)), data), None),
    "no lifetime": ("meta", lambda: Once(HEAD + rb" t(\d+)", with_group(1, lambda t: b"-1"), 10),
                    "different"),
    "fetched": ("meta", lambda: Once(HEAD + rb" h(1)", with_group(1, lambda h: b"0"), 5),
                "different"),
    "key of me": ("meta", lambda: Once(rb"^ME k", lambda m: b"ME l", 3), "different"),
    "an opaque": ("binary", lambda: Once(PACKET, with_group(1, flip)), ""),
    "no CAS": ("binary", lambda: Once(rb"^\x81\x01\x00\x00\x00\x00\x00\x00.{8}(.{8})",
                                      with_group(1, lambda n: bytes(8))), "different"),
    "a status": ("binary", lambda: Once(rb"^\x81\x04\x00\x00\x00\x00\x00(\x00)\x00",
                                        with_group(1, flip), 3), "different"),
    "silence": ("text", lambda: After(20, b""), "no answer"),
    "hanging up": ("binary", lambda: After(20, None), "no answer"),
}


class After:
    """Says instead after so many replies."""

    def __init__(self, left, instead):
        self.left, self.instead = left, instead

    def __call__(self, data):
        self.left -= 1
        return data if self.left > 0 else self.instead


def what_is_seen(twins, only, fault, patience):
    """The Difference of an episode with this fault, or None."""
    pair = faulty_proxy.FaultyPair(twins, fault, patience)
    episode = valid.Episode("fault", only.split(","), 4000)
    try:
        episode.play(pair)
    except valid_play.Difference as difference:
        return difference
    finally:
        pair.proxy.close()
    return None


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_seen(twins, name):
    """A second more or less is no fault."""
    only, fault, expected = FAULTS[name]
    if expected is None:
        for _ in range(5):
            seen = what_is_seen(twins, only, fault(), None)
            if not seen or not valid_play.may_be_chance(seen):
                break
        assert not seen, valid.describe(seen)
    else:
        # A reply that is missing is not waited for; any other wait may be the machine's.
        patience = None if expected == "different" else SIDES_PATIENCE
        seen = what_is_seen(twins, only, fault(), patience)
        assert seen and seen.why.startswith(expected)


REPLIES = [b"STORED\r\n", b"VALUE a 0 7 12\r\n1\r\nEND\r\r\n", b"END\r\n", b"VA 0 s0\r\n\r\n",
           struct.pack(">BBHBBHIIQ", 0x81, 0, 0, 4, 0, 0, 9, 0, 1) + b"\0\0\0\0a\r\n\x81b",
           struct.pack(">BBHBBHIIQ", 0x81, 10, 0, 0, 0, 0, 0, 0, 0)]


@pytest.mark.parametrize("size", [1, 2, 25, 1000])
def test_replies_are_taken_whole_however_they_come(size):
    said, heard, taken = b"".join(REPLIES), bytearray(), []
    for at in range(0, len(said), size):
        heard += said[at:at + size]
        taken += faulty_proxy.take_replies(heard)
    assert taken == REPLIES and not heard


@pytest.mark.limit(600)
def test_difference_is_made_small_and_kept(tmp_path, twins, monkeypatch):
    """A server that reports one number wrong: one or two commands are left of thousands."""
    def fault(data):
        return re.sub(rb"\r\n18446744073709551616\r\n", b"\r\n18446744073709551617\r\n", data)

    monkeypatch.setattr(valid, "REDUCE_PATIENCE", valid_play.PATIENCE)
    pair = faulty_proxy.FaultyPair(twins, fault)
    r, said = run(tmp_path, server.MEMCACHED, "--only", "text", "--commands", "20000",
                  "--differences", "1", "--reduce-seconds", "500")
    r.all(pair)
    assert len(r.differences) == 1, said
    begin, batches = valid.split_begin(valid_reduce.read(r.differences[0]))
    assert 1 <= sum(len(b["units"]) for b in batches) <= 4, said[-1]
    assert valid.find_difference(pair, batches, begin)
    pair.proxy.close()
    assert valid.find_difference(twins, batches, begin) is None


def test_oracle_that_ends_is_started_again(tmp_path, twins, monkeypatch):
    """Its input is kept, and the run goes on."""
    play = valid_play.play_batch
    batches = []

    def end_once(oracle, tested, batch, compare=True):
        batches.append(batch)
        if len(batches) == 12:
            oracle.server.process.kill()
            oracle.server.process.wait()
        play(oracle, tested, batch, compare)

    monkeypatch.setattr(valid_play, "play_batch", end_once)
    r, said = run(tmp_path, server.MEMCACHED, "--only", "text", "--commands", "20000")
    r.all(twins)
    assert r.commands == 20000 and not r.differences + r.refusals, said
    assert len(r.deaths) == 1 and len(valid_reduce.read(r.deaths[0])) >= 10


def test_refused_command_is_told(twins):
    """The generator would be wrong; a CLIENT_ERROR that both send is not agreement."""
    for kind, pieces in (("text", b"incr a x\r\n"), ("text", b"nonsense\r\n"),
                         ("text", b"mg a y\r\n"),
                         ("binary", struct.pack(">BBHBBHIIQ", 0x80, 0x1b, 0, 0, 0, 0, 0, 1, 0))):
        batch = {"connection": 0, "kind": kind, "cuts": [], "quit": 0,
                 "units": [(pieces, "B" if kind == "binary" else "L", 1, None)]}
        with pytest.raises(valid_play.Refused):
            valid_play.play_batch(*twins.sides(), batch)
