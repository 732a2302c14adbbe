"""hitslib.py -- what the parts of `hits` share: extents, traces, replays, limits.

A part measures and judges; it returns a Result, which hitsreport.py turns into a report.  Traces
are made once and kept.  A field that a server's `stats` does not have is None everywhere: a limit
on it is "not measured", never kept.
"""
import dataclasses
import json
import math
import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import threading
import time

import benchlib

MIB = 1 << 20
RECORD_BYTES, HEADER_BYTES, TIME_AT = 24, 32, 8     # of a trace: trace.h
WARM_PERCENT = 20
LISTEN = "-l 127.0.0.1 -p {port}"
MEMORY_SMALLEST = 8         # -m that larder promises to work with
STEP_SECONDS = 0.25         # between two looks at a server that is measured
PASS, FAIL, NOT_MEASURED = "PASS", "FAIL", "not measured"


# ---- how much is measured -------------------------------------------------------------------

@dataclasses.dataclass(frozen=True)
class Extent:
    """How much each part does; the limits are the same for all."""
    rows: tuple = ()                # () = all that tracegen has
    requests_m: float = None        # tracegen --requests: None = as the row has it
    limit: int = 0                  # of a replay; 0 = the whole trace
    sizes: tuple = (16, 64, 256)    # -m of memcached, MiB
    strict: tuple = ("c45", "c48", "c53", "c14")    # replayed at larder's -m 64 exactly
    ttl_seconds: float = 60         # in which the whole trace would pass
    ttl_share: float = 1            # of the trace
    density_values: tuple = (8, 32, 100, 1000, 4000)
    density_memory: tuple = (64, 1024)
    phases: tuple = ((100, 4000000), (1000, 1600000), (4000, 1600000))   # value bytes, requests
    phase_mib: int = 160
    phase_memory: int = 64
    phase_rate: int = 20000
    phase_interval: int = 100000
    overwrite_seconds: int = 60
    overwrite_runs: int = 3
    thread_rows: tuple = ("c52",)


EXTENTS = {
    "full": Extent(),
    "quick": Extent(rows=("c52", "c45", "c12", "c14"), limit=1500000, sizes=(16, 64),
                    strict=("c45", "c48"), ttl_share=1 / 6, density_values=(32, 1000),
                    density_memory=(64,), phases=((100, 1500000), (1000, 900000), (4000, 600000)),
                    phase_rate=100000, overwrite_seconds=10, overwrite_runs=1),
    # For the test of the scripts themselves: it says nothing about a cache.
    "tiny": Extent(rows=("c53", "c22"), requests_m=.04, sizes=(8,), strict=("c45",),
                   ttl_seconds=.5, density_values=(4000,), density_memory=(16,),
                   phases=((100, 20000), (4000, 80000)), phase_mib=12, phase_memory=8,
                   phase_rate=100000, phase_interval=5000, overwrite_seconds=1,
                   overwrite_runs=1),
}


@dataclasses.dataclass
class Context:
    """What a part is given."""
    extent: Extent
    larderd: str
    memcached: str
    traces: "Traces"
    jobs: int
    sizes: tuple            # of part `sizes`: those that are judged, and more for the plots
    start: float = dataclasses.field(default_factory=time.monotonic)

    def say(self, words):
        print(f"{time.monotonic() - self.start:6.0f} s  {words}", flush=True)

    def command(self, name, memory, threads=1):
        path = self.larderd if name == "larder" else self.memcached
        return benchlib.as_root(f"{path} {LISTEN} -m {memory} -t {threads}")

    def rows(self):
        return self.extent.rows or self.traces.rows()


# ---- traces ---------------------------------------------------------------------------------

