"""The model of tests/diff is right wherever memcached 1.6.45 was recorded.

Goal: what the model says can judge other servers, because it agrees with every recording.
Method: the recordings of the groups below are played to the model in this process, with a clock
that `delay` moves; as recorded, and once more cut into single bytes.
"""
import json
import re
import shlex

import pytest

import replay_recordings as recordings
from model import Connection, Options, Store

GROUPS = """parse set add replace append prepend cas get gets gat gats touch delete incr decr
    flush_all verbosity version quit multi unix cache_memlimit shutdown oom mg ms md ma me mn bin
    misc mode""".split()
CASES = [c for c in recordings.load() if c["name"].split("/")[0] in GROUPS]
# Lines above 2048 bytes are judged by what one read brings.
DEPENDS_ON_CUT = {"parse/long-line-with-newline-in-one-write",
                  "parse/long-mg-with-newline-in-one-write"}


def play(case, dialect="memcached", bytewise=False):
    """What the model answers to each step, and whether it closed the first connection."""
    store = Store(Options.parse(shlex.split(case.get("args", ""))), dialect)
    connections, answers, closed = {}, [], False
    sends = recordings.as_list(case["send"])
    for item, delay in zip(sends, case.get("delay") or [0] * len(sends)):
        store.now += delay
        on, said = (item["on"], item["s"]) if isinstance(item, dict) else (0, item)
        connection = connections.setdefault(on, Connection(store))
        data = said.encode("latin1")
        pieces = [data[i:i + 1] for i in range(len(data))] if bytewise else [data]
        answer = b""
        for piece in pieces:
            reply, ended = connection.feed(piece)
            answer += reply
            closed = closed or ended and on == 0
        answers.append(answer.decode("latin1"))
    return answers, closed


@pytest.mark.parametrize("group", GROUPS)
def test_recordings(group):
    faults = []
    for case in CASES:
        if case["name"].split("/")[0] == group:
            fault = recordings.compare(case, *play(case))
            if fault:
                faults.append("%s: %s" % (case["name"], fault))
    assert not faults, "\n".join(faults)


def test_single_bytes():
    """What comes byte by byte is answered alike, but for the replies lost by get/key-251*."""
    faults = []
    for case in CASES:
        if "get/key-251-drops" in case["name"] or case["name"] in DEPENDS_ON_CUT:
            continue
        fault = recordings.compare(case, *play(case, bytewise=True))
        if fault:
            faults.append("%s: %s" % (case["name"], fault))
    assert not faults, "\n".join(faults)


def test_larder_differs_where_the_table_says_so():
    differences = recordings.known_differences()
    faults = []
    for case in CASES:
        name = case["name"]
        answers, closed = play(case, "larder")
        fault = recordings.compare(case, answers, closed)
        if name not in differences:
            if fault:
                faults.append("%s: %s" % (name, fault))
            continue
        if not fault:
            faults.append(name + " does not differ")
        said = re.fullmatch(r'`(".*")`', differences.get(name, ""))
        if said and json.loads(said.group(1)) != answers[-1]:
            faults.append("%s: %s" % (name, answers[-1]))
    assert not faults, "\n".join(faults)


def test_every_group_is_played():
    assert {c["name"].split("/")[0] for c in CASES} == set(GROUPS)
    assert len(CASES) > 450
