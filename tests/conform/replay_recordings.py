#!/usr/bin/python3
"""Replays recorded exchanges with memcached 1.6.45 against any compatible server.

  tests/conform/replay_recordings.py --binary build/release/larderd [--only REGEX] [--text-only]

Prints each case that differs and, last, how many do not.  Where larder differs on purpose, the
table `| recording | larder | why |` of docs/protocol.md says so; such a case must differ, else
the table is wrong and that is a failure too.  If the second column is a JSON string in
backquotes, it must be exactly what the last step is answered with.

recordings.jsonl has one object per line:
  name       unique: "group/what"
  send       latin1 string, or list of them sent on one connection, replies read in between.  An
             item may be {"on": N, "s": "..."}: on extra connection N, opened at its first use;
             for udp {"tcp": "..."} prepares state over TCP
  recv       latin1 string or list, aligned with send; "" = nothing is answered
  recv_re    list or scalar of regular expression or null; replaces the exact comparison
  args       options of the server; {dir} is its directory
  files      {name: content} in that directory before the start
  fresh      true: needs a newly started server
  kills      true: the server ends
  transport  "udp" (datagrams with their 8-byte headers; recv items are lists) or "unix"
  closed     true: the server has closed the connection after the last reply
  delay      seconds to sleep before each send
  note       a remark
"""
import argparse
import json
import pathlib
import re
import select
import shlex
import socket
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
import server  # noqa: E402

RECORDINGS = HERE / "recordings.jsonl"
DIFFERENCES = HERE.parent.parent / "docs/protocol.md"
# Silence that ends a reply whose expected bytes are all there.
QUIET_SECONDS = 0.012
# The longest wait for expected bytes, and for those that are not expected to come.
PATIENCE = 30.0
BRIEF = 3.0
# A case with delays that takes so much longer than they do may have come into another second.
LATE_SECONDS = 0.8


def load(path=RECORDINGS):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def known_differences(path=DIFFERENCES):
    """{name of a recording: text of the column `larder`} from the table in docs/protocol.md."""
    found, inside = {}, False
    for line in pathlib.Path(path).read_text().splitlines() if pathlib.Path(path).exists() else ():
        # A bar that belongs to a cell is written \| as usual in such tables.
        cells = [c.strip().replace("\\|", "|") for c in re.split(r"(?<!\\)\|", line)[1:-1]]
        if [c.lower() for c in cells] == ["recording", "larder", "why"]:
            inside = True
        elif not cells:
            inside = False
        elif inside and not set(cells[0]) <= set("-: "):
            found[cells[0].strip("`")] = cells[1]
    return found


def said_by(case):
    """All that the client sends, over streams."""
    return [item.get("s", "") + item.get("tcp", "") if isinstance(item, dict) else item
            for item in as_list(case["send"])]


def has_meta(case):
    return any(re.search(r"(^|\n)(mg|ms|md|ma|me) ", said) for said in said_by(case))


def has_binary(case):
    return any("\x80" in said for said in said_by(case))


def is_udp(case):
    return case.get("transport") == "udp"


def is_text_only(case):
    """Sends neither meta commands nor binary bytes, and not over UDP."""
    return not has_binary(case) and not has_meta(case) and not is_udp(case)


def as_list(value, length=1):
    return value if isinstance(value, list) else [value] + [None] * (length - 1)


# ---- one exchange ---------------------------------------------------------------------------

def hear(sock, want, pattern, patience):
    """(reply, closed): reads until what is wanted is there and nothing follows it."""
    heard, end = b"", time.monotonic() + patience
    while True:
        enough = (re.fullmatch(pattern, heard.decode("latin1"), re.S) if pattern is not None
                  else len(heard) >= len(want))
        wait = QUIET_SECONDS if enough else end - time.monotonic()
        if wait <= 0 or not select.select([sock], [], [], wait)[0]:
            return heard.decode("latin1"), False
        try:
            data = sock.recv(1 << 20)
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        if not data:
            return heard.decode("latin1"), True
        heard += data


def hear_datagrams(sock, count, patience):
    heard, end = [], time.monotonic() + patience
    while True:
        wait = QUIET_SECONDS if len(heard) >= count else end - time.monotonic()
        if wait <= 0 or not select.select([sock], [], [], wait)[0]:
            return heard
        heard.append(sock.recv(65536).decode("latin1"))


def play_udp(running, case, patience):
    """What was answered to each step: a list of datagrams, or a text over TCP."""
    sends = as_list(case["send"])
    wants = as_list(case["recv"], len(sends))
    answers = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.connect(("127.0.0.1", running.port))
        for item, want, delay in zip(sends, wants, case.get("delay") or [0] * len(sends)):
            time.sleep(delay)
            if isinstance(item, dict):
                with running.connect() as tcp:
                    tcp.send(item["tcp"].encode("latin1"))
                    answers.append(hear(tcp.socket, want, None, patience)[0])
            else:
                udp.send(item.encode("latin1"))
                answers.append(hear_datagrams(udp, len(want), patience))
    return answers, False


