"""bench/replay --verify finds every fault a cache can commit: one wrong answer is enough.

Goal: replay is what says "no wrong value" about the server, so it must be shown to be sharp.
Method: short traces, written here, run against tests/lib/faulty_server.py, which does everything
right but once.  The traces are laid out so that the fault can be seen wherever it falls: each
delete is followed by a get or a delete of its key, each incr by a get or an incr.
"""
import os
import pathlib
import random
import re
import struct
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BENCH_DIR = pathlib.Path(os.environ.get("BENCH_DIR", ROOT / "build/release/bench"))
FAULTY_SERVER = ROOT / "tests/lib/faulty_server.py"
GET, SET, DELETE, INCR = range(4)
KEY_BYTES = 24
SEED = 20240611

TEXT_CYCLE = (SET, GET, SET, GET, DELETE, GET, GET, SET, DELETE, DELETE, GET, SET, GET)
TEXT_LENGTHS = (1, 2, 6, 7, 8, 13, 17, 18, 19, 100, 1000, 5000)
NUMBER_CYCLE = (SET, GET, INCR, INCR, GET, SET, GET, DELETE, INCR, INCR, GET)
NUMBER_LENGTHS = (1, 2, 4, 9, 18)


def write_trace(path, cycle, lengths, numeric, key_count=60, rounds=6):
    """Every key goes through the cycle; at each step the keys come in another order."""
    shuffled = random.Random(SEED)
    keys = list(range(key_count))
    with open(path, "wb") as f:
        count = key_count * rounds * len(cycle)
        f.write(struct.pack("<8sQQII", b"MCTRACE1", count, key_count, int(numeric), 0))
        for op in cycle * rounds:
            shuffled.shuffle(keys)
            for key in keys:
                f.write(struct.pack("<QIIIBBH", key, 0, lengths[key % len(lengths)], 0, op,
                                    KEY_BYTES, 0))
    return count


