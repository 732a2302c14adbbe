#!/usr/bin/python3
"""Runs memcached's clients against one server and prints what each of them could do.

  tests/clients/run_clients.py [--server PATH] [--only REGEX] [--protocols LIST] [--npm DIR]

Every client has a scenario in its own language (scenario/), a server of its own, and does the
same steps as far as it has the operations; scenario/kit.py says what a scenario prints.  A step
of COMMON_STEPS that a scenario neither did nor declared as lacking has failed, so has everything
that comes after the end of a scenario that breaks off.

With --server every protocol is tried; without it, larder's, as far as LARDER_SPEAKS says.
"""
import argparse
import collections
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "lib"))
import server  # noqa: E402

# What larderd speaks today.  A protocol that is added here is tried by every client that speaks
# it, in `make test` and `make test-clients`.
LARDER_SPEAKS = ("text", "meta", "binary")
ALL_PROTOCOLS = ("text", "binary", "meta")

COMMON_STEPS = (
    "set_get", "missing", "multi_get", "wide_multi_get", "delete", "add_replace", "append_prepend",
    "cas", "incr_decr", "touch", "gat", "expiry", "types", "binary_safe", "large_value",
    "too_large", "quiet", "flush", "version")

OPTIONS = ("-m", "512", "-t", "2")   # of the server: room enough, nothing may be evicted
NOT_INSTALLED = 77      # exit status of a scenario whose client is not there
LIMIT_SECONDS = int(os.environ.get("TEST_LIMIT_SECONDS", "120"))
SPYMEMCACHED = "/usr/share/java/spymemcached.jar"

PASSED, FAILED, LACKS, SKIPPED = "passed", "failed", "lacks", "skipped"

# quick: also run by `make test`.  common: does COMMON_STEPS; what does not has steps of its own.
# argv: the command; {port} is the server's, {npm} where npm's packages are.
# needs: what must exist for it beside its interpreter.  debian: the package whose version it has.
Client = collections.namedtuple("Client", "name protocol argv quick common needs debian",
                                defaults=(False, True, None, None))


def script(interpreter, name, *arguments):
    return (*interpreter, str(HERE / "scenario" / name), *arguments)


PYTHON = (sys.executable, "-B")
PHP = ("php", "-d", "memory_limit=512M")
JAVA = ("java", "-XX:TieredStopAtLevel=1", "-cp", SPYMEMCACHED)

CLIENTS = (
    Client("pymemcache", "text", script(PYTHON, "with_pymemcache.py", "{port}"), quick=True),
    Client("pylibmc", "text", script(PYTHON, "with_pylibmc.py", "{port}", "text"), quick=True),
    Client("pylibmc", "binary", script(PYTHON, "with_pylibmc.py", "{port}", "binary"), quick=True),
    Client("python-memcached", "text", script(PYTHON, "with_python_memcached.py", "{port}"),
           quick=True),
    Client("Cache::Memcached", "text",
           script(("perl",), "with_cache_memcached.pl", "{port}", "Cache::Memcached"), quick=True),
    Client("Cache::Memcached::Fast", "text",
           script(("perl",), "with_cache_memcached.pl", "{port}", "Cache::Memcached::Fast"),
           quick=True),
    Client("php-memcached", "text", script(PHP, "with_php_memcached.php", "{port}", "text")),
    Client("php-memcached", "binary", script(PHP, "with_php_memcached.php", "{port}", "binary")),
    Client("php sessions", "text", script(PHP, "with_php_sessions.php", "{port}", "text"),
           common=False),
    Client("php sessions", "binary", script(PHP, "with_php_sessions.php", "{port}", "binary"),
           common=False),
    Client("Dalli", "binary", script(("ruby",), "with_dalli.rb", "{port}")),
    Client("spymemcached", "text", script(JAVA, "WithSpymemcached.java", "{port}", "text"),
           needs=SPYMEMCACHED, debian="libspymemcached-java"),
    Client("spymemcached", "binary", script(JAVA, "WithSpymemcached.java", "{port}", "binary"),
           needs=SPYMEMCACHED, debian="libspymemcached-java"),
    Client("memjs", "binary", script(("node",), "with_memjs.js", "{port}"),
           needs="{npm}/node_modules/memjs"),
    Client("memcached (npm)", "text", script(("node",), "with_memcached.js", "{port}"),
           needs="{npm}/node_modules/memcached"),
    Client("memccapable", "text", script(PYTHON, "with_memccapable.py", "{port}", "text"),
           common=False, debian="libmemcached-tools"),
    Client("memccapable", "binary", script(PYTHON, "with_memccapable.py", "{port}", "binary"),
           common=False, debian="libmemcached-tools"),
    Client("memcaslap", "text", script(PYTHON, "with_memcaslap.py", "{port}", "text"),
           common=False, debian="libmemcached-tools"),
    Client("memcaslap", "binary", script(PYTHON, "with_memcaslap.py", "{port}", "binary"),
           common=False, debian="libmemcached-tools"),
    Client("like Dalli 5", "meta", script(PYTHON, "like_dalli_5.py", "{port}"), quick=True),
    Client("like meta-memcache", "meta", script(PYTHON, "like_meta_memcache.py", "{port}"),
           quick=True),
)

# results: {step: (outcome, reason)}
Report = collections.namedtuple("Report", "client version results")


def client_id(client):
    return "%s, %s" % (client.name, client.protocol)


HOW_TO_INSTALL = "not installed: dist/setup clients installs it, make test-clients does so"


def one_line(error):
    return " ".join(str(error).split())[-1500:]


def skipped(client, why):
    return Report(client, "", {"": (SKIPPED, why)})


