"""larder-sim counts what a cache would do, and does so again.

Goal: its figures are right where they can be known, the same in every run, and what makes no sense
on its command line is said in one sentence.
Method: traces of bench/tracegen and some written here; a cache without bounds is a dictionary in
this file, with the rules of bench/replay.
"""
import json
import os
import pathlib
import re
import struct
import subprocess

import pytest

import server

BUILD = pathlib.Path(os.environ.get("BUILD_DIR", server.ROOT / "build/release"))
SIM = BUILD / "larder-sim"
TRACEGEN = pathlib.Path(server.BENCH_DIR) / "tracegen"
HEADER = struct.Struct("<8sQQII")
RECORD = struct.Struct("<QIIIBBH")
GET, SET, DELETE, INCR = range(4)
TTL_MAX = 2592000


def run(*options, stdin=None, **how):
    return subprocess.run([str(SIM), *map(str, options)], capture_output=True, timeout=300,
                          **{"stdin": subprocess.DEVNULL, **how} if stdin is None
                          else {"input": stdin, **how})


def sim(*options, **how):
    done = run("--json", *options, **how)
    assert done.returncode == 0, done.stderr
    assert not server.SANITIZER_REPORT.search(done.stderr.decode())
    return json.loads(done.stdout)


def write_trace(path, records, keys, numeric=False):
    """records: (key, second, value length, ttl, op)."""
    with open(path, "wb") as f:
        f.write(HEADER.pack(b"MCTRACE1", len(records), keys, int(numeric), 0))
        for key, second, length, ttl, op in records:
            f.write(RECORD.pack(key, second, length, ttl, op, 20, 0))
    return path


def read_trace(path):
    data = path.read_bytes()
    return [r[:5] for r in RECORD.iter_unpack(data[HEADER.size:])]


@pytest.fixture(scope="module")
def make_trace(tmp_path_factory):
    where = tmp_path_factory.mktemp("traces")

    def make(row, requests, *options):
        path = where / "-".join([row, str(requests), *options])
        if not path.exists():
            subprocess.run([str(TRACEGEN), "--out", str(path), "--row", row, "--requests",
                            str(requests / 1e6), *options], check=True, capture_output=True)
        return path

    return make


def boundless(records, ttl=True, speed=1.0, warm=0):
    """What a cache that forgets nothing but what has expired would count."""
    ends, count = {}, dict.fromkeys(("requests", "gets", "misses", "get_bytes", "miss_bytes"), 0)
    start = records[0][1]
    for place, (key, second, length, ttl_s, op) in enumerate(records):
        now = int((second - start) / speed)
        end = 0
        if ttl and ttl_s:
            end = now + int(min(max(ttl_s / speed, 1), TTL_MAX) + .5)
        there = key in ends and (ends[key] == 0 or ends[key] > now)
        if op == DELETE:
            ends.pop(key, None)
        elif op == SET or not there:
            ends[key] = end
        if place < warm:
            continue
        count["requests"] += 1
        if op in (GET, INCR):
            count["gets"] += 1
            count["get_bytes"] += length
            count["misses"] += not there
            count["miss_bytes"] += 0 if there else length
    return count


def assert_counts(found, expected):
    assert {name: found[name] for name in expected} == expected
    assert found["hits"] + found["misses"] == found["gets"]
    assert found["requests"] == found["gets"] + found["sets"] + found["deletes"]
    assert found["miss_ratio"] == pytest.approx(expected["misses"] / expected["gets"], abs=1e-6)
    assert found["byte_miss_ratio"] == pytest.approx(
        expected["miss_bytes"] / expected["get_bytes"], abs=1e-6)


# ---- figures --------------------------------------------------------------------------------

@pytest.mark.parametrize("row", ["c52", "c22", "c14", "c04"])
@pytest.mark.parametrize("options, how", [
    ([], {}), (["--no-ttl"], {"ttl": False}), (["--speed", "60"], {"speed": 60.0}),
    (["--warmup", "20%"], {"warm": 10000}), (["--warmup", "777", "--no-cas"], {"warm": 777})])
def test_without_bounds_it_misses_what_is_not_there(make_trace, row, options, how):
    path = make_trace(row, 50000)
    result = sim("-m", "1g", *options, path)["sizes"][0]
    assert_counts(result, boundless(read_trace(path), **how))
    assert result["evictions"] == result["refused"] == result["not_numbers"] == 0
    assert result["memory_bytes"] == 1 << 30


def test_gets_alone_miss_once_for_each_key(make_trace):
    path = make_trace("c52", 50000, "--set", "0", "--ttl", "0")
    keys = {key for key, *_ in read_trace(path)}
    result = sim("-m", "1g", path)["sizes"][0]
    assert result["misses"] == result["fills"] == result["items"] == len(keys)