class FaultyServer:
    def __init__(self, mode, *options):
        self.process = subprocess.Popen(
            [sys.executable, str(FAULTY_SERVER), mode, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        word, self.address = self.process.stdout.readline().split()
        assert word == "ready"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.end()

    def end(self):
        """Ends the server; returns what it said since it was ready, one list per first word."""
        said, _ = self.process.communicate("", timeout=60)
        lines = [line.split() for line in said.splitlines()]
        return {line[0]: line[1:] for line in lines}


def replay(trace, *options):
    program = BENCH_DIR / "replay"
    assert program.exists(), f"{program} is missing: it is built by `make benches`"
    return subprocess.run([program, "--trace", trace, "--silence", "60", *options],
                          capture_output=True, text=True, timeout=300)


def run(tmp_path, mode, connections=1, numeric=False, verify=True, unix=False, after=20,
        lengths=None):
    """Replays a trace against a server of this mode; returns the result and the server's words."""
    trace = tmp_path / "trace"
    if numeric:
        write_trace(trace, NUMBER_CYCLE, lengths or NUMBER_LENGTHS, True)
    else:
        write_trace(trace, TEXT_CYCLE, lengths or TEXT_LENGTHS, False)
    socket_path = str(tmp_path / "socket")
    where = ("--socket", socket_path) if unix else ()
    with FaultyServer(mode, "--after", str(after), *where) as server:
        to = where or ("--port", server.address)
        result = replay(trace, "--connections", str(connections), *to,
                        *(["--verify"] if verify else []))
        words = server.end()
    print(result.stdout, result.stderr, words)
    return result, words


def fields(result):
    return dict(field.split("=", 1) for field in result.stdout.split())


@pytest.mark.parametrize("unix", (False, True))
@pytest.mark.parametrize("connections", (1, 4))
@pytest.mark.parametrize("numeric", (False, True))
def test_correct_server_passes(tmp_path, numeric, connections, unix):
    result, words = run(tmp_path, "correct", connections, numeric, unix=unix)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    got = fields(result)
    cycle = NUMBER_CYCLE if numeric else TEXT_CYCLE
    assert int(got["requests"]) == 60 * 6 * len(cycle)
    assert int(got["hits"]) > 60 * 6 * 3
    assert (got["errors"], got["bad_values"]) == ("0", "0")
    assert words["connections"] == [str(connections), "writers", "1"]


# mode: does it need numbers, what replay says about it
FAULTS = {
    "previous": (False, r"expected version (\d+), \d+ bytes, got version (?!\1,)\d+"),
    "torn": (False, r"expected version \d+, \d+ bytes, got "),
    "other-key": (False, r"expected version \d+, \d+ bytes, got "),
    "cut": (False, r"expected version \d+, \d+ bytes, got "),
    "short-data": (False, r"no CR LF where the \d+ bytes announced end"),
    "ignore-delete": (False, r"was deleted and not stored since, yet got (version|DELETED)"),
    "found-deleted": (False, r"was deleted and not stored since, yet got DELETED"),
    "error": (False, r'get was answered "ERROR"'),
    "store-error": (False, r'set was answered "SERVER_ERROR out of memory storing object"'),
    "lose-incr": (True, r"(incr of \d+ must answer \d+, got \d+|expected the number \d+)"),
    "double-incr": (True, r"incr of \d+ must answer \d+, got \d+"),
}


@pytest.mark.parametrize("connections", (1, 4))
@pytest.mark.parametrize("mode", FAULTS)
def test_one_fault_is_found_and_named(tmp_path, mode, connections):
    numeric, sentence = FAULTS[mode]
    result, words = run(tmp_path, mode, connections, numeric)
    assert "fault" in words, "the server had no chance to commit its fault"
    assert result.returncode == 1
    kind = "error reply" if "answered" in sentence else "wrong value"
    first = result.stderr.splitlines()[0]
    assert re.match(rf"replay: {kind}: key {words['fault'][0]}: {sentence}", first), first


@pytest.mark.parametrize("mode", ("previous", "cut", "ignore-delete"))
def test_faults_of_numbers_are_found(tmp_path, mode):
    result, words = run(tmp_path, mode, numeric=True)
    assert result.returncode == 1
    assert f"wrong value: key {words['fault'][0]}: " in result.stderr


@pytest.mark.parametrize("length", TEXT_LENGTHS)
def test_a_version_too_old_is_seen_at_every_length(tmp_path, length):
    """One byte carries the version modulo 62: enough to tell neighbours apart."""
    result, words = run(tmp_path, "previous", lengths=(length,))
    assert result.returncode == 1
    assert f"wrong value: key {words['fault'][0]}: expected version" in result.stderr


@pytest.mark.parametrize("length", (18, 100, 5000))
def test_the_cut_is_told_exactly(tmp_path, length):
    result, _ = run(tmp_path, "cut", lengths=(length,))
    assert result.returncode == 1
    assert re.search(rf"expected version (\d+), {length} bytes, got version \1, {length - 1} of "
                     rf"its {length} bytes", result.stderr), result.stderr


def test_half_an_old_value_is_called_damaged(tmp_path):
    result, _ = run(tmp_path, "torn", lengths=(1000,))
    assert result.returncode == 1
    assert re.search(r"expected version (\d+), 1000 bytes, got a damaged version \1, 1000 bytes",
                     result.stderr), result.stderr


def test_a_value_of_another_key_is_called_so(tmp_path):
    result, _ = run(tmp_path, "other-key", lengths=(100,))
    assert result.returncode == 1
    assert "100 bytes that say they belong to key number" in result.stderr


def test_an_answer_too_many_is_an_error(tmp_path):
    result, words = run(tmp_path, "extra-line")
    assert "fault" in words
    assert result.returncode == 1


def test_an_error_reply_counts_without_verify(tmp_path):
    result, _ = run(tmp_path, "error", verify=False)
    assert result.returncode == 1
    assert fields(result)["errors"] == "1"


def test_a_used_server_is_told_from_a_wrong_one(tmp_path):
    """What another run has stored is no value of this one, and the sentence says what to do."""
    trace = tmp_path / "trace"
    write_trace(trace, (GET, GET), TEXT_LENGTHS, False)
    with FaultyServer("correct") as server:
        assert replay(trace, "--verify", "--port", server.address).returncode == 0
        result = replay(trace, "--verify", "--port", server.address)
    assert result.returncode == 1
    assert "was never stored in this run" in result.stderr
    assert "was the server empty?" in result.stderr


def test_a_lost_connection_is_a_failure_not_a_finding(tmp_path):
    result, _ = run(tmp_path, "hang-up")
    assert result.returncode == 2
    assert "closed the connection" in result.stderr


def test_a_cut_trace_is_a_failure(tmp_path):
    trace = tmp_path / "trace"
    write_trace(trace, TEXT_CYCLE, TEXT_LENGTHS, False)
    trace.write_bytes(trace.read_bytes()[:-24])
    with FaultyServer("correct") as server:
        result = replay(trace, "--verify", "--port", server.address)
    assert result.returncode == 2
    assert "of the 4680 records it announces" in result.stderr
