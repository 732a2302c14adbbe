"""hitsparts.py -- the six parts of `hits`: each measures, judges and returns a Result.

`PARTS` at the end is the table of them.  What a limit is for stands in bench/README.md; what is
measured, in the sentence above each table.
"""
import concurrent.futures
import statistics
import time

import benchlib
import hitslib
from hitslib import MIB

SIZES_ALL = (8, 16, 32, 64, 128, 256, 512)
POINTS_LOST_MAX = 0.002         # miss ratio above memcached's
FEWER_MISSES_MIN = 0.12         # mean over what is no tie
AMPLIFICATION_MAX = 2.5
STRICT_MEMORY = 64
MISS_RATIO_MAX = {"c45": 0.56, "c48": 0.39}
BASE_MIB = 8                    # resident memory beside -m
TTL_MEMORY = 64
EXPIRED_SHARE_MAX = 0.10
LATE_MAX = 1.05                 # a paced replay that takes longer did not keep the pace
PACES_MAX = 4                   # tried, each slower
DENSITY_MIN = 0.97
DENSITY_KEY_BYTES, DENSITY_ITEM_BYTES = 20, 34.5
DENSITY_TTL_SECONDS = 20 * 86400
DENSITY_LEVELS = (1, 1.25, 1.5, 1.75, 2)
TURNOVERS = 3
CALCIFIED_MAX = 0.05            # relative, above a larder that was started at the shift
OVERWRITE_MEMORY, OVERWRITE_RATE = 64, 20000
OVERWRITE_SIZES, OVERWRITE_SET_PERCENT = (20, 2000), 80
OVERWRITE_MS_MAX = 1.0          # p99.9 above memcached's
CLEANING_PRICE_MAX = 2.0
STOLEN_MS_MAX, REPEATS_MAX = 100, 5
THREADS_MEMORY, THREADS_MAX = 8, 0.01
THREADS_LAG = 1000              # records by which connections may be apart


def side_by_side(context, work, items):
    """work(item) for all of them, as many at a time as there are jobs; in the order of items."""
    pool = concurrent.futures.ThreadPoolExecutor(context.jobs)
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)


def ratio(value):
    return f"{value:.4f}"


def mib(kib):
    return f"{kib / 1024:.1f}"


def or_dash(value, form="{:.2f}"):
    return "-" if value is None else form.format(value)


def shorter(context, limit=None):
    limit = limit or context.extent.limit
    return ["--limit", limit] if limit else []


def told_table(measured):
    """What the eviction of larder counted; no rows where the server does not tell."""
    names = [name for name in hitslib.TOLD if any(name in own["told"] for _, own in measured)]
    if not names:
        return []
    rows = [[where, *(own["told"].get(name, "-") for name in names)] for where, own in measured]
    return [("What larder's eviction counted.", ["row, MiB", *names], rows)]


def judge_pairs(limits, pairs):
    """The limits that `sizes` and `ttl` share.  pairs: (row, size) -> the two measurements."""
    lost = {where: pair["larder"]["miss_ratio"] - pair["memcached"]["miss_ratio"]
            for where, pair in pairs.items()}
    worst = max(lost, key=lost.get)
    limits.at_most(f"miss ratio above memcached's, the worst of all ({worst[0]} at "
                   f"{worst[1]} MiB)", lost[worst], POINTS_LOST_MAX)
    limits.at_most("VmHWM above memcached's, the most of all",
                   max(max(0, pair["larder"]["hwm_kib"] - pair["memcached"]["hwm_kib"])
                       for pair in pairs.values()), 0, "KiB")
    limits.at_most("requests that larder answered with an error",
                   sum(pair["larder"]["errors"] for pair in pairs.values()), 0)


def pair_head(more=()):
    return ["row", "-m of memcached", "-m of larder", "memcached, MiB", "larder, MiB",
            "memcached misses", "larder misses", "fewer", *more, ""]


def pair_cells(row, size, pair):
    own, peer = pair["larder"], pair["memcached"]
    fewer = 1 - own["misses"] / peer["misses"] if peer["misses"] else 0
    return [row, size, own["m"], mib(peer["hwm_kib"]), mib(own["hwm_kib"]),
            ratio(peer["miss_ratio"]), ratio(own["miss_ratio"]), f"{fewer:.1%}"]