def test_more_memory_misses_less(make_trace):
    path = make_trace("c53", 100000)
    results = sim("-m", "8m,16m,32m,1g", path)["sizes"]
    ratios = [r["miss_ratio"] for r in results]
    assert ratios == sorted(ratios, reverse=True) and len(set(ratios)) > 2
    assert ratios[-1] == pytest.approx(
        boundless(read_trace(path))["misses"] / results[-1]["gets"], abs=1e-6)
    for r in results:
        assert r["memory_used_bytes"] <= r["memory_bytes"]
        assert r["hits"] + r["misses"] == r["gets"]
        assert r["stored"] == r["sets"] + r["fills"]
    assert results[0]["evictions"] > results[-1]["evictions"] == 0
    for r in results:
        copied = r["bytes_copied_evicting"] + r["bytes_copied_cleaning"]
        assert r["write_amplification"] == pytest.approx(copied / r["bytes_stored"], abs=1e-4)
        assert r["bytes_stored"] > r["stored"] * 9213 / 3
    assert results[0]["write_amplification"] > results[-1]["write_amplification"]


def without_seconds(result):
    for r in result["sizes"]:
        del r["seconds"]
    return result


def test_it_says_the_same_again(make_trace):
    path = make_trace("c53", 40000)
    first = without_seconds(sim("-m", "8m,16m", "-w", "10%", path))
    assert without_seconds(sim("-m", "8m,16m", "-w", "10%", path)) == first
    # each size by itself, too, and read from a pipe
    for i, size in enumerate(("8m", "16m")):
        alone = without_seconds(sim("-m", size, "-w", "10%", stdin=path.read_bytes()))
        assert alone["sizes"] == [first["sizes"][i]]


def test_a_server_answers_alike(larder, make_trace):
    """bench/replay against larderd: threads and buffers of its own make a small difference."""
    path = make_trace("c53", 100000)
    served = larder("-m", "16", "-t", "1")
    done = subprocess.run([str(TRACEGEN.parent / "replay"), "--trace", str(path), "--port",
                           str(served.port), "--warm", "20000"], capture_output=True, timeout=300)
    found = dict(word.split("=", 1) for word in done.stdout.decode().split())
    result = sim("-m", "16m", "--no-ttl", "-w", "20000", path)["sizes"][0]
    for name in ("requests", "gets", "sets", "deletes", "incrs"):
        assert result[name] == int(found["counted" if name == "requests" else name])
    assert result["miss_ratio"] == pytest.approx(float(found["miss_ratio"]), abs=0.01)
    assert result["byte_miss_ratio"] == pytest.approx(float(found["byte_miss_ratio"]), abs=0.01)


def test_seed_changes_places_only(make_trace):
    path = make_trace("c52", 50000)
    one, two = (sim("--seed", seed, "-m", "1g", path)["sizes"][0] for seed in (1, 2))
    assert one["misses"] == two["misses"]


def test_limit_ends_the_trace_early(make_trace):
    path = make_trace("c52", 50000)
    result = sim("-m", "1g", "--limit", 12345, "-w", "50%", path)["sizes"][0]
    assert result["all_requests"] == 12345
    assert result["requests"] == 12345 - 6172
    assert_counts(result, boundless(read_trace(path)[:12345], warm=6172))


