"""Goal: the clients that are quick do their scenarios in every test run; and the scenarios notice
wrong replies.

Method: the scenarios of run_clients.py against larder, all at once; and against memcached through
a relay that spoils its replies.
"""
import concurrent.futures
import re
import shutil
import socket
import threading

import pytest

import run_clients
import server
from run_clients import FAILED, LACKS, PASSED, SKIPPED

QUICK = [c for c in run_clients.CLIENTS if c.quick]


@pytest.fixture(scope="module")
def reports():
    found = run_clients.run_all(QUICK, server.LARDERD, "", run_clients.LARDER_SPEAKS)
    return {run_clients.client_id(r.client): r for r in found}


@pytest.mark.parametrize("name", map(run_clients.client_id, QUICK))
def test_client(reports, name):
    results = reports[name].results
    failed = ["%s: %s" % (step, why) for step, (o, why) in results.items() if o == FAILED]
    assert not failed, "\n".join(failed)
    if "" in results:
        pytest.skip(results[""][1])
    assert [o for o, _ in results.values()].count(PASSED) > 0


# ---- what the scenarios notice ------------------------------------------------------------------

# protocol: {name: (what memcached answers, what is made of it)}
FAULTS = {
    "meta": {
        "nobody wins": (rb" W\r\n", rb"\r\n"),
        "all win": (rb" (X )?Z\r\n", rb" \1W\r\n"),
        "never stale": (rb" X", rb""),
        "always a loser": (rb"^(VA \d+ [^\r\n]*[^ZWX\r\n])\r\n", rb"\1 Z\r\n"),
        "client flags lost": (rb" f[1-9]\d*", rb" f0"),
        "flags in another order": (rb"^(VA \d+) (\S+) (\S+)", rb"\1 \3 \2"),
        "wrong cas number": (rb" c(\d+)", rb" c7\1"),
        "add is said to be done": (rb"^NS", rb"HD"),
        "conflict is no conflict": (rb"^EX", rb"HD"),
        "miss is a hit": (rb"^NF", rb"HD"),
        "flag too many": (rb"^HD\r\n", rb"HD s1\r\n"),
        "blank too many": (rb"^HD\r\n", rb"HD \r\n"),
        "another error": (rb"^SERVER_ERROR", rb"CLIENT_ERROR"),
        "classic miss": (rb"^EN\r\n", rb"END\r\n"),
        "value too short": (rb"^VA 5 ([^\r\n]*\r\n....).\r\n", rb"VA 4 \1\r\n"),
    },
    "text": {
        "add is said to be done": (rb"^NOT_STORED", rb"STORED"),
        "client flags lost": (rb"^(VALUE \S+) [1-9]\d* ", rb"\1 0 "),
        "too large is said to be stored": (rb"^SERVER_ERROR [^\r]*", rb"STORED"),
        "miss is a hit": (rb"^NOT_FOUND", rb"DELETED"),
        "value too short": (rb"^(VALUE \S+ \d+) 5([^\r\n]*\r\n....).\r\n", rb"\1 4\2\r\n"),
    },
}
IN_EVERY_RUN = {"meta": ("all win", "flag too many"), "text": ()}
NO_FAULT = (rb"(?!)", rb"")


class Relay:
    """Passes on what is said, and what the server answers with one thing replaced."""

    def __init__(self, port, pattern, replacement):
        self.server_port = port
        self.spoil = lambda heard: re.sub(pattern, replacement, heard, flags=re.M)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.listener.close()

    def _accept(self):
        try:
            while True:
                client = self.listener.accept()[0]
                peer = socket.create_connection(("127.0.0.1", self.server_port))
                for pair in ((client, peer, bytes), (peer, client, self.spoil)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()
        except OSError:
            pass    # closed

    @staticmethod
    def _pass_on(source, sink, change):
        try:
            while data := source.recv(1 << 20):
                sink.sendall(change(data))
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass


def is_noticed(client, port, fault):
    with Relay(port, *(FAULTS[client.protocol][fault] if fault else NO_FAULT)) as relay:
        played = run_clients.play(client, relay.port, "")
    _, results = run_clients.read_scenario(client, *played)
    return any(outcome == FAILED for outcome, _ in results.values())


@pytest.mark.limit(600)
def test_faults_are_noticed(memcached, long):
    """Each fault by each client; the relay alone is none."""
    tries = [(c, f) for c in QUICK if c.protocol in FAULTS
             for f in (FAULTS if long else IN_EVERY_RUN)[c.protocol]]
    tries += [(c, None) for c in QUICK if c.protocol in (FAULTS if long else ("meta",))]
    ports = [memcached(*run_clients.OPTIONS).port for _ in tries]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        noticed = list(pool.map(lambda at: is_noticed(at[0][0], at[1], at[0][1]),
                                zip(tries, ports)))
    assert [(c.name, f) for (c, f), n in zip(tries, noticed) if n != (f is not None)] == []


def test_a_scenario_that_breaks_off():
    client = QUICK[0]
    said = "client x 1.2\nok set_get\nnot ok cas too late\n- gat none\n"
    version, results = run_clients.read_scenario(client, 1, said, "Traceback")
    assert version == "1.2"
    assert results["set_get"] == (PASSED, "")
    assert results["cas"] == (FAILED, "too late")
    assert results["gat"] == (LACKS, "none")
    assert results["end"][0] == FAILED and "Traceback" in results["end"][1]
    assert results["touch"][0] == FAILED      # neither done nor declared
    whole = "".join("ok %s\n" % step for step in run_clients.COMMON_STEPS)
    _, results = run_clients.read_scenario(client, 0, whole + "end\n", "")
    assert all(outcome == PASSED for outcome, _ in results.values())
    _, results = run_clients.read_scenario(client, None, whole + "end\n", "")
    assert results["end"][0] == FAILED


def test_a_client_that_is_not_there():
    missing = QUICK[0]._replace(argv=("/no/such/interpreter",))
    report = run_clients.run_client(missing, shutil.which("memcached"), "", ("text",))
    assert report.results[""][0] == SKIPPED and "dist/setup" in report.results[""][1]
    report = run_clients.run_client(QUICK[0], "/no/such/server", "", ("text",))
    assert report.results["start"][0] == FAILED
