#!/usr/bin/python3
"""Sends broken commands to a server, and compares what it says with the model and with memcached.

  tests/diff/broken.py --server build/release/larderd --commands 1000000 --seed 1 [--only text,meta]

Batches of some thirty commands (generate.py) go to the server under test and to Debian's memcached
1.6.18, the oracle, each on a connection of its own.  The server must answer exactly as the model
(model.py) does, CAS numbers and times aside (marks.py).  Where the oracle differs from the model, a
named rule (rules.py) must say why.  Everything else is a finding: it is cut down to the commands
that it takes, printed, and written to --findings.

A server that dies is started again; the batch that killed it is kept in --findings.  After a batch
that left strange keys behind, these are deleted.  The clock of the model is set from the real one;
what would expire soon is overwritten at once.  Prints progress and, last, one line of sums.
"""
import argparse
import base64
import collections
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import generate  # noqa: E402
import marks  # noqa: E402
import rules  # noqa: E402
from model import Connection, Store  # noqa: E402

KINDS = ("text", "meta", "binary")
COMMANDS_PER_BATCH = 30
SHRINKING_SECONDS = 15
PATIENCE = 30.0
LIFE_PATIENCE = 60.0   # of a server that starts or ends
AWAITED_MAX = 12000    # what awaits more ends the batch
LONG_LINE = 2000       # near the limit of 2048 a batch must come in one read
ONE_READ_MAX = 12000
# What 1.6.18 took for commands, and the model for data, may have left keys that nobody knows of.
FORGET = b"flush_all\r\n"
# Background threads hold items for a while, and then numbers are not changed in place.
OPTIONS = ("-t", "1", "-m", "64", "-o", "no_lru_maintainer,no_lru_crawler")


