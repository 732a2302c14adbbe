"""benchlib.py -- what the measuring scripts of this folder share.

Servers are started on a free port of 127.0.0.1 (or a unix socket) in a directory of their own,
pinned to the first CPU; load is pinned to the second, where there is one.  Everything is stopped
by its own pid.  What cannot be measured ends the script with one sentence and status 2.

The environment may say where things are: BENCH_DIR (the compiled programs), LARDERD, MEMCACHED.
"""
import os
import pathlib
import platform
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BENCH_DIR = pathlib.Path(os.environ.get("BENCH_DIR", ROOT / "build/release/bench"))
LARDERD = os.environ.get("LARDERD", str(ROOT / "build/release/larderd"))
START_SECONDS = 60
STOP_SECONDS = 20
TICKS = os.sysconf("SC_CLK_TCK")

# Options of load.c; floor is told the size of its answers by the same words.
WORKLOADS = {
    "depth1": {"-c": 50, "-d": 1, "-s": 10},
    "depth32": {"-c": 50, "-d": 32, "-s": 10},
    "set32": {"-c": 50, "-d": 32, "-s": 100},
    "get1k": {"-c": 50, "-d": 8, "-v": 1000, "-s": 0},
    "mget100": {"-c": 8, "-m": 100, "-s": 0, "-k": 1000000},
    "mgetbig": {"-c": 8, "-m": 100, "-s": 0, "-k": 8000000, "-v": 32},
    "big1m": {"-c": 4, "-v": 1000000, "-k": 200, "-s": 50},
}


RUNNING = set()    # servers that have not been stopped


def stop_servers_on_sigterm():
    """For scripts whose threads wait for programs: none of the servers outlives the script."""
    def end(*_):
        for server in list(RUNNING):
            server.process.terminate()
        os._exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, end)


def give_up(sentence):
    print(f"{pathlib.Path(sys.argv[0]).name}: {sentence}", file=sys.stderr)
    sys.exit(2)


def program(name):
    """The path of a compiled program of this folder."""
    path = BENCH_DIR / name
    if not path.exists():
        give_up(f"{path} is missing: `make benches` builds it (BENCH_DIR says where it is)")
    return str(path)


def find_larderd(path=None):
    path = path or LARDERD
    if not os.access(path, os.X_OK):
        give_up(f"{path} is missing: `make` builds it (LARDERD or --larderd says where it is)")
    return path


def find_memcached(path=None):
    """The peer, or None where it is not installed."""
    return shutil.which(path or os.environ.get("MEMCACHED", "memcached"),
                        path=os.environ.get("PATH", "") + os.pathsep + "/usr/bin")


def as_root(command):
    """Both servers want to be told a user when they are started by root."""
    return command + (" -u root" if os.geteuid() == 0 else "")


# ---- CPUs and machine -----------------------------------------------------------------------

def cpus():
    return sorted(os.sched_getaffinity(0))


def server_cpus():
    return {cpus()[0]}


def load_cpus():
    return {cpus()[1] if len(cpus()) > 1 else cpus()[0]}


def pinned(cpu_set):
    """What subprocess calls in the child, to run it on these CPUs."""
    return lambda: os.sched_setaffinity(0, cpu_set)


def stolen_seconds():
    """CPU time that the hypervisor has kept for others so far: it ruins latencies."""
    with open("/proc/stat") as f:
        return int(f.readline().split()[8]) / TICKS


def wait_until_calm(seconds=2, patience=60):
    """Until the hypervisor has kept nothing for itself for a while.  (A server that ends gives back
    gigabytes, and a host that takes them over is busy with that for some seconds.)"""
    calm_since, end, stolen = time.monotonic(), time.monotonic() + patience, stolen_seconds()
    while time.monotonic() < min(calm_since + seconds, end):
        time.sleep(0.2)
        if stolen_seconds() - stolen > 1.5 / TICKS:
            calm_since, stolen = time.monotonic(), stolen_seconds()


def machine():
    """(what, value) pairs that a report begins with."""
    model = "unknown"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return [("machine", f"{model}, {len(cpus())} CPUs"),
            ("kernel", platform.release()),
            ("date", time.strftime("%Y-%m-%d %H:%M %Z"))]


# ---- servers --------------------------------------------------------------------------------