def test_long_values_and_empty_ones(tmp_path):
    lengths = [0, 1, 100, 70000, 600000, 2000000]
    records = [(i % 6, i // 6, lengths[i % 6], 0, GET) for i in range(60)]
    path = write_trace(tmp_path / "t", records, 6)
    result = sim("-m", "64m", path)["sizes"][0]
    assert (result["gets"], result["misses"]) == (60, 6)
    assert result["get_bytes"] == 10 * sum(lengths)
    assert 70000 + 600000 + (1 << 20) < result["entry_bytes"] < 1800000


def test_a_second_is_a_second(tmp_path):
    records = [(0, 100, 5, 10, SET), (0, 109, 5, 10, GET), (0, 110, 5, 10, GET),
               (0, 119, 5, 10, GET), (0, 120, 5, 10, GET)]
    path = write_trace(tmp_path / "t", records, 1)
    assert sim(path)["sizes"][0]["misses"] == 2
    assert sim("--no-ttl", path)["sizes"][0]["misses"] == 0
    assert sim("--speed", "20", path)["sizes"][0]["misses"] == 1


def test_numbers_are_counted_and_others_are_told(tmp_path):
    records = [(0, 0, 4, 0, INCR), (0, 0, 4, 0, INCR), (1, 0, 4, 0, SET), (1, 0, 4, 0, INCR)]
    result = sim(write_trace(tmp_path / "n", records, 2, numeric=True))["sizes"][0]
    assert (result["gets"], result["misses"], result["not_numbers"]) == (3, 1, 0)
    done = run(write_trace(tmp_path / "t", records, 2))
    assert b"2 incr of a value that is no number" in done.stderr


def test_the_manual_tells_the_format():
    """Its table has the fields that this file writes, in their places."""
    manual = (server.ROOT / "docs/larder-sim.1").read_text()
    section = manual.split(".SH TRACES")[1].split(".SH")[0]
    bytes_of = {"text": "8s", "u64": "Q", "u32": "I", "u16": "H", "u8": "B"}
    rows = re.findall(r"^ *(\d+)  (text|u\d+) +\S", section, re.M)
    edges = [i for i, (at, _) in enumerate(rows) if at == "0"]
    assert len(edges) == 2
    for part, ours in ((rows[:edges[1]], HEADER), (rows[edges[1]:], RECORD)):
        packed = struct.Struct("<" + "".join(bytes_of[kind] for _, kind in part))
        assert packed.size == ours.size
        sizes = [struct.calcsize("<" + bytes_of[kind]) for _, kind in part]
        assert [int(at) for at, _ in part] == [sum(sizes[:i]) for i in range(len(sizes))]


# ---- what people see ------------------------------------------------------------------------

def test_table_has_a_line_for_each_size(make_trace):
    done = run("-m", "8m,1g", make_trace("c52", 50000))
    lines = done.stdout.decode().splitlines()
    assert done.returncode == 0 and done.stderr == b""
    assert [line.split()[0] for line in lines] == ["memory", "8m", "1g"]
    assert all(len(line) < 80 for line in lines)


def test_evict_report(make_trace):
    done = run("-m", "8m,16m", "--evict-report", make_trace("c53", 40000))
    assert done.stdout.count(b"    never read") == 4
    assert all(len(line) < 80 for line in done.stdout.decode().splitlines())


def test_help_fits_a_screen():
    lines = run("--help").stdout.decode().splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) < 80
    manual = (server.ROOT / "docs/larder-sim.1").read_text().replace("\\-", "-")
    for option in re.findall(r"--[a-z-]+", "\n".join(lines)):
        assert option in manual, option


@pytest.mark.parametrize("options, sentence", [
    (["-m", "4m"], "--memory 4m: a cache needs at least 8m"),
    (["-m", "64m,"], '--memory takes sizes like 64m or 2g, with commas between them, not ""'),
    (["-m", "x"], '--memory takes sizes like 64m or 2g, with commas between them, not "x"'),
    (["-m", "99999999999g"], "--memory takes sizes like 64m or 2g, with commas between them, "
                             'not "99999999999g"'),
    (["-m", "900000g"], "a cache of 900000g: an argument is out of range, or the call is not "
                        "possible there"),
    (["-w", "120%"], '--warmup takes a share from 0% to 100%, not "120%"'),
    (["-w", "x"], '--warmup takes a number of requests, or a share like 20%, not "x"'),
    (["-w", "100%"], "nothing is left to measure: 50000 requests, and the warm-up takes 50000"),
    (["-w", "99999999"], "nothing is left to measure: 50000 requests, and the warm-up takes "
                         "99999999"),
    (["-n", "100", "-w", "100"], "nothing is left to measure: 100 requests, and the warm-up takes "
                                 "100"),
    (["-s", "0"], '--speed takes a number above 0, not "0"'),
    (["--seed", "0"], "--seed takes a number from 1 to 18446744073709551615, not \"0\""),
    (["other"], "other: one trace at a time (--help lists the options)")])
def test_what_makes_no_sense_is_said(make_trace, options, sentence):
    done = run(make_trace("c52", 50000), *options)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.decode() == f"larder-sim: {sentence}\n"


def test_broken_traces_are_said(tmp_path, make_trace):
    whole = make_trace("c52", 50000).read_bytes()
    for data, said in [(b"", "not an MCTRACE1 trace"), (b"x" * 100, "not an MCTRACE1 trace"),
                       (whole[:-24], "ends after 49999 of the 50000 records it announces"),
                       (whole[:52] + b"\x09" + whole[53:], "a record makes no sense")]:
        path = tmp_path / "broken"
        path.write_bytes(data)
        done = run(path)
        assert done.returncode == 2 and said in done.stderr.decode()
    done = run(write_trace(tmp_path / "none", [], 0))
    assert done.returncode == 2 and b"nothing is left to measure: 0 requests" in done.stderr
    done = run(tmp_path)
    assert done.returncode == 2 and b": Is a directory\n" in done.stderr
    done = run(tmp_path / "absent")
    assert done.returncode == 2 and b"absent: No such file or directory" in done.stderr
