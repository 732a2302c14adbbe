"""pylibmc, libmemcached through Python: with_pylibmc.py PORT text|binary"""
import itertools
import sys

import kit
from kit import expect, expect_error, expect_soon

try:
    import pylibmc
except ImportError as error:
    kit.not_installed(error)


class Steps:
    def __init__(self, port, binary):
        self._open = lambda **behaviors: pylibmc.Client(
            ["127.0.0.1:%d" % port], binary=binary,
            behaviors=dict(tcp_nodelay=True, receive_timeout=kit.PATIENCE * 1000000, **behaviors))
        self._client = self._open(cas=True)
        self._fresh = itertools.count()
        self._binary = binary

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
        expect(self._client.gets("none"), (None, None), "gets")

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
        expect(c.delete_multi(gone), True, "delete_multi")
        expect(c.get_multi(list(values)), {k: v for k, v in values.items() if k not in gone},
               "get_multi")

    def delete(self):
        c = self._client
        c.set("key", b"value")
        expect(c.delete("key"), True, "delete")
        expect(c.delete("key"), False, "delete again")
        expect(c.get("key"), None, "get")

    def add_replace(self):
        c = self._client
        c.delete("key")
        if self._binary:
            expect_error(pylibmc.NotFound, lambda: c.replace("key", b"1"), "replace of nothing")
        else:
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
        value, seen = c.gets("key")
        expect(value, b"1", "gets")
        expect(c.cas("key", b"2", seen), True, "cas")
        expect(c.cas("key", b"3", seen), False, "cas again")
        expect(c.get("key"), b"2", "get")
        c.delete("key")
        expect_error(pylibmc.NotFound, lambda: c.cas("key", b"1", seen), "cas of nothing")

    def incr_decr(self):
        c = self._client
        c.delete("n")
        expect_error(pylibmc.NotFound, lambda: c.incr("n"), "incr of nothing")
        c.set("n", 10)
        expect(c.incr("n", 5), 15, "incr")
        expect(c.decr("n", 6), 9, "decr")
        expect(c.get("n"), 9, "get of the number")
        expect(c.decr("n", 100), 0, "decr below nothing")
        c.set("n", (1 << 64) - 1)
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
        c.set("stays", b"1", time=1000)
        c.set("goes", b"2", time=1)
        expect_soon(lambda: c.get("goes"), None, "set for one second")
        expect(c.get("stays"), b"1", "set for 1000 seconds")

    def types(self):
        values = {"text": "ä€", "number": 7, "big": 1 << 40, "list": [1, {"a": None}],
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
        expect_error(pylibmc.Error, lambda: c.set("large", kit.TOO_LARGE), "set")
        expect(c.get("large"), None, "get")

    def quiet(self):
        quiet = self._open(_noreply=True)
        for i in range(100):
            quiet.set("quiet%d" % i, b"%d" % i)
        quiet.set("n", 1)
        quiet.delete("quiet7")
        expect(quiet.get("quiet99"), b"99", "get on the same connection")
        expect(quiet.get("quiet7"), None, "get of what was deleted")
        expect(self._client.get("quiet8"), b"8", "get on another connection")
        quiet.disconnect_all()

    def flush(self):
        c = self._client
        c.set("key", b"value")
        expect(c.flush_all(), True, "flush_all")
        expect(c.get("key"), None, "get")

    def stats(self):
        (_, stats), = self._client.get_stats()
        expect(stats["version"].split(b".")[:2], [b"1", b"6"], "version in stats")

    def no_block(self):
        """Sets are sent without waiting for what is answered."""
        c = self._open(no_block=True)
        for i in range(300):
            c.set("ahead%d" % i, b"%d" % i)
        expect(c.get("ahead299"), b"299", "get of the last")
        expect(c.get("ahead0"), b"0", "get of the first")
        c.disconnect_all()


kit.run("pylibmc", pylibmc.__version__, Steps(int(sys.argv[1]), sys.argv[2] == "binary"),
        {"gat": "no gat in its interface", "version": "no version in its interface"})