def free_port():
    """A socket that is bound to a port of its own.  A server can listen on it all the same, as it
    asks for SO_REUSEADDR, but until the socket is closed nobody else is given it."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("127.0.0.1", 0))
    return s


class Server:
    """A started server.  The command may name {port}, {socket} and further fields."""

    def __init__(self, command, cpu_set=None, **fields):
        self.directory = tempfile.mkdtemp(prefix="bench.")
        self.socket_path = os.path.join(self.directory, "s") if "{socket}" in command else None
        kept = free_port()
        self.port = kept.getsockname()[1]
        self.command = command.format(port=self.port, socket=self.socket_path, **fields)
        arguments = shlex.split(self.command)
        if "/" in arguments[0]:
            arguments[0] = os.path.abspath(arguments[0])
        self.output = open(os.path.join(self.directory, "output"), "w+")
        try:
            self.process = subprocess.Popen(
                arguments, cwd=self.directory, stdin=subprocess.DEVNULL,
                stdout=self.output, stderr=subprocess.STDOUT,
                preexec_fn=pinned(cpu_set) if cpu_set else None)
        except OSError as fault:
            shutil.rmtree(self.directory)
            give_up(f"{self.command}: {fault.strerror}")
        self.pid = self.process.pid
        RUNNING.add(self)
        with kept:
            self.wait_until_it_listens()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()

    def connect(self, seconds=10):
        if self.socket_path:
            s = socket.socket(socket.AF_UNIX)
            s.settimeout(seconds)
            s.connect(self.socket_path)
            return s
        return socket.create_connection(("127.0.0.1", self.port), seconds)

    def wait_until_it_listens(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            try:
                self.connect().close()
                return
            except OSError:
                time.sleep(0.02)
        self.stop()
        give_up(f"{self.command}: does not listen: {self.said or 'it said nothing'}")

    def stop(self):
        RUNNING.discard(self)
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.output.seek(0)
        self.said = self.output.read()[-500:].strip()
        self.output.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def cpu_seconds(self):
        """(user, system) so far."""
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return int(fields[11]) / TICKS, int(fields[12]) / TICKS

    def memory_kib(self, name):
        """VmRSS, VmHWM, ..."""
        with open(f"/proc/{self.pid}/status") as f:
            for line in f:
                if line.startswith(name + ":"):
                    return int(line.split()[1])
        give_up(f"/proc/{self.pid}/status has no {name}")

    def stats(self):
        with self.connect() as s, s.makefile("rb") as lines:
            s.sendall(b"stats\r\n")
            found = {}
            for line in lines:
                words = line.decode().split(None, 2)
                if words[0] != "STAT":
                    return found
                found[words[1]] = words[2].strip() if len(words) > 2 else ""
        give_up("the server closed the connection before the end of its statistics")


# ---- load and what it costs -----------------------------------------------------------------

def fields_of(line):
    """The key=value words that our programs print."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def run_load(port, workload, *more):
    """Runs load.c on the load's CPU; returns the fields of its result."""
    options = [str(word) for pair in workload.items() for word in pair]
    command = [program("load"), str(port), *options, *more]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=pinned(load_cpus()))
    if done.returncode:
        give_up(f"{' '.join(command)}: {done.stderr.strip() or 'failed'}")
    return fields_of(done.stdout)


class Cost:
    """Microseconds of server CPU per request, and what the load saw meanwhile."""

    def __init__(self, user, system, result):
        requests = int(result["requests"]) or 1
        self.user = user / requests * 1e6
        self.system = system / requests * 1e6
        self.total = self.user + self.system
        self.rate = requests / float(result["seconds"])
        self.hit_ratio = int(result["hits"]) / max(1, int(result["keys"]))


def measure_load(server, workload, seconds):
    """The Cost of this workload on a running server."""
    user, system = server.cpu_seconds()
    result = run_load(server.port, workload, "-t", str(seconds))
    user_after, system_after = server.cpu_seconds()
    return Cost(user_after - user, system_after - system, result)


def measure_command(command, workload, seconds):
    """Starts a server, stores every key once, measures."""
    sizes = {"value_bytes": workload.get("-v", 100), "keys_per_get": workload.get("-m", 1)}
    with Server(command, server_cpus(), **sizes) as server:
        run_load(server.port, workload, "-f", "1", "-t", "0")
        return measure_load(server, workload, seconds)


def median(costs, name):
    return statistics.median(getattr(cost, name) for cost in costs)


# ---- tables ---------------------------------------------------------------------------------

def text_table(head, rows):
    """Columns as wide as they need; the first is a name, the others are numbers."""
    cells = [list(map(str, row)) for row in [head, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) if i else cell.ljust(width)
                  for i, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in cells)


def markdown_table(head, rows):
    lines = ["| " + " | ".join(map(str, head)) + " |",
             "|" + "|".join(["---"] + ["---:"] * (len(head) - 1)) + "|"]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join(lines)