def debian_version(package):
    found = subprocess.run(["dpkg-query", "-W", "-f", "${source:Upstream-Version}", package],
                           capture_output=True, text=True)
    return found.stdout.strip().partition("+")[0] if found.returncode == 0 else ""


LINE = re.compile(r"(ok|not ok|-) (\w+) ?(.*)$")
OUTCOME = {"ok": PASSED, "not ok": FAILED, "-": LACKS}


def read_scenario(client, status, output, errors):
    """What a scenario has printed -> (version, results)."""
    version, results, ended = "", {}, False
    for line in output.splitlines():
        m = LINE.match(line)
        if m:
            # Two lines about one step: the worse one counts.
            if results.get(m.group(2), (PASSED,))[0] != FAILED:
                results[m.group(2)] = (OUTCOME[m.group(1)], m.group(3))
        elif line.startswith("client "):
            version = line.rsplit(" ", 1)[1]
        elif line == "end":
            ended = True
    if not ended or status != 0:
        what = "took too long" if status is None else "exit status %s" % status
        results["end"] = (FAILED, "%s: %s" % (what, (output + errors).strip()[-1500:]))
    for step in COMMON_STEPS if client.common else ():
        results.setdefault(step, (FAILED, "neither done nor declared as lacking"))
    if not results:
        results["end"] = (FAILED, "no step was done")
    return version, results


def play(client, port, npm):
    """Runs the client's scenario in a directory of its own -> (exit status, stdout, stderr)."""
    argv = [a.format(port=port) for a in client.argv]
    with tempfile.TemporaryDirectory(prefix="larder-client.") as scratch:
        env = dict(os.environ, NODE_PATH=npm + "/node_modules", TMPDIR=scratch, LC_ALL="C.UTF-8")
        try:
            process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, cwd=scratch, env=env,
                                       start_new_session=True)
        except FileNotFoundError as error:
            return NOT_INSTALLED, "", str(error)
        status = None
        try:
            said = process.communicate(timeout=LIMIT_SECONDS)
            status = process.returncode
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with what the scenario has started
            said = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return status, *(text.decode("utf-8", "replace") for text in said)


def run_client(client, binary, npm, protocols):
    """Starts a server, plays the client's scenario against it, stops the server."""
    if client.protocol not in protocols:
        return skipped(client, "the server does not speak it (LARDER_SPEAKS in run_clients.py)")
    if client.needs and not os.path.exists(client.needs.format(npm=npm)):
        return skipped(client, HOW_TO_INSTALL)
    played, fault = None, None
    try:
        with server.Server(binary, *OPTIONS) as running:
            played = play(client, running.port, npm)
    except Exception as error:  # it did not start, has gone, leaks, has written a report, ...
        fault = (FAILED, one_line(error))
    if not played:
        return Report(client, "", {"start": fault})
    if played[0] == NOT_INSTALLED:
        return skipped(client, HOW_TO_INSTALL)
    version, results = read_scenario(client, *played)
    if fault:
        results["server"] = fault
    if client.debian:
        version = debian_version(client.debian) or version
    return Report(client, version, results)


def run_all(clients, binary, npm, protocols):
    """Several at a time: most of them wait for entries to expire."""
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda c: run_client(c, binary, npm, protocols), clients))


# ---- the table ------------------------------------------------------------------------------

MARK = {PASSED: "ok", FAILED: "FAIL", LACKS: "-", SKIPPED: ""}
COLUMN = 5


def print_table(reports):
    """A column for each client that ran, numbered; a row for each step."""
    ran = [r for r in reports if "" not in r.results]
    number = {id(r): str(n + 1) for n, r in enumerate(ran)}
    for r in reports:
        what = r.results[""][1] if "" in r.results else "%d steps" % sum(
            o != LACKS for o, _ in r.results.values())
        print("%3s  %-24s %-8s %-10s %s" % (number.get(id(r), ""), r.client.name,
                                            r.client.protocol, r.version, what))
    steps = list(COMMON_STEPS)
    for r in ran:
        steps += [s for s in r.results if s not in steps]
    print("\n%-22s" % "" + "".join("%*s" % (COLUMN, number[id(r)]) for r in ran))
    for step in steps:
        marks = [MARK[r.results[step][0]] if step in r.results else "" for r in ran]
        if any(marks):
            print(("%-22s" % step + "".join("%*s" % (COLUMN, m) for m in marks)).rstrip())
    print("\n- no such operation; nothing: not one of the client's steps\n")


def print_details(reports):
    for r in reports:
        for step, (outcome, reason) in r.results.items():
            if outcome == FAILED:
                print("FAILED %s: %s: %s" % (client_id(r.client), step, reason))


def main():
    parser = argparse.ArgumentParser(description="run memcached's clients, print a table")
    parser.add_argument("--server", help="a server other than larderd")
    parser.add_argument("--only", default="", help="regular expression on \"name, protocol\"")
    parser.add_argument("--protocols", help="tried instead of those the server is known to speak")
    parser.add_argument("--npm", default=str(ROOT / "build/npm"), help="where npm's packages are")
    args = parser.parse_args()
    protocols = ALL_PROTOCOLS if args.server else LARDER_SPEAKS
    if args.protocols:
        protocols = args.protocols.split(",")
    clients = [c for c in CLIENTS if re.search(args.only, client_id(c))]
    reports = run_all(clients, args.server or server.LARDERD, os.path.abspath(args.npm), protocols)
    print_table(reports)
    print_details(reports)
    total = collections.Counter(o for r in reports for o, _ in r.results.values())
    print("%d passed, %d failed, %d skipped" % (total[PASSED], total[FAILED], total[SKIPPED]))
    return 1 if total[FAILED] or not total[PASSED] else 0


if __name__ == "__main__":
    sys.exit(main())
