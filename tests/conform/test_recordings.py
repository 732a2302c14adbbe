"""Goal: larder answers byte for byte as memcached 1.6.45 did when it was recorded.

Method: every recording of the groups below that is not sent over UDP, text, meta or binary,
is played again; what may differ stands in docs/protocol.md, and must differ.  So must those of
commands that do not exist yet, so that the list below gets shorter.
"""
import pytest

import replay_recordings as recordings
import server

GROUPS = """parse set add replace append prepend cas get gets gat gats touch delete incr decr
    flush_all verbosity version quit multi unix cache_memlimit shutdown oom
    mg ms md ma me mn bin slabs lru lru_crawler misc mode""".split()
# Of the statistics, those without numbers that differ from server to server: test_stats.py.
STATS = ["stats/" + name for name in """reset-extra unknown noreply-is-unknown items-empty
    slabs-empty extstore-not-enabled detail-no-arg detail-bad-arg detail-session detail-D-option
    detail-incr-touch-mg-not-counted""".split()]
NOT_YET = {
    # Dumps of keys.
    "lru_crawler/metadump-all", "lru_crawler/metadump-hash", "lru_crawler/metadump-uriencoded",
    "lru_crawler/metadump-pipelined", "lru_crawler/mgdump-pipelined",
}


def group_of(case):
    return case["name"].split("/")[0]


CASES = [c for c in recordings.load() if not recordings.is_udp(c)
         and (group_of(c) in GROUPS or c["name"] in STATS)]


@pytest.fixture
def player():
    p = recordings.Player(server.LARDERD)
    yield p
    p.stop()


@pytest.mark.parametrize("group", [*GROUPS, "stats"])
def test_recordings(player, group):
    faults = []
    for case in CASES:
        if group_of(case) == group:
            fault = player.fault(case, case["name"] in NOT_YET)
            if case["name"] in NOT_YET:
                fault = None if fault else "it passes: nothing is missing any more"
            if fault:
                faults.append("%s: %s" % (case["name"], fault))
    assert not faults, "\n".join(faults)


def test_every_listed_difference_is_a_recording():
    assert set(recordings.known_differences()) <= {c["name"] for c in CASES}


def test_few_differences():
    """A replacement that needs a long list of exceptions is none."""
    assert len(recordings.known_differences()) <= 6
