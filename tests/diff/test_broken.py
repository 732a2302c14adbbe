"""Broken commands are answered as the model and the recordings say.

Goal: no line and no packet, however broken, is answered otherwise than by memcached 1.6.45.
Method: broken.py with fixed seeds; the server under test, the model and Debian's memcached are
compared.  A kind of commands that the server does not speak is compared with memcached alone.
"""
import os

import pytest

import broken
import marks
import replay_recordings as recordings
import rules
import server

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


def test_rules_cite_recordings():
    table = rules.TEXT + rules.META_RULES + rules.BINARY + rules.WHOLE + rules.WHOLE_BINARY
    cited = [name for _, names, _ in table for name in names.split()]
    for rule in (rules.READ_BY_OTHERS, rules.BEHIND, rules.EMPTY, rules.LOST):
        cited += rule[1].split()
    assert set(cited) <= {c["name"] for c in recordings.load()}
    assert all(names for _, names, _ in table)
    assert len(rules.NAMES) <= 45


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
