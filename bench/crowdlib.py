"""crowdlib.py -- what `hostile` and `large` share: a crowd, and the client whose latency matters."""
import os
import resource
import statistics
import subprocess
import sys

import benchlib

SERVER_PRIORITY, CLIENT_PRIORITY = 1, 2      # with --urgent
CROWD_SECONDS = 60                      # until all of them are in place, or have left
COLUMNS = ("p50", "p99", "p99.9", "max")


def raise_file_limit(wanted):
    """For this process, for the crowd and for the server, which inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= wanted:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(hard, wanted)))
    except (ValueError, OSError):
        benchlib.give_up(f"{wanted} open files are needed and the limit is {hard}: "
                         "run as root, or raise it (ulimit -Hn)")


def hurry(pid, priority):
    """Runs it before everything else on the machine: for latencies where others compute too."""
    for thread in os.listdir(f"/proc/{pid}/task"):
        try:
            os.sched_setscheduler(int(thread), os.SCHED_FIFO, os.sched_param(priority))
        except OSError as fault:
            benchlib.give_up(f"--urgent: {fault.strerror}: run as root")


class Crowd:
    """crowd.c, with less of the CPU than the client whose latency is measured."""

    def __init__(self, server, *options):
        self.process = subprocess.Popen(
            [benchlib.program("crowd"), str(server.port), *map(str, options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            preexec_fn=lambda: os.nice(5))

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait_until_in_place(self):
        if self.process.stdout.readline() != "ready\n":
            benchlib.give_up(self.process.stderr.read().strip() or "the crowd failed")

    def leave(self):
        """What it has counted."""
        said, complaints = self.process.communicate("", CROWD_SECONDS)
        if self.process.returncode:
            benchlib.give_up(complaints.strip() or "the crowd failed")
        sys.stderr.write(complaints)
        return {name: int(value) for name, value in benchlib.fields_of(said).items()}


class Client:
    """latency.c: small requests at a fixed rate, a fifth of them sets that must all be stored."""

    def __init__(self, server, urgent, seconds, rate, keys=10000):
        self.process = subprocess.Popen(
            [benchlib.program("latency"), "--port", str(server.port), "--rate", str(rate),
             "--seconds", str(seconds), "--set-percent", "20", "--connections", "4",
             "--keys", str(keys)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if urgent:
            hurry(self.process.pid, CLIENT_PRIORITY)

    def result(self):
        """Latencies in ms, and whether every set was stored."""
        said, complaints = self.process.communicate()
        if self.process.returncode not in (0, 1) or not said:
            benchlib.give_up(complaints.strip() or "latency failed")
        sys.stderr.write(complaints)
        fields = benchlib.fields_of(said)
        found = {name: int(fields[name]) / 1000 for name in COLUMNS}
        found["sets"], found["errors"] = int(fields["sets"]), int(fields["errors"])
        return found


def print_client(when, found):
    print(f"  {when:28s}" + "".join(f"{found[name]:10.3f}" for name in COLUMNS) +
          f"{found['sets']:9d}{found['errors']:8d}", flush=True)


def print_head(title):
    print(f"\n{title}\n  {'ms':28s}" + "".join(f"{name:>10s}" for name in COLUMNS) +
          f"{'sets':>9s}{'errors':>8s}", flush=True)


class Verdict:
    """Limits, and whether they were kept."""

    def __init__(self):
        self.missed = []

    def at_most(self, what, value, limit, unit):
        kept = value <= limit
        print(f"  {what}: {value:.2f} {unit}, limit {limit:g} {unit}: "
              f"{'kept' if kept else 'MISSED'}", flush=True)
        if not kept:
            self.missed.append(what)

    def exit(self):
        print("\nlimits MISSED: " + ", ".join(self.missed) if self.missed
              else "\nall limits kept")
        sys.exit(1 if self.missed else 0)


def medians(runs, name):
    return statistics.median(run[name] for run in runs)
