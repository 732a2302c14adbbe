"""python-memcached: with_python_memcached.py PORT"""
import itertools
import sys

import kit
from kit import expect, expect_soon

try:
    import memcache
except ImportError as error:
    kit.not_installed(error)


class Steps:
    def __init__(self, port):
        self._client = memcache.Client(["127.0.0.1:%d" % port], cache_cas=True,
                                       socket_timeout=kit.PATIENCE, server_max_value_length=0)
        self._fresh = itertools.count()

    def in_sync(self):
        value = b"sync %d" % next(self._fresh)
        expect(self._client.set("sync", value), True, "set after the step")
        expect(self._client.get("sync"), value, "get after the step")

    def set_get(self):
        c = self._client
        expect(c.set("key", b"value"), True, "set")
        expect(c.get("key"), b"value", "get")
        expect(c.set("key", b""), True, "set of nothing")
        expect(c.get("key"), b"", "get of nothing")
        expect(c.set_multi({"many1": b"1", "many2": b"2"}), [], "set_multi")
        expect(c.get("many2"), b"2", "get of one of many")

    def missing(self):
        expect(self._client.get("none"), None, "get")
        expect(self._client.gets("none"), None, "gets")

    def multi_get(self):
        c = self._client
        c.set_multi({"m1": b"1", "m2": kit.TINY, "m3": b"3"})
        expect(c.get_multi(["m1", "none", "m2", "m3"]), {"m1": b"1", "m2": kit.TINY, "m3": b"3"},
               "get_multi")
        expect(c.get_multi(["none", "nor"]), {}, "get_multi of nothing")

    def wide_multi_get(self):
        c = self._client
        values = {"wide%d" % i: b"%d" % i * (i % 50) for i in range(kit.WIDE)}
        expect(c.set_multi(values), [], "set_multi")
        gone = ["wide%d" % i for i in range(0, kit.WIDE, 5)]
        expect(c.delete_multi(gone), 1, "delete_multi")
        expect(c.get_multi(list(values)), {k: v for k, v in values.items() if k not in gone},
               "get_multi")

    def delete(self):
        c = self._client
        c.set("key", b"value")
        expect(c.delete("key", noreply=False), 1, "delete")
        expect(c.get("key"), None, "get")
        expect(c.delete("key"), 1, "delete again: to this client the same")

    def add_replace(self):
        c = self._client
        c.delete("key")
        expect(c.replace("key", b"1"), False, "replace of nothing")
        expect(c.add("key", b"2"), True, "add")
        expect(c.add("key", b"3"), False, "add again")
        expect(c.get("key"), b"2", "get after add")
        expect(c.replace("key", b"4"), True, "replace")
        expect(c.get("key"), b"4", "get after replace")

    def append_prepend(self):
        c = self._client
        c.delete("key")
        expect(c.append("key", b"1"), False, "append to nothing")
        expect(c.prepend("key", b"1"), False, "prepend to nothing")
        c.set("key", b"middle")
        expect(c.append("key", b" end\r\n"), True, "append")
        expect(c.prepend("key", b"start "), True, "prepend")
        expect(c.get("key"), b"start middle end\r\n", "get")

    def cas(self):
        c = self._client
        c.set("key", b"1")
        expect(c.gets("key"), b"1", "gets")
        expect(c.cas("key", b"2"), True, "cas")
        expect(c.cas("key", b"3"), False, "cas again")
        expect(c.get("key"), b"2", "get")

    def incr_decr(self):
        c = self._client
        c.delete("n")
        expect(c.incr("n"), None, "incr of nothing")
        c.set("n", 10)
        expect(c.incr("n", 5), 15, "incr")
        expect(c.decr("n", 6), 9, "decr")
        expect(c.get("n"), 9, "get of the number")
        expect(c.decr("n", 100), 0, "decr below nothing")

    def touch(self):
        c = self._client
        expect(c.touch("none", 10), 0, "touch of nothing")
        c.set("key", b"value")
        expect(c.touch("key", 1000), 1, "touch")
        expect(c.get("key"), b"value", "get")
        expect(c.touch("key", 1), 1, "touch")
        expect_soon(lambda: c.get("key"), None, "touched for one second")

    def expiry(self):
        c = self._client
        c.set("stays", b"1", time=1000)
        c.set("goes", b"2", time=1)
        expect_soon(lambda: c.get("goes"), None, "set for one second")
        expect(c.get("stays"), b"1", "set for 1000 seconds")

    def types(self):
        values = {"text": "ä€", "number": 7, "big": 1 << 70, "list": [1, {"a": None}],
                  "bytes": b"\0\r\n"}
        c = self._client
        expect(c.set_multi(values), [], "set_multi")
        expect(c.get_multi(list(values)), values, "get_multi")
        c.set("long", "long " * 1000, min_compress_len=100)
        expect(c.get("long"), "long " * 1000, "get of a compressed text")

    def binary_safe(self):
        c = self._client
        c.set("bytes", kit.ALL_BYTES)
        expect(c.get("bytes"), kit.ALL_BYTES, "get")

    def large_value(self):
        c = self._client
        expect(c.set("large", kit.LARGE), True, "set")
        expect(c.get("large"), kit.LARGE, "get")

    def too_large(self):
        c = self._client
        c.set("large", b"small")
        expect(c.set("large", kit.TOO_LARGE), False, "set")
        expect(c.get("large"), None, "get")

    def quiet(self):
        c = self._client
        c.set("n", 1, noreply=True)
        c.add("n", 2, noreply=True)
        c.incr("n", 5, noreply=True)
        c.touch("n", 100, noreply=True)
        c.delete("none", noreply=True)
        expect(c.get("n"), 6, "get")
        c.delete("n", noreply=True)
        expect(c.get("n"), None, "get of what was deleted")

    def flush(self):
        c = self._client
        c.set("key", b"value")
        c.flush_all()
        expect(c.get("key"), None, "get")

    def stats(self):
        (_, stats), = self._client.get_stats()
        expect(stats["version"].split(".")[:2], ["1", "6"], "version in stats")


kit.run("python-memcached", memcache.__version__, Steps(int(sys.argv[1])),
        {"gat": "no gat in its interface", "version": "no version in its interface"})