class Traces:
    """Traces in a directory, generated when they are first asked for."""

    def __init__(self, directory, say=print):
        self.directory, self.say = pathlib.Path(directory), say
        self.directory.mkdir(parents=True, exist_ok=True)
        self.lock, self.locks = threading.Lock(), {}

    @staticmethod
    def rows():
        listed = subprocess.run([benchlib.program("tracegen"), "--list"], capture_output=True,
                                text=True, check=True)
        return tuple(listed.stdout.split())

    def row(self, row, requests_m=None):
        more = ["--requests", str(requests_m)] if requests_m else []
        return self.make(f"{row}-{requests_m}" if requests_m else row, ["--row", row, *more],
                         int((requests_m or 8) * 1e6))

    def phases(self, phases, mib):
        text = ",".join(f"{value}:{requests}" for value, requests in phases)
        return self.make(f"phases-{mib}-{text.replace(':', 'x').replace(',', '-')}",
                         ["--phases", text, "--phase-mib", str(mib), "--alpha", "0.9",
                          "--set", "0.05", "--klen", "20"], sum(count for _, count in phases))

    def make(self, name, options, requests):
        """The path; of one name at a time one is written."""
        with self.lock:
            lock = self.locks.setdefault(name, threading.Lock())
        path, generator = self.directory / name, benchlib.program("tracegen")
        with lock:
            if path.exists() and path.stat().st_mtime >= os.stat(generator).st_mtime:
                return path
            size = requests * RECORD_BYTES + HEADER_BYTES
            if shutil.disk_usage(self.directory).free < size + 512 * MIB:
                benchlib.give_up(f"{self.directory}: no room for a trace of {size // MIB} MiB "
                                 "(--traces says where they are kept)")
            self.say(f"writing a trace of {size / MIB:.0f} MiB: {name}")
            part = path.with_name(name + ".part")
            done = subprocess.run([generator, "--out", part, *options], capture_output=True,
                                  text=True)
            if done.returncode:
                part.unlink(missing_ok=True)
                benchlib.give_up(done.stderr.strip())
            part.rename(path)
        return path


def record_count(trace):
    return (os.path.getsize(trace) - HEADER_BYTES) // RECORD_BYTES


def virtual_seconds(trace):
    """From the first record to the last."""
    with open(trace, "rb") as f:
        times = []
        for place in (HEADER_BYTES, os.path.getsize(trace) - RECORD_BYTES):
            f.seek(place + TIME_AT)
            times.append(struct.unpack("<I", f.read(4))[0])
    return times[1] - times[0] + 1


# ---- a replay and what the server says about it ---------------------------------------------

def stat(stats, name):
    """A number, or None where the server does not tell."""
    return int(stats[name]) if name in stats else None


def amplification(stats):
    """Bytes copied for each byte stored."""
    parts = [stat(stats, name) for name in
             ("copied_bytes_evicting", "copied_bytes_cleaning", "stored_bytes")]
    return None if None in parts or not parts[2] else (parts[0] + parts[1]) / parts[2]


TOLD = ("queue_small_bytes", "queue_main_bytes", "promotions", "second_chances", "ghost_hits",
        "ghost_bytes", "copied_bytes_evicting", "copied_bytes_cleaning", "stored_bytes",
        "evicted_age", "evicted_unfetched_age")


