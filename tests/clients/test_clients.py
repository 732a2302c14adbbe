"""Goal: programs that use memcached today use larder and notice nothing.

Method: clients that others have written, as Debian ships them, alone and at once.
"""
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent
PATIENCE = 200      # whoever takes longer than it should by so much hangs

# They ask for an answer that memcached itself gave up: 1.6.45 fails them too.  `delete key 10`
# was an error once, now additional words are ignored.
FAIL_WITH_MEMCACHED_TOO = {"ascii delete", "ascii delete noreply"}


def program(name):
    path = shutil.which(name)
    assert path, "%s is missing: run dist/setup test" % name
    return path


@pytest.fixture
def start():
    """Starts programs; those that a failing test leaves behind are ended."""
    started = []

    def start_one(*argv):
        started.append(subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT))
        return started[-1]

    yield start_one
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def pymemcache_work(port, seconds, name):
    return sys.executable, HERE / "pymemcache_work.py", port, seconds, name


def finish(process, seconds=0):
    try:
        said, _ = process.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        said, _ = process.communicate()
        raise AssertionError("too late: " + said[-4000:])
    assert process.returncode == 0, said[-4000:]
    return said


def memcaslap(port, seconds, threads, connections):
    """Every value that comes back is verified, some expire."""
    return (program("memcaslap"), "-s", "127.0.0.1:%d" % port, "-T", threads,
                 "-c", connections, "-t", "%ds" % seconds, "-v", "1.0", "-e", "0.05", "-b")


def finish_memcaslap(process, seconds):
    said = finish(process, seconds)
    numbers = {name: int(n) for name, n in re.findall(r"^(\w+): (\d+)$", said, re.M)}
    assert numbers["cmd_get"] > 0 and numbers["cmd_set"] > 0, said[-4000:]
    assert numbers["verify_failed"] == 0, said[-8000:]
    # A miss is not a wrong value, but nothing is evicted here.
    assert numbers["verify_misses"] == 0, said[-8000:]
    return numbers


@pytest.mark.parametrize("option, protocol, count, failures", [
    ("-a", "ascii", 27, FAIL_WITH_MEMCACHED_TOO), ("-b", "binary", 27, set())])
def test_memccapable(larder, option, protocol, count, failures):
    """libmemcached's own list of what a server must be able to do."""
    running = larder()
    argv = [program("memccapable"), "-h", "127.0.0.1", "-p", str(running.port), option]
    said = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE).stdout
    # Every test is named, "[pass]" is behind those that did; "[FAIL]" goes to stderr.
    name = r"(%s \w+(?: \w+)*) {2,}" % protocol
    tried, passed = re.findall(name, said), re.findall(name + r"\[pass\]", said)
    assert len(tried) == count, said
    assert set(tried) - set(passed) == failures, said


def test_pymemcache(larder, start):
    running = larder("-m", "200")
    finish(start(*pymemcache_work(running.port, 3, "alone")))


def test_pymemcache_pool_and_serde(larder):
    """The pooled client, values that are no bytes, flags that come back."""
    from pymemcache import serde
    from pymemcache.client.base import PooledClient
    running = larder()
    client = PooledClient(("127.0.0.1", running.port), serde=serde.pickle_serde, max_pool_size=4)
    values = {"text": "ä", "number": 7, "list": [1, {"a": None}], "bytes": b"\0\r\n"}
    assert client.set_many(values) == []
    assert client.get_many(list(values)) == values
    assert client.version() == b"1.6.45"
    assert client.stats()[b"curr_items"] == 4
    client.flush_all(noreply=False)
    assert client.get_many(list(values)) == {}
    client.close()


@pytest.mark.parametrize("binary", [False, True], ids=["ascii", "binary"])
def test_pylibmc(larder, binary):
    """libmemcached through Python, with the behaviours that change what is sent."""
    import pylibmc
    running = larder("-m", "200")
    for behaviors in ({}, {"tcp_nodelay": True, "no_block": True}, {"_noreply": True},
                      {"cas": True}):
        client = pylibmc.Client(["127.0.0.1:%d" % running.port], binary=binary,
                                behaviors=behaviors)
        values = {"key%d" % i: "value%d" % i * i for i in range(200)}
        assert client.set_multi(values) == []
        assert client.get_multi(list(values) + ["none"]) == values
        client.set("object", [1, 2, {"three": 3}])
        assert client.get("object") == [1, 2, {"three": 3}]
        client.set("number", 10)
        client.set("large", "x" * 500000)
        assert client.get("large") == "x" * 500000
        if not behaviors.get("_noreply"):
            assert client.incr("number", 5) == 15
            assert client.decr("number", 100) == 0
            assert client.add("object", 1) is False
            assert client.delete("object") and not client.delete("object")
            assert client.touch("large", 100)
        if behaviors.get("cas"):
            value, cas = client.gets("number")
            assert client.cas("number", 1, cas) and not client.cas("number", 2, cas)
        client.flush_all()
        assert client.get("large") is None     # so that no flush without reply comes late
        client.disconnect_all()


@pytest.mark.parametrize("group", ["items", "slabs"])
def test_statistics_of_slab_classes(larder, group):
    """There are none: who asks for them gets the end of a list."""
    import memcache
    import pylibmc
    from pymemcache.client.base import Client
    running = larder()
    running.play(b"set key 0 0 1\r\n1\r\n")
    address = "127.0.0.1:%d" % running.port
    empty = {"items": {}, "slabs": {"active_slabs": "0", "total_malloced": "0"}}[group]
    found = Client(address, timeout=PATIENCE).stats(group)
    assert {n.decode(): str(number) for n, number in found.items()} == empty
    (_, found), = memcache.Client([address]).get_stats(group)
    assert found == empty
    for binary in (False, True):
        # It shows all the names it knows, whatever it has been told.
        assert len(pylibmc.Client([address], binary=binary).get_stats(group)) == 1


def test_programs_that_show_statistics(larder):
    """They ask for slab classes too, and must not wait for the end of what they are told."""
    running = larder()
    running.play(b"set key 0 0 1\r\n1\r\n")
    address = "127.0.0.1:%d" % running.port
    tool = pathlib.Path("/usr/share/memcached/scripts/memcached-tool")
    assert tool.exists(), "memcached-tool is missing: run dist/setup test"
    for argv, wanted in ((["perl", tool, address, "display"], "Item_Size"),
                         (["perl", tool, address, "stats"], "curr_items"),
                         ([program("memcstat"), "--servers=" + address], "curr_items: 1")):
        done = subprocess.run(list(map(str, argv)), capture_output=True, text=True,
                              timeout=PATIENCE)
        assert done.returncode == 0 and wanted in done.stdout, done


def test_memcaslap(larder, start):
    running = larder("-m", "1024")
    finish_memcaslap(start(*memcaslap(running.port, 5, 2, 32)), 5)


@pytest.mark.limit(400)
def test_clients_at_once(larder, start, long):
    """memcaslap with 2 threads and 128 connections, and two programs with pymemcache."""
    seconds = 60 if long else 8
    running = larder("-m", "1024")
    load = start(*memcaslap(running.port, seconds, 2, 128))
    others = [start(*pymemcache_work(running.port, seconds, name)) for name in ("one", "two")]
    for process in others:
        finish(process, seconds)
    finish_memcaslap(load, seconds)
    assert int(running.stats()["evictions"]) == 0