# ---- sizes ----------------------------------------------------------------------------------

def measure_sizes(context):
    options = ["--warm-pct", hitslib.WARM_PERCENT, *shorter(context)]
    gaps = {size: hitslib.Gap() for size in context.sizes}
    points = [(row, size) for size in sorted(context.sizes) for row in context.rows()]

    def work(point):
        row, size = point
        trace = context.traces.row(row, context.extent.requests_m)
        pair = hitslib.measure_pair(context, size, trace, options, gaps[size])
        context.say(f"{row} at {size} MiB: memcached {ratio(pair['memcached']['miss_ratio'])} "
                    f"in {mib(pair['memcached']['hwm_kib'])} MiB, larder "
                    f"{ratio(pair['larder']['miss_ratio'])} in "
                    f"{mib(pair['larder']['hwm_kib'])} MiB (-m {pair['larder']['m']})"
                    + (", a tie" if hitslib.is_tie(pair) else ""))
        return pair

    pairs = dict(zip(points, side_by_side(context, work, points)))

    def work_strictly(row):
        trace = context.traces.row(row, context.extent.requests_m)
        own = hitslib.measure(context, "larder", STRICT_MEMORY, trace, options)
        context.say(f"{row}, larder at -m {STRICT_MEMORY}: {ratio(own['miss_ratio'])} in "
                    f"{mib(own['hwm_kib'])} MiB")
        return own

    strict = context.extent.strict
    return pairs, dict(zip(strict, side_by_side(context, work_strictly, strict)))


def judge_sizes(pairs, strict, sizes_judged):
    limits = hitslib.Limits()
    judged = {where: pair for where, pair in pairs.items() if where[1] in sizes_judged}
    judge_pairs(limits, judged)
    fewer = [1 - pair["larder"]["miss_ratio"] / pair["memcached"]["miss_ratio"]
             for pair in judged.values() if not hitslib.is_tie(pair)]
    limits.at_least(f"fewer misses than memcached, mean of {len(fewer)} that are no ties",
                    statistics.mean(fewer) if fewer else None, FEWER_MISSES_MIN)
    limits.at_most("bytes copied for each byte stored, the most of all rows", hitslib.largest(
        pair["larder"]["amplification"] for pair in judged.values()), AMPLIFICATION_MAX)
    limits.at_most(f"VmHWM at -m {STRICT_MEMORY}", max(own["hwm_kib"] for own in strict.values())
                   / 1024, STRICT_MEMORY + BASE_MIB, "MiB")
    for row, most in MISS_RATIO_MAX.items():
        if row in strict:
            limits.at_most(f"miss ratio of {row} at -m {STRICT_MEMORY}",
                           strict[row]["miss_ratio"], most)
    return limits.list


def sizes(context):
    start = time.monotonic()
    pairs, strict = measure_sizes(context)
    rows = [[*pair_cells(row, size, pair), ratio(pair["larder"]["unavoidable"]
                                                / max(1, pair["larder"]["gets"])),
             or_dash(pair["larder"]["amplification"]),
             "tie" if hitslib.is_tie(pair) else ""] for (row, size), pair in sorted(
                 pairs.items(), key=lambda item: item[0][1])]
    tables = [
        ("Replay without TTLs, cache-aside; the first fifth warms up and is not counted. "
         "Memory is the peak of resident memory (VmHWM); larder's -m is what keeps its own at or "
         "below memcached's. Unavoidable: what an unlimited cache misses of the same requests. "
         "Copied: bytes that eviction and cleaning copied for each byte stored.",
         pair_head(["unavoidable", "copied"]), rows),
        (f"larder at -m {STRICT_MEMORY}.", ["row", "VmHWM, MiB", "miss ratio"],
         [[row, mib(own["hwm_kib"]), ratio(own["miss_ratio"])] for row, own in strict.items()]),
        *told_table([(f"{row}, {size}", pair["larder"]) for (row, size), pair in pairs.items()])]
    lines = {}
    for (row, size), pair in sorted(pairs.items(), key=lambda item: item[0][1]):
        for name in ("larder", "memcached"):
            lines.setdefault(row, {}).setdefault(name, []).append(
                [size, pair[name]["miss_ratio"]])
    return hitslib.Result(
        "sizes", judge_sizes(pairs, strict, context.extent.sizes),
        [context.command("memcached", "S"), context.command("larder", "M"),
         "build/release/bench/tracegen --row ROW --out TRACE",
         f"build/release/bench/replay --trace TRACE --port PORT --warm-pct {hitslib.WARM_PERCENT}"
         + "".join(f" {word}" for word in shorter(context))],
        tables, [], {"lines": lines}, time.monotonic() - start)