class Peer:
    """A server on a unix socket, started and stopped here."""

    def __init__(self, name, binary, findings):
        self.name, self.binary, self.findings = name, str(binary), findings
        self.dir = tempfile.mkdtemp(prefix="broken.")
        self.path = os.path.join(self.dir, "s")
        self.deaths = 0
        self.start()

    def start(self):
        if os.path.exists(self.path):
            os.unlink(self.path)
        user = ["-u", "root"] if os.getuid() == 0 else []
        self.log = open(os.path.join(self.dir, "stderr"), "ab")
        self.process = subprocess.Popen([self.binary, "-s", self.path, *OPTIONS, *user],
                                        stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        end = time.monotonic() + LIFE_PATIENCE
        while True:
            try:
                self.connect().close()
                break
            except OSError:
                if self.process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError("%s does not start" % self.binary)
                time.sleep(0.01)
        # So that its CAS numbers have left the range of those that clients choose.
        self.converse([b"set warm 0 0 1 noreply\r\nx\r\n" * 1500], True)

    def connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(PATIENCE)
        sock.connect(self.path)
        return sock

    def converse(self, pieces, half_close):
        """(all that is said until the server closes, whether it did)."""
        sock = self.connect()
        heard = []
        try:
            # Small enough to lie in the buffers of both directions.
            for piece in pieces:
                sock.sendall(piece)
            if half_close:
                sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        try:
            while True:
                data = sock.recv(1 << 18)
                if not data:
                    break
                heard.append(data)
        except socket.timeout:
            return b"".join(heard), False
        except OSError:
            pass
        finally:
            sock.close()
        return b"".join(heard), True

    def died(self, batch):
        """True if it is dead; it is started again."""
        if self.process.poll() is None:
            return False
        self.deaths += 1
        path = self.findings / ("killed-%s-%d" % (self.name, self.deaths))
        path.write_bytes(batch.stream(marks.Known()))
        print("%s died (%s); what killed it: %s" % (self.name, self.process.returncode, path))
        self.start()
        return True

    def stop(self):
        """0, or what is wrong with its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(LIFE_PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()
        said = pathlib.Path(self.dir, "stderr").read_text(errors="replace")
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        os.rmdir(self.dir)
        report = re.search(r"ERROR: \w+Sanitizer.*|runtime error:.*|must be true:.*", said)
        return report.group() if report else self.process.returncode


# ---- batches --------------------------------------------------------------------------------

class Batch:
    """Requests on one connection, after those of `opening` on another one.

    requests, expected: aligned; a request may have marks of CAS numbers, an expected reply too."""

    def __init__(self, prefix, kind, started):
        self.prefix, self.kind, self.started = prefix, kind, started
        self.opening, self.opening_expected = [], []
        self.requests, self.expected = [], []
        self.closed = False
        self.usable = True
        self.odd_keys = ()
        self.commands = 0

    def stream(self, known):
        return b"".join(map(known.fill, self.requests))

    def play(self):
        """The model's replies."""
        store = Store(dialect="larder", marks=marks)
        store.now, store.started = int(time.time()), self.started
        self.store = store
        self.opening_expected = []
        if self.opening:
            connection = Connection(store)
            self.opening_expected = [connection.feed(marks.fill_for_model(r))[0]
                                     for r in self.opening]
        self.connection = Connection(store)
        given, self.requests, self.expected = self.requests, [], []
        for request in given:
            self.add(request)
            if self.connection.closed:
                break
        self.finish()

    def add(self, request):
        said, self.closed = self.connection.feed(marks.fill_for_model(request))
        self.requests.append(request)
        self.expected.append(said)

    def noop(self):
        return struct.pack(">BBHBBHIIQ", 0x80, 0x0a, 0, 0, 0, 0, 0, 7, 0) \
            if self.kind == "binary" else b"mn\r\n"

    def steady(self):
        """Puts away what depends on a server's clock or counter; see store.py."""
        store = self.store
        for _ in range(3):
            if not store.unsteady or not self.connection.between_commands():
                return
            todo, store.unsteady = store.unsteady, set()
            for what in ("flush", "verbosity", "memlimit"):
                if what in todo:
                    todo.discard(what)
                    self.add(self.reset(what))
            for key in sorted(todo):
                self.add(self.overwrite(key))

    def reset(self, what):
        if self.kind == "binary":
            return struct.pack(">BBHBBHIIQ", 0x80, 0x18, 0, 0, 0, 0, 0, 0, 0)
        return {"flush": b"flush_all noreply\r\n", "verbosity": b"verbosity 0 noreply\r\n",
                "memlimit": b"cache_memlimit 64 noreply\r\n"}[what]

    def overwrite(self, key):
        if self.kind == "binary":
            return struct.pack(">BBHBBHIIQII", 0x80, 0x11, len(key), 8, 0, 0, len(key) + 8, 0, 0,
                               0, 0) + key
        if b" " in key or b"\n" in key or len(key) > 250:
            return b"ms %s 0 b q\r\n\r\n" % base64.b64encode(key)
        return b"set %s 0 0 0 noreply\r\n\r\n" % key

    def finish(self):
        """Completes what awaits more, and asks for a last reply."""
        c = self.connection
        for _ in range(6):
            if c.closed or c.between_commands():
                break
            missing = c.talk.missing() if c.talk else 1
            if missing > AWAITED_MAX:
                self.usable = False
                return
            self.add(b"\r\n" if missing == 0 else b"f" * (missing - 2) + b"\r\n"[-missing:])
        if not c.closed:
            self.steady()
            self.add(self.noop())
        self.odd_keys = [k for k in self.store.items if not k.startswith(self.prefix)]
        self.usable = self.usable and not self.store.unmodelled and (c.closed
                                                                    or c.between_commands())


META_LINE = re.compile(rb"(?:^|\n)m[gsdae](?:[ \r\n]|$)")


def make(rng, number, kinds, started):
    """A new batch."""
    prefix = generate.prefix(number)
    g = generate.Generator(rng, prefix, kinds)
    batch = Batch(prefix, g.kind, started)
    batch.play()
    batch.requests, batch.expected = [], []
    batch.connection = Connection(batch.store)
    store = batch.store
    if rng.random() < 0.3:
        batch.opening = g.opening() + g.asking()
        connection = Connection(store)
        batch.opening_expected = [connection.feed(r)[0] for r in batch.opening]
        g.learned = {k: i.cas for k, i in store.items.items() if k in g.keys[:4]}
    else:
        for request in g.opening():
            batch.add(request)
    while batch.commands < COMMANDS_PER_BATCH and not batch.connection.closed:
        request = g.command()
        if batch.connection.talk is None and not batch.connection.input and (
                (request[:1] == b"\x80") != (batch.kind == "binary")):
            continue  # the first byte chooses the protocol
        batch.commands += 1
        batch.add(request)
        if not batch.connection.closed and batch.connection.talk and \
                batch.connection.talk.missing() > AWAITED_MAX:
            # Nothing can be said about a reply that never comes.
            batch.requests.pop()
            batch.play()
            return batch
        if store.unsteady:
            batch.steady()
    batch.finish()
    return batch


# ---- comparison -----------------------------------------------------------------------------

def pieces(rng, batch, stream):
    """The stream in any cut, where the cut cannot matter; None if it cannot be sent at all."""
    longest = max(map(len, stream.split(b"\n")))
    if longest > LONG_LINE and batch.kind != "binary":
        return [stream] if len(stream) <= ONE_READ_MAX else None
    if rng is None or len(stream) < 2 or rng.random() < 0.7:
        return [stream]
    cuts = sorted(rng.randrange(1, len(stream)) for _ in range(rng.choice((1, 2, 5, 20))))
    edges = [0, *cuts, len(stream)]
    return [stream[a:b] for a, b in zip(edges, edges[1:])]


def open_batch(peer, batch, known):
    """Plays the opening; "" or what was said instead of what was expected."""
    if not batch.opening:
        return b"", 0
    said, _ = peer.converse([b"".join(batch.opening)], True)
    end = marks.match(b"".join(batch.opening_expected), said, 0, known)
    return said, 0 if end == len(said) else -1


def judge_server(peer, batch, rng=None):
    """None, or (index of the command, what was expected, what was said)."""
    known = marks.Known()
    said, fault = open_batch(peer, batch, known)
    if fault:
        return -1, b"".join(batch.opening_expected), said
    sent = pieces(rng, batch, batch.stream(known))
    if sent is None:
        return None
    said, ended = peer.converse(sent, not batch.closed)
    at = 0
    for i, expected in enumerate(batch.expected):
        end = marks.match(expected, said, at, known)
        if end < 0:
            return i, expected, said[at:]
        at = end
    if at != len(said):
        return len(batch.expected) - 1, b"", said[at:]
    if not ended:
        return len(batch.expected) - 1, b"(the connection is closed)", b"(it is not)"
    return None


def judge_oracle(peer, batch, counts):
    """As judge_server, but for what a rule explains; counts[rule] is increased."""
    known = marks.Known()
    said, fault = open_batch(peer, batch, known)
    if fault:
        return -1, b"".join(batch.opening_expected), said
    sent = pieces(None, batch, batch.stream(known))
    if sent is None:
        return None
    said, _ = peer.converse(sent, True)
    at = 0
    events = batch.connection.log
    rule = rules.whole(batch.kind, events, b"".join(sent))
    if rule:
        counts[rule] += 1
        peer.converse([FORGET], True)
        return None
    for event in events:
        expected = b"".join(event.replies)
        found = rules.explain(batch.kind, event, expected, said, at, known)
        if found is not None:
            rule, at, goes_on = found
            counts[rule] += 1
            if not goes_on:
                peer.converse([FORGET], True)
                return None
            continue
        end = marks.match(expected, said, at, known)
        if end < 0:
            return len(batch.requests) - 1, expected, said[at:]
        at = end
        counts["compared"] += 1
    if at != len(said):
        return len(batch.requests) - 1, b"", said[at:]
    return None


# ---- findings -------------------------------------------------------------------------------

class Findings:
    def __init__(self, folder, most, clean, forget):
        self.folder, self.most = folder, most
        self.forget = forget
        self.clean = clean
        self.seen = collections.Counter()
        self.reported = 0
        self.left_over = 0
        self.renamed = 0xf0000

    def rename(self, batch, requests):
        """The same requests on other keys, so that nothing of earlier ones is there."""
        self.renamed += 1
        prefix = generate.prefix(self.renamed)
        # In base64 a prefix of six bytes is eight letters.
        pairs = ((batch.prefix, prefix),
                 (base64.b64encode(batch.prefix), base64.b64encode(prefix)))
        other = Batch(prefix, batch.kind, batch.started)

        def rename(request):
            for old, new in pairs:
                request = request.replace(old, new)
            return request

        other.requests = list(map(rename, requests))
        other.opening = list(map(rename, batch.opening))
        return other

    def again(self, batch, requests, judge):
        other = self.rename(batch, requests)
        other.play()
        if not other.usable:
            return None, other
        fault = judge(other)
        self.clean(other.odd_keys)
        return fault, other

    def add(self, who, batch, fault, judge):
        self.clean(batch.odd_keys)
        index, expected, said = fault
        culprit = batch.requests[index] if index >= 0 else b"(opening)"
        verb = culprit[:2] if batch.kind == "binary" else culprit.split(b" ")[0][:12]
        told = 8 if batch.kind == "binary" else 24
        signature = (who, verb, bytes(expected[:told]), bytes(said[:told]))
        self.seen[signature] += 1
        if self.seen[signature] > 1 or self.reported >= self.most:
            return
        self.forget()
        requests = batch.requests
        fault, small = self.again(batch, requests, judge)
        if fault is None:
            self.left_over += 1
            print("%s: cannot be repeated: %r\n  expected %.200r\n  said     %.200r" % (
                who, culprit[:200], expected, said))
            return
        fault, small = self.smaller(batch, requests, fault, small, judge)
        self.reported += 1
        index, expected, said = fault
        sent = small.opening + small.requests[:index + 1]
        text = "%s, finding %d:\n%s  expected %.400r\n  said     %.400r\n" % (
            who, self.reported, "".join("  > %.600r\n" % r for r in sent), expected, said)
        print(text, end="", flush=True)
        (self.folder / ("finding-%03d" % self.reported)).write_text(text)

    def smaller(self, batch, requests, fault, small, judge):
        requests = list(requests)
        size = max(1, len(requests) // 2)
        end = time.monotonic() + SHRINKING_SECONDS
        while size and time.monotonic() < end:
            at, shrunk = 0, False
            while at < len(requests) and time.monotonic() < end:
                fewer = requests[:at] + requests[at + size:]
                other, played = self.again(batch, fewer, judge)
                if other is not None:
                    requests, fault, small, shrunk = fewer, other, played, True
                else:
                    at += size
            if not shrunk or size > 1:
                size //= 2
        if small.opening:
            other = Batch(batch.prefix, batch.kind, batch.started)
            fault_without, played = self.again(other, requests, judge)
            if fault_without is not None:
                return fault_without, played
        return fault, small


# ---- all of it ------------------------------------------------------------------------------

def clean(peer, keys):
    """Deletes keys that do not belong to a batch."""
    if any(b" " in k or b"\n" in k for k in keys):
        said = [struct.pack(">BBHBBHIIQ", 0x80, 0x14, len(k), 0, 0, 0, len(k), 0, 0) + k
                for k in keys]
    else:
        said = [b"delete %s noreply\r\n" % k for k in keys]
    peer.converse([b"".join(said)], True)


def spoken(binary):
    """The kinds that a server understands."""
    peer = Peer("asked", binary, None)
    try:
        found = ["text"]
        if peer.converse([b"mg nothing v\r\n"], True)[0] == b"EN\r\n":
            found.append("meta")
        noop = struct.pack(">BBHBBHIIQ", 0x80, 0x0a, 0, 0, 0, 0, 0, 0, 0)
        if peer.converse([noop], True)[0][:1] == b"\x81":
            found.append("binary")
        return found
    finally:
        peer.stop()


def run(args, out=print):
    """(number of findings, sums as a dict)."""
    kinds = tuple(args.only.split(","))
    folder = pathlib.Path(args.findings or tempfile.mkdtemp(prefix="broken-findings."))
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(args.seed)
    server = Peer("server", args.server, folder) if args.server else None
    oracle = Peer("memcached", args.oracle, folder) if args.oracle else None
    started = int(time.time()) - 60

    def clean_all(keys):
        if keys:
            for peer in (server, oracle):
                if peer:
                    clean(peer, keys)

    def forget():
        if oracle:
            oracle.converse([FORGET], True)

    findings = Findings(folder, args.most, clean_all, forget)
    counts = collections.Counter()
    begun = told = time.monotonic()
    number = done = 0
    try:
        while done < args.commands and findings.reported < args.most:
            number += 1
            batch = make(rng, number, kinds, started)
            done += batch.commands
            stream = b"".join(batch.requests)
            if not batch.usable or len(stream) > 60000 or (
                    kinds == ("text",) and META_LINE.search(stream)):
                counts["unusable"] += 1
                continue
            if server:
                fault = judge_server(server, batch, rng)
                if server.died(batch):
                    findings.reported += 1
                elif fault:
                    findings.add("server", batch, fault, lambda b: judge_server(server, b))
            if oracle:
                fault = judge_oracle(oracle, batch, counts)
                if oracle.died(batch):
                    counts["oracle deaths"] += 1
                elif fault:
                    findings.add("memcached", batch, fault,
                                 lambda b: judge_oracle(oracle, b, collections.Counter()))
            clean_all(batch.odd_keys)
            if time.monotonic() - told > 10:
                told = time.monotonic()
                out("%d commands, %.0f each second, %d findings" % (
                    done, done / (told - begun), sum(findings.seen.values())))
    finally:
        ends = {peer.name: peer.stop() for peer in (server, oracle) if peer}
    if server and ends["server"] != 0:
        out("the server ended with %s" % ends["server"])
        findings.reported += 1
    seconds = time.monotonic() - begun
    counts["commands"], counts["batches"] = done, number
    if args.rules:
        for name, count in counts.most_common():
            out("%9d %s" % (count, name))
    out("%d commands in %d batches, %.0f s: %d findings (%d kinds), %d of them not repeatable; "
        "oracle: %d replies compared, %d explained by %d rules, %d deaths" % (
            done, number, seconds, sum(findings.seen.values()), findings.reported,
            findings.left_over, counts["compared"],
            sum(n for name, n in counts.items() if name in rules.NAMES),
            sum(1 for name in counts if name in rules.NAMES), counts["oracle deaths"]))
    return findings.reported, counts


def parser():
    p = argparse.ArgumentParser(description="broken commands: server, model and memcached compared")
    p.add_argument("--server", help="larderd; left out, the model is compared with memcached alone")
    p.add_argument("--oracle", default="/usr/bin/memcached", help="memcached 1.6.18; '' for none")
    p.add_argument("--commands", type=int, default=100000)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", default="text,meta,binary", help="which kinds of commands")
    p.add_argument("--most", type=int, default=60, help="findings that end the run")
    p.add_argument("--findings", help="folder for findings (a temporary one)")
    p.add_argument("--rules", action="store_true", help="print how often each rule was met")
    return p


def main():
    return 1 if run(parser().parse_args(), lambda text: print(text, flush=True))[0] else 0


if __name__ == "__main__":
    sys.exit(main())