def play_stream(running, case, patience):
    sends = as_list(case["send"])
    wants = as_list(case["recv"], len(sends))
    patterns = as_list(case.get("recv_re"), len(sends))
    connections, answers, closed = {0: running.connect()}, [], False
    delays = case.get("delay") or [0] * len(sends)
    for item, want, pattern, delay in zip(sends, wants, patterns, delays):
        time.sleep(delay)
        number = 0
        if isinstance(item, dict):
            number, item = item["on"], item["s"]
            if number not in connections:
                connections[number] = running.connect()
        sock = connections[number].socket
        try:
            sock.sendall(item.encode("latin1"))
        except (BrokenPipeError, ConnectionResetError):
            closed = True
        answer, ended = hear(sock, want, pattern, patience)
        closed = closed or (ended and number == 0)
        answers.append(answer)
    if case.get("closed") and not closed:
        closed = hear(connections[0].socket, " ", None, patience)[1]
    for c in connections.values():
        c.close()
    return answers, closed


def compare(case, answers, closed):
    """None if all is as recorded, else what is not."""
    wants = as_list(case["recv"])
    patterns = as_list(case.get("recv_re"), len(wants))
    for i, (want, pattern, answer) in enumerate(zip(wants, patterns, answers)):
        if pattern is None:
            same = answer == want
        else:
            same = all(re.fullmatch(pattern, a, re.S) for a in as_list(answer))
        if not same:
            return "step %d: sent %.160s\n  want %.300s\n  got  %.300s" % (
                i, json.dumps(as_list(case["send"])[i]), json.dumps(pattern or want),
                json.dumps(answer))
    if case.get("closed") and not closed:
        return "the connection was not closed"
    return None


# ---- all of them ----------------------------------------------------------------------------

class Player:
    """Plays cases against one binary; keeps one server per command line."""

    # Where `flush_all` between two cases would be refused.
    NO_FLUSH = re.compile(r"(^|\s)(-Y|-F|-B binary)(\s|$)")

    def __init__(self, binary, differences=None):
        self.binary = binary
        self.differences = known_differences() if differences is None else differences
        self.running = {}

    def _server_for(self, case):
        args = case.get("args", "")
        key = (args, json.dumps(case.get("files"), sort_keys=True))
        if case.get("fresh") and key in self.running:
            self.running.pop(key).stop()
        if key in self.running:
            if not self.NO_FLUSH.search(args):
                with self.running[key].connect() as c:
                    c.ask(b"flush_all\r\n")
        else:
            options = args.replace("-s {dir}/s", "").replace("{udp}", "{port}")
            self.running[key] = server.Server(
                self.binary, *shlex.split(options), unix="-s {dir}" in args,
                files=case.get("files"))
        return key, self.running[key]

    def _play(self, case, patience):
        key, running = self._server_for(case)
        play = play_udp if case.get("transport") == "udp" else play_stream
        answers, closed = play(running, case, patience)
        fault = compare(case, answers, closed)
        if case.get("kills"):
            self.running.pop(key).wait()
        elif not running.alive():
            fault = "the server died: " + self.running.pop(key).stderr()[-4000:]
        elif case.get("fresh"):
            self.running.pop(key).stop()
        return fault, answers

    def fault(self, case, fails=False):
        """None if the case passes: as recorded, or different as the table says.

        One that is expected to fail is not waited for as long.
        """
        name = case["name"]
        patience = BRIEF if fails or name in self.differences else PATIENCE
        for _ in range(5):
            start, delays = time.monotonic(), case.get("delay")
            fault, answers = self._play(case, patience)
            if not fault or not delays or time.monotonic() - start < sum(delays) + LATE_SECONDS:
                break
        if name not in self.differences:
            return fault
        if not fault:
            return "docs/protocol.md lists it as different, but it is not"
        said = re.fullmatch(r'`(".*")`', self.differences[name])
        if said and json.loads(said.group(1)) != answers[-1]:
            return "docs/protocol.md promises %s, got %s" % (said.group(1),
                                                             json.dumps(answers[-1]))
        return None

    def stop(self):
        while self.running:
            self.running.popitem()[1].stop()


def main():
    parser = argparse.ArgumentParser(description="replay recorded exchanges against a server")
    parser.add_argument("--binary", default=server.LARDERD)
    parser.add_argument("--recordings", default=RECORDINGS)
    parser.add_argument("--only", default="", help="regular expression on the names")
    parser.add_argument("--text-only", action="store_true",
                        help="leave out cases with meta commands, binary bytes or UDP")
    parser.add_argument("--no-differences", action="store_true",
                        help="ignore the table of docs/protocol.md")
    args = parser.parse_args()
    cases = [c for c in load(args.recordings) if re.search(args.only, c["name"])
             and (is_text_only(c) or not args.text_only)]
    player = Player(args.binary, {} if args.no_differences else None)
    failed = 0
    for case in cases:
        try:
            fault = player.fault(case)
        except Exception as error:  # the next case may well be all right
            fault = repr(error)
            player.running.clear()
        if fault:
            failed += 1
            print("FAIL %s: %s" % (case["name"], fault))
    player.stop()
    print("%d of %d cases passed" % (len(cases) - failed, len(cases)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