# ---- ttl ------------------------------------------------------------------------------------

def ttl_options(context, trace, seconds):
    """Paced so that the whole trace would take so long; TTLs are scaled with it."""
    limit = int(hitslib.record_count(trace) * context.extent.ttl_share)
    return ["--warm-pct", hitslib.WARM_PERCENT, "--limit", limit,
            "--speed", f"{hitslib.virtual_seconds(trace) / seconds:.4f}"]


def measure_ttl(context, row, gap):
    """Paced replays; slower as long as one of the servers cannot keep the pace."""
    trace, seconds = context.traces.row(row, context.extent.requests_m), context.extent.ttl_seconds
    for attempt in range(PACES_MAX):
        options = ttl_options(context, trace, seconds)
        pair = hitslib.measure_pair(context, TTL_MEMORY, trace, options, gap,
                                    sampled="expired_bytes_held")
        wanted = seconds * context.extent.ttl_share
        took = max(found["seconds"] for found in pair.values())
        context.say(f"{row} in {took:.1f} s: memcached {ratio(pair['memcached']['miss_ratio'])}, "
                    f"larder {ratio(pair['larder']['miss_ratio'])} (-m {pair['larder']['m']})")
        late = took > wanted * LATE_MAX + 0.5
        if not late or attempt + 1 == PACES_MAX:
            return pair, took, late
        seconds *= max(1.5, took / wanted * 1.2)
        context.say(f"{row}: that was meant to take {wanted:.0f} s; again, in "
                    f"{seconds * context.extent.ttl_share:.0f} s")


def ttl(context):
    start, gap = time.monotonic(), hitslib.Gap()
    rows = context.rows()
    found = side_by_side(context, lambda row: measure_ttl(context, row, gap), rows)
    pairs = {(row, TTL_MEMORY): pair for row, (pair, _, _) in zip(rows, found)}
    notes = [f"{row}: a server did not keep the pace, so its items lived for fewer requests."
             for row, (_, _, late) in zip(rows, found) if late]
    limits = hitslib.Limits()
    judge_pairs(limits, pairs)
    shares = {where: None if pair["larder"]["sampled"] is None
              else pair["larder"]["sampled"] / (pair["larder"]["m"] * MIB)
              for where, pair in pairs.items()}
    limits.at_most("expired bytes still held, share of -m, the most of all",
                   hitslib.largest(shares.values()), EXPIRED_SHARE_MAX)
    cells = [[*pair_cells(row, TTL_MEMORY, pair), f"{took:.0f}",
              or_dash(shares[row, TTL_MEMORY], "{:.1%}"),
              "tie" if hitslib.is_tie(pair) else ""] for row, (pair, took, _) in zip(rows, found)]
    return hitslib.Result(
        "ttl", limits.list,
        [context.command("memcached", TTL_MEMORY), context.command("larder", "M"),
         f"build/release/bench/replay --trace TRACE --port PORT --warm-pct {hitslib.WARM_PERCENT} "
         "--speed SPAN/SECONDS"],
        [("Replay with TTLs: the time of the trace and the TTLs are divided so that a run takes "
          "the seconds shown (more where a server could not keep the pace); a TTL below a second "
          "becomes one second. Expired: the most that was held of items past their time, of -m, "
          "looked at each second.",
          pair_head(["seconds", "expired"]), cells),
         *told_table([(f"{row}, {TTL_MEMORY}", pair["larder"])
                      for (row, _), pair in pairs.items()])],
        notes, {}, time.monotonic() - start)


# ---- density --------------------------------------------------------------------------------

