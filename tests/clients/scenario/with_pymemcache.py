"""pymemcache: with_pymemcache.py PORT"""
import itertools
import sys

import kit
from kit import expect, expect_error, expect_soon

try:
    import pymemcache
    from pymemcache import serde
    from pymemcache.client.base import Client
    from pymemcache.exceptions import MemcacheServerError
except ImportError as error:
    kit.not_installed(error)


class Steps:
    def __init__(self, port):
        self._address = ("127.0.0.1", port)
        self._client = Client(self._address, timeout=kit.PATIENCE, no_delay=True,
                              default_noreply=False)
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
        expect(c.set_many({"many1": b"1", "many2": b"2"}), [], "set_many")
        expect(c.get("many2"), b"2", "get of one of many")

    def missing(self):
        c = self._client
        expect(c.get("none"), None, "get")
        expect(c.gets("none"), (None, None), "gets")

    def multi_get(self):
        c = self._client
        c.set_many({"m1": b"1", "m2": kit.TINY, "m3": b"3"})
        expect(c.get_many(["m1", "none", "m2", "m3"]), {"m1": b"1", "m2": kit.TINY, "m3": b"3"},
               "get_many")
        expect(c.get_many(["none", "nor"]), {}, "get_many of nothing")
        answer = c.gets_many(["m1", "none", "m3"])
        expect({k: v for k, (v, _) in answer.items()}, {"m1": b"1", "m3": b"3"}, "gets_many")

    def wide_multi_get(self):
        c = self._client
        values = {"wide%d" % i: b"%d" % i * (i % 50) for i in range(kit.WIDE)}
        expect(c.set_many(values), [], "set_many")
        gone = ["wide%d" % i for i in range(0, kit.WIDE, 5)]
        expect(c.delete_many(gone), True, "delete_many")
        expect(c.get_many(list(values)), {k: v for k, v in values.items() if k not in gone},
               "get_many")

    def delete(self):
        c = self._client
        c.set("key", b"value")
        expect(c.delete("key"), True, "delete")
        expect(c.delete("key"), False, "delete again")
        expect(c.get("key"), None, "get")

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
        c.delete("key")
        expect(c.cas("key", b"1", b"1"), None, "cas of nothing")
        c.set("key", b"1")
        value, seen = c.gets("key")
        expect(value, b"1", "gets")
        expect(c.cas("key", b"2", seen), True, "cas")
        expect(c.cas("key", b"3", seen), False, "cas again")
        expect(c.get("key"), b"2", "get")

    def incr_decr(self):
        c = self._client
        c.delete("n")
        expect(c.incr("n", 1), None, "incr of nothing")
        c.set("n", b"10")
        expect(c.incr("n", 5), 15, "incr")
        expect(c.decr("n", 6), 9, "decr")
        expect(c.decr("n", 100), 0, "decr below nothing")
        c.set("n", b"18446744073709551615")
        expect(c.incr("n", 1), 0, "incr beyond 64 bits")

    def touch(self):
        c = self._client
        expect(c.touch("none", 10), False, "touch of nothing")
        c.set("key", b"value")
        expect(c.touch("key", 1000), True, "touch")
        expect(c.get("key"), b"value", "get")
        expect(c.touch("key", 1), True, "touch")
        expect_soon(lambda: c.get("key"), None, "touched for one second")

    def expiry(self):
        c = self._client
        c.set_many({"stays": b"1"}, expire=1000)
        c.set("goes", b"2", expire=1)
        expect_soon(lambda: c.get("goes"), None, "set for one second")
        expect(c.get("stays"), b"1", "set for 1000 seconds")
        c.set("gone", b"3", expire=-1)
        expect(c.get("gone"), None, "set for less than nothing")

    def types(self):
        values = {"text": "ä€", "number": 7, "list": [1, {"a": None}], "bytes": b"\0\r\n"}
        c = Client(self._address, timeout=kit.PATIENCE, serde=serde.pickle_serde)
        expect(c.set_many(values), [], "set_many")
        expect(c.get_many(list(values)), values, "get_many")
        c.close()

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
        expect_error(MemcacheServerError, lambda: c.set("large", kit.TOO_LARGE), "set")
        expect(c.get("large"), None, "get")

    def quiet(self):
        c = self._client
        c.set("n", b"1", noreply=True)
        c.add("n", b"2", noreply=True)
        c.incr("n", 5, noreply=True)
        c.append("n", b"0", noreply=True)
        c.touch("n", 100, noreply=True)
        c.delete("none", noreply=True)
        expect(c.get("n"), b"60", "get")
        c.delete("n", noreply=True)
        expect(c.get("n"), None, "get of what was deleted")

    def flush(self):
        c = self._client
        c.set("key", b"value")
        expect(c.flush_all(), True, "flush_all")
        expect(c.get("key"), None, "get")

    def version(self):
        number = self._client.version()
        expect(number.split(b".")[:2], [b"1", b"6"], "version")

    def stats(self):
        c = self._client
        before = c.stats()[b"cmd_touch"]
        c.touch("none", 1)
        expect(c.stats()[b"cmd_touch"], before + 1, "cmd_touch")


kit.run("pymemcache", pymemcache.__version__, Steps(int(sys.argv[1])),
        {"gat": "version 3 has no gat"})