def run_watched(command, watch=None):
    """Runs a program and calls watch() now and then; when that returns True, stops the program
    and returns None, else (what it printed, what it complained about, exit status)."""
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as complaints:
        process = subprocess.Popen([str(word) for word in command], stdout=said,
                                   stderr=complaints)
        try:
            while True:
                try:
                    process.wait(STEP_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    if watch and watch():
                        return None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        said.seek(0), complaints.seek(0)
        return said.read(), complaints.read(), process.returncode


def replay(server, trace, options, watch=None):
    """(fields of the result, lines of --interval), or None when watch stopped it."""
    command = [benchlib.program("replay"), "--trace", trace, "--port", server.port, *options]
    done = run_watched(command, watch)
    if done is None:
        return None
    said, complaints, status = done
    if status not in (0, 1) or not said:
        benchlib.give_up(f"{server.command}: {complaints.strip()[-500:] or 'replay failed'}")
    intervals = [benchlib.fields_of(line) for line in complaints.splitlines()
                 if line.startswith("interval ")]
    return benchlib.fields_of(said), intervals


class Sampler:
    """The largest value of one field of `stats`, looked at each second."""

    def __init__(self, server, name):
        self.server, self.name, self.largest, self.next = server, name, None, time.monotonic()

    def __call__(self):
        if time.monotonic() >= self.next:
            self.next = time.monotonic() + 1
            value = stat(self.server.stats(), self.name)
            if value is not None:
                self.largest = max(value, self.largest or 0)


def measure(context, name, memory, trace, options, threads=1, ceiling_kib=None, sampled=None):
    """One replay against a fresh server: a flat dict; None once its memory is above the ceiling."""
    with benchlib.Server(context.command(name, memory, threads)) as server:
        sampler = Sampler(server, sampled) if sampled else None

        def watch():
            if sampler:
                sampler()
            return ceiling_kib is not None and server.memory_kib("VmHWM") > ceiling_kib

        done = replay(server, trace, options, watch)
        if done is None or watch() is True:
            return None
        fields, stats = done[0], server.stats()
        return {"name": name, "m": memory, "hwm_kib": server.memory_kib("VmHWM"),
                "gets": int(fields["gets"]), "misses": int(fields["misses"]),
                "unavoidable": int(fields["unavoidable"]), "errors": int(fields["errors"]),
                "miss_ratio": int(fields["misses"]) / max(1, int(fields["gets"])),
                "seconds": float(fields["seconds"]), "evictions": stat(stats, "evictions"),
                "amplification": amplification(stats),
                "sampled": sampler.largest if sampler else None,
                "told": {word: stat(stats, word) for word in TOLD if word in stats}}


class Gap:
    """How far -m of larder must stay below the memory it may have; learned from what was too
    much, so that few replays are in vain."""

    def __init__(self):
        self.mib = 1.0

    def memory(self, ceiling_kib):
        return max(MEMORY_SMALLEST, math.floor(ceiling_kib / 1024 - self.mib))

    def was_too_much(self, memory, ceiling_kib):
        self.mib = max(self.mib, ceiling_kib / 1024 - memory + 0.01)


ATTEMPTS = 5


def measure_pair(context, size, trace, options, gap, sampled=None):
    """memcached at -m size, then larder with an -m that keeps its VmHWM at or below memcached's."""
    peer = measure(context, "memcached", size, trace, options)
    ceiling = peer["hwm_kib"]
    # With room for everything -m says nothing about memory: try the same one first.
    memory = gap.memory(ceiling) if peer["evictions"] else size
    for attempt in range(ATTEMPTS):
        last = attempt + 1 == ATTEMPTS or memory == MEMORY_SMALLEST
        own = measure(context, "larder", memory, trace, options, sampled=sampled,
                      ceiling_kib=None if last else ceiling)
        if own:
            return {"larder": own, "memcached": peer}
        if memory <= gap.memory(ceiling):
            gap.was_too_much(memory, ceiling)
        memory = min(memory - 1, gap.memory(ceiling))


def is_tie(pair):
    """Neither could have done better: nothing was evicted, or every miss was unavoidable."""
    return all(not found["evictions"] or found["misses"] == found["unavoidable"]
               for found in pair.values())


# ---- limits ---------------------------------------------------------------------------------

class Limits:
    """Values beside what they may be, printed as they come in."""

    def __init__(self):
        self.list = []

    SLACK = 1e-9        # a difference of two ratios is not exact

    def add(self, what, value, limit, unit, kept, sense):
        verdict = NOT_MEASURED if value is None else PASS if kept else FAIL
        shown = "-" if value is None else f"{value:.4g}"
        self.list.append({"what": what, "value": shown, "limit": f"{sense} {limit:g}",
                          "unit": unit, "verdict": verdict})
        print(f"  {verdict}: {what}: {shown} {unit}, limit {sense} {limit:g}", flush=True)

    def at_most(self, what, value, limit, unit=""):
        self.add(what, value, limit, unit, value is not None and value <= limit + self.SLACK, "<=")

    def at_least(self, what, value, limit, unit=""):
        self.add(what, value, limit, unit, value is not None and value >= limit - self.SLACK, ">=")


def largest(values):
    """None as soon as one of them was not measured."""
    values = list(values)
    return None if not values or None in values else max(values)


# ---- results --------------------------------------------------------------------------------

@dataclasses.dataclass
class Result:
    """What one part found: everything that the report shows."""
    part: str
    limits: list
    commands: list          # as templates
    tables: list            # (sentence above it, head, rows)
    notes: list
    data: dict              # for the plots
    seconds: float
    extent: str = ""
    machine: list = dataclasses.field(default_factory=benchlib.machine)
    versions: list = ()

    def save(self, directory):
        directory.mkdir(parents=True, exist_ok=True)
        with open(directory / f"{self.part}.json", "w") as f:
            json.dump(dataclasses.asdict(self), f, indent=1)


def load_results(directory, parts):
    """Those that were ever measured, in the order of the parts."""
    found = []
    for part in parts:
        try:
            with open(directory / f"{part}.json") as f:
                found.append(Result(**json.load(f)))
        except FileNotFoundError:
            continue
    return found