class Filler:
    """Stores more and more keys on one server."""

    def __init__(self, server, value_bytes):
        self.server, self.value_bytes, self.stored, self.refused = server, value_bytes, 0, 0

    def fill_up_to(self, count):
        done = hitslib.run_watched(
            [benchlib.program("fill"), "--port", self.server.port, "--first", self.stored,
             "--count", count - self.stored, "--value-bytes", self.value_bytes,
             "--ttl", DENSITY_TTL_SECONDS])
        if done[2]:
            benchlib.give_up(f"{self.server.command}: {done[1].strip() or 'fill failed'}")
        self.stored = count
        self.refused += int(benchlib.fields_of(done[0])["refused"])

    def is_full(self):
        return hitslib.stat(self.server.stats(), "evictions") > 0

    def fill_until_full(self, guess):
        """In steps of 2 % of the guess, the first half in one."""
        self.fill_up_to(guess // 2)
        while not self.is_full() and not self.refused:
            if self.stored > 4 * guess:
                benchlib.give_up(f"{self.server.command}: {self.stored} items of "
                                 f"{self.value_bytes} bytes, and none was evicted")
            self.fill_up_to(self.stored + max(1, guess // 50))


def measure_density(context, name, value_bytes, memory):
    item_bytes = DENSITY_KEY_BYTES + value_bytes + DENSITY_ITEM_BYTES
    with benchlib.Server(context.command(name, memory)) as server:
        rss_kib = server.memory_kib("VmRSS")
        filler = Filler(server, value_bytes)
        filler.fill_until_full(int(memory * MIB / item_bytes))
        full, quotients, per_gib = filler.stored, [], []
        for level in DENSITY_LEVELS:
            if int(full * level) > filler.stored:
                filler.fill_up_to(int(full * level))
            items, hwm_kib = int(server.stats()["curr_items"]), server.memory_kib("VmHWM")
            quotients.append(items * item_bytes / ((hwm_kib - rss_kib) * 1024))
            per_gib.append(items / (hwm_kib / MIB))
    found = {"hwm_kib": hwm_kib, "refused": filler.refused, "per_gib": statistics.mean(per_gib),
             "quotient": statistics.mean(quotients), "lowest": min(quotients),
             "highest": max(quotients)}
    context.say(f"{name}, {value_bytes} B at -m {memory}: {found['per_gib'] / 1e6:.3f} million "
                f"items per GiB, {mib(hwm_kib)} MiB, quotient {found['quotient']:.3f} "
                f"({min(quotients):.3f} to {max(quotients):.3f})")
    return found


def density(context):
    start, extent = time.monotonic(), context.extent
    points = [(value, memory) for memory in extent.density_memory
              for value in extent.density_values]
    names = ("larder", "memcached")
    work = [(name, value, memory) for value, memory in points for name in names]
    found = dict(zip(work, side_by_side(
        context, lambda item: measure_density(context, *item), work)))
    limits, rows = hitslib.Limits(), []
    for value, memory in points:
        own, peer = (found[name, value, memory] for name in names)
        limits.at_least(f"items of {value} B at -m {memory}, of what "
                        f"{DENSITY_KEY_BYTES} + {value} + {DENSITY_ITEM_BYTES} bytes each allow",
                        own["quotient"], DENSITY_MIN)
        rows.append([value, memory, f"{own['per_gib'] / 1e6:.3f}", f"{peer['per_gib'] / 1e6:.3f}",
                     f"{own['per_gib'] / peer['per_gib']:.2f}", mib(own["hwm_kib"]),
                     mib(peer["hwm_kib"]), f"{own['quotient']:.3f}", f"{own['lowest']:.3f}",
                     f"{own['highest']:.3f}", peer["refused"]])
    for memory in extent.density_memory:
        limits.at_most(f"VmHWM at -m {memory}", max(
            found["larder", value, memory]["hwm_kib"] for value in extent.density_values) / 1024,
            memory + BASE_MIB, "MiB")
    limits.at_most("sets that larder refused", sum(found["larder", value, memory]["refused"]
                                                   for value, memory in points), 0)
    return hitslib.Result(
        "density", limits.list,
        [context.command("larder", "M"), context.command("memcached", "M"),
         "build/release/bench/fill --port PORT --first A --count N --value-bytes V "
         f"--ttl {DENSITY_TTL_SECONDS}"],
        [(f"Keys of {DENSITY_KEY_BYTES} bytes, expiry far away, CAS on. Million items per GiB of "
          "whole resident memory (VmHWM), mean of five fill levels between n and 2n items "
          "stored, where n is the number at which the first is evicted. Quotient: items x (key + "
          f"value + {DENSITY_ITEM_BYTES}) / (VmHWM - VmRSS after the start) of larder, and its "
          "range over the levels.",
          ["value, bytes", "-m", "larder", "memcached", "ratio", "larder, MiB", "memcached, MiB",
           "quotient", "lowest", "highest", "memcached refused"], rows)],
        [], {}, time.monotonic() - start)


# ---- calcification --------------------------------------------------------------------------

def replay_phases(context, name, options):
    with benchlib.Server(context.command(name, context.extent.phase_memory)) as server:
        trace = context.traces.phases(context.extent.phases, context.extent.phase_mib)
        _, intervals = hitslib.replay(
            server, trace, ["--interval", context.extent.phase_interval, *options])
    return [{"miss_ratio": int(i["misses"]) / max(1, int(i["gets"])),
             "stored_bytes": int(i["stored_bytes"])} for i in intervals]


def shifts(extent):
    """(number of the first interval, number of the one after the last, value bytes) of each
    phase but the first."""
    found, at = [], 0
    for value, requests in extent.phases:
        assert requests % extent.phase_interval == 0
        past = at + requests // extent.phase_interval
        found.append((at, past, value))
        at = past
    return found[1:]


def compare_with_fresh(context, run, fresh):
    """Relative excess of each interval that begins three turnovers after the shift or later."""
    stored, excess = 0, []
    for own, other in zip(run, fresh):
        if stored >= TURNOVERS * context.extent.phase_memory * MIB:
            excess.append(own["miss_ratio"] / other["miss_ratio"] - 1)
        stored += own["stored_bytes"]
    return excess


def measure_calcification(context):
    extent, step = context.extent, context.extent.phase_interval
    paced = f"memcached, {extent.phase_rate:,} requests/s"
    work = {paced: ("memcached", ["--rate", extent.phase_rate]),
            "memcached, full speed": ("memcached", []), "larder": ("larder", [])}
    for first, past, value in shifts(extent):
        work[f"fresh, {value}"] = ("larder", ["--skip", first * step,
                                             "--limit", (past - first) * step])

    def run(label):
        intervals = replay_phases(context, *work[label])
        context.say(f"{label}: {len(intervals)} x {step:,} requests")
        return intervals

    context.traces.phases(extent.phases, extent.phase_mib)
    return dict(zip(work, side_by_side(context, run, work))), paced


def calcification(context):
    start, extent = time.monotonic(), context.extent
    runs, paced = measure_calcification(context)
    limits, rows = hitslib.Limits(), []
    per_million = extent.phase_interval / 1e6
    fresh_points = []
    for first, past, value in shifts(extent):
        own, fresh = runs["larder"][first:past], runs[f"fresh, {value}"]
        excess = compare_with_fresh(context, own, fresh)
        limits.at_most(f"miss ratio above a fresh larder's, {value} B, the worst of "
                       f"{len(excess)} x {extent.phase_interval:,} requests",
                       hitslib.largest(excess), CALCIFIED_MAX)
        fresh_points += [[(first + i + 1) * per_million, f["miss_ratio"]]
                         for i, f in enumerate(fresh)]
        for label, part in (("begin", slice(0, 3)), ("end", slice(-3, None))):
            rows.append([f"{value} B, {label}", *(ratio(statistics.mean(
                i["miss_ratio"] for i in run[part])) for run in (
                    own, fresh, runs["memcached, full speed"][first:past],
                    runs[paced][first:past]))])
    lines = {label: [[(i + 1) * per_million, found["miss_ratio"]]
                     for i, found in enumerate(runs[label])]
             for label in ("larder", "memcached, full speed", paced)}
    lines["larder, started at the shift"] = fresh_points
    phases = ",".join(f"{value}:{requests}" for value, requests in extent.phases)
    return hitslib.Result(
        "calcification", limits.list,
        [context.command("larder", extent.phase_memory),
         context.command("memcached", extent.phase_memory),
         f"build/release/bench/tracegen --phases {phases} --phase-mib {extent.phase_mib} "
         "--alpha 0.9 --set 0.05 --klen 20 --out TRACE",
         f"build/release/bench/replay --trace TRACE --port PORT --interval "
         f"{extent.phase_interval} [--rate {extent.phase_rate}]"],
        [(f"{extent.phase_mib} MiB of values of one size, then of the next, each with keys of its "
          f"own; zipf 0.9, 5 % sets, misses are stored. Miss ratio of the first and the last "
          f"three {extent.phase_interval:,} requests after each shift. Judged from three "
          "turnovers of the memory after the shift on.",
          ["values", "larder", "larder started at the shift", "memcached", paced], rows)],
        [], {"lines": lines, "marks": [[first * per_million, f"{value} B"]
                                       for first, _, value in shifts(extent)]},
        time.monotonic() - start)


# ---- overwrites -----------------------------------------------------------------------------

def overwrite_options(context, port):
    mean = sum(OVERWRITE_SIZES) / 2 + DENSITY_KEY_BYTES + DENSITY_ITEM_BYTES
    keys = int(OVERWRITE_MEMORY * MIB / 2 / mean)
    return ["--port", port, "--rate", OVERWRITE_RATE, "--keys", keys, "--connections", 4,
            "--set-percent", OVERWRITE_SET_PERCENT, "--set-min", OVERWRITE_SIZES[0],
            "--set-max", OVERWRITE_SIZES[1], "--seconds", context.extent.overwrite_seconds]


class HalfTime:
    """Takes the statistics once, when half of the seconds are over."""

    def __init__(self, server, seconds):
        self.server, self.at, self.stats = server, time.monotonic() + seconds / 2, None

    def __call__(self):
        if self.stats is None and time.monotonic() >= self.at:
            self.stats = self.server.stats()


def cleaning_price(before, after):
    """Bytes that cleaning copied for each byte stored meanwhile."""
    parts = [(hitslib.stat(before, name), hitslib.stat(after, name))
             for name in ("copied_bytes_cleaning", "stored_bytes")]
    if any(None in part for part in parts) or parts[1][0] == parts[1][1]:
        return None
    return (parts[0][1] - parts[0][0]) / (parts[1][1] - parts[1][0])


def measure_overwrites(context, name):
    with benchlib.Server(context.command(name, OVERWRITE_MEMORY)) as server:
        half, stolen = HalfTime(server, context.extent.overwrite_seconds), benchlib.stolen_seconds()
        said, complaints, status = hitslib.run_watched(
            [benchlib.program("latency"), *overwrite_options(context, server.port)], half)
        stolen = benchlib.stolen_seconds() - stolen
        if status not in (0, 1) or not said:
            benchlib.give_up(f"{server.command}: {complaints.strip() or 'latency failed'}")
        stats = server.stats()
        fields = benchlib.fields_of(said)
        found = {key: int(fields[key]) / 1000 for key in ("p50", "p99", "p99.9", "p99.99", "max")}
        gets = int(fields["requests"]) - int(fields["sets"])
        found.update(errors=int(fields["errors"]), stolen_ms=stolen * 1000,
                     missed=1 - int(fields["hits"]) / max(1, gets),
                     hwm_kib=server.memory_kib("VmHWM"),
                     price=cleaning_price(half.stats or stats, stats))
    context.say(f"{name}: p99.9 {found['p99.9']:.3f} ms, stolen {found['stolen_ms']:.0f} ms, "
                f"cleaning {or_dash(found['price'])} bytes for each stored")
    return found


def overwrites(context):
    start, runs, repeats, notes = time.monotonic(), [], REPEATS_MAX, []
    while len(runs) < context.extent.overwrite_runs:
        benchlib.wait_until_calm(min(2, context.extent.overwrite_seconds / 10))
        pair = {name: measure_overwrites(context, name) for name in ("larder", "memcached")}
        if max(found["stolen_ms"] for found in pair.values()) > STOLEN_MS_MAX and repeats:
            repeats -= 1
            context.say(f"disturbed: both do not count; {repeats} repeats left")
            continue
        runs.append(pair)
    disturbed = sum(max(found["stolen_ms"] for found in pair.values()) > STOLEN_MS_MAX
                    for pair in runs)
    limits = hitslib.Limits()
    above = (statistics.median(pair["larder"]["p99.9"] for pair in runs)
             - statistics.median(pair["memcached"]["p99.9"] for pair in runs))
    if disturbed:
        notes.append(f"{disturbed} of {len(runs)} pairs of runs were disturbed by the hypervisor: "
                     "no verdict on latencies.")
    limits.at_most("p99.9 above memcached's, medians", None if disturbed else above,
                   OVERWRITE_MS_MAX, "ms")
    limits.at_most("bytes copied by cleaning for each byte stored, second half, the most of all",
                   hitslib.largest(pair["larder"]["price"] for pair in runs), CLEANING_PRICE_MAX)
    limits.at_most("requests that larder answered with an error",
                   sum(pair["larder"]["errors"] for pair in runs), 0)
    rows = [[f"{name}, run {number}", *(f"{found[key]:.3f}" for key in (
        "p50", "p99", "p99.9", "p99.99", "max")), f"{found['missed']:.2%}",
        mib(found["hwm_kib"]), or_dash(found["price"]), f"{found['stolen_ms']:.0f}"]
        for number, pair in enumerate(runs, 1) for name, found in pair.items()]
    return hitslib.Result(
        "overwrites", limits.list,
        [context.command(name, OVERWRITE_MEMORY) for name in ("larder", "memcached")] + [
         "build/release/bench/latency "
         + " ".join(map(str, overwrite_options(context, "PORT")))],
        [(f"{OVERWRITE_RATE:,} requests/s, {OVERWRITE_SET_PERCENT} % of them sets of keys that are "
          f"there, each time of a random length from {OVERWRITE_SIZES[0]} to {OVERWRITE_SIZES[1]} "
          "bytes; the keys take half of the memory. Latency in ms from the moment a request was "
          "due; cleaning: bytes copied for each stored, second half of the run.",
          ["", "p50", "p99", "p99.9", "p99.99", "max", "gets that missed", "VmHWM, MiB", "cleaning",
           "stolen, ms"], rows)],
        notes, {}, time.monotonic() - start)


# ---- threads --------------------------------------------------------------------------------

def threads(context):
    start, counts, connections = time.monotonic(), (1, 4), 4
    options = ["--warm-pct", hitslib.WARM_PERCENT, "--connections", connections,
               "--lag", THREADS_LAG, *shorter(context)]
    work = [(row, name, count) for row in context.extent.thread_rows
            for name in ("larder", "memcached") for count in counts]

    def run(item):
        row, name, count = item
        trace = context.traces.row(row, context.extent.requests_m)
        found = hitslib.measure(context, name, THREADS_MEMORY, trace, options, count)
        context.say(f"{row}, {name} -t {count}: {ratio(found['miss_ratio'])} in "
                    f"{mib(found['hwm_kib'])} MiB")
        return found

    found = dict(zip(work, side_by_side(context, run, work)))
    limits, rows = hitslib.Limits(), []
    for row in context.extent.thread_rows:
        one, four = (found[row, "larder", count]["miss_ratio"] for count in counts)
        limits.at_most(f"miss ratio of {row} at -m {THREADS_MEMORY}: difference between -t 4 "
                       "and -t 1", abs(four - one), THREADS_MAX)
        rows += [[row, name, *(ratio(found[row, name, count]["miss_ratio"]) for count in counts),
                  *(mib(found[row, name, count]["hwm_kib"]) for count in counts)]
                 for name in ("larder", "memcached")]
    return hitslib.Result(
        "threads", limits.list,
        [context.command("larder", THREADS_MEMORY, "T"),
         context.command("memcached", THREADS_MEMORY, "T"),
         "build/release/bench/replay --trace TRACE --port PORT "
         + " ".join(map(str, options))],
        [("Miss ratios without TTLs, by number of workers.",
          ["row", "", "-t 1", "-t 4", "-t 1, MiB", "-t 4, MiB"], rows)],
        [], {}, time.monotonic() - start)


PARTS = {"sizes": sizes, "ttl": ttl, "density": density, "calcification": calcification,
         "overwrites": overwrites, "threads": threads}
