"""Sends byte for byte what Dalli 5 (Ruby) sends, and reads the replies as it does.

No packaged version of Dalli speaks meta.  Requests() follows its request_formatter.rb, Replies()
its response_processor.rb: a status that is not among those Dalli waits for is an error here too,
and so is, beyond Dalli, a flag that was not asked for.

  like_dalli_5.py PORT
"""
import itertools
import re
import sys

import kit
from kit import Wrong, expect, expect_error, expect_soon
from meta_wire import Wire, from_base64, to_base64

NOT_ASCII_OR_BLANK = re.compile(r"[^\x00-\x7f]|\s")
SERIALIZED, COMPRESSED = 1, 2   # Dalli's bits in the client flags
MODE = {"set": "S", "add": "E", "replace": "R", "append": "A", "prepend": "P"}


def encode_key(key):
    """KeyRegularizer: (what is sent, whether it is base64)."""
    if NOT_ASCII_OR_BLANK.search(key):
        return to_base64(key.encode()), True
    return key, False


class Requests:
    """The order of the flags is Dalli's."""

    @staticmethod
    def meta_get(key, value=True, return_cas=False, ttl=None, quiet=False, vivify_ttl=None,
                 recache_ttl=None, hit_status=False, last_access=False, skip_bump=False):
        key, is_base64 = encode_key(key)
        flags = [("v f", value), ("c", return_cas), ("b", is_base64),
                 ("T%s" % ttl, ttl is not None), ("k q s", quiet),
                 ("N%s" % vivify_ttl, vivify_ttl is not None),
                 ("R%s" % recache_ttl, recache_ttl is not None), ("h", hit_status),
                 ("l", last_access), ("u", skip_bump)]
        return Requests._line("mg " + key, flags)

    @staticmethod
    def meta_set(key, value, bitflags=0, cas=None, ttl=0, mode="set", quiet=False):
        key, is_base64 = encode_key(key)
        flags = [("c", mode not in ("append", "prepend")), ("b", is_base64),
                 ("F%s" % bitflags, bitflags is not None), ("C%s" % cas, cas),
                 ("T%s" % ttl, ttl is not None), ("M" + MODE[mode], True), ("q", quiet)]
        return Requests._line("ms %s %d" % (key, len(value)), flags) + value + b"\r\n"

    @staticmethod
    def meta_delete(key, cas=None, ttl=None, quiet=False, stale=False):
        key, is_base64 = encode_key(key)
        flags = [("b", is_base64), ("C%s" % cas, cas), ("T%s" % ttl, ttl is not None),
                 ("I", stale), ("q", quiet)]
        return Requests._line("md " + key, flags)

    @staticmethod
    def meta_arithmetic(key, delta, initial=None, incr=True, cas=None, ttl=None, quiet=False):
        key, is_base64 = encode_key(key)
        flags = [("v", True), ("b", is_base64), ("D%s" % delta, True),
                 ("J%s" % initial, initial is not None),
                 ("N%s" % (ttl or 0), ttl is not None or initial is not None),
                 ("C%s" % cas, cas), ("q", quiet), ("M" + ("I" if incr else "D"), True)]
        return Requests._line("ma " + key, flags)

    @staticmethod
    def _line(start, flags):
        return " ".join([start] + [flag for flag, wanted in flags if wanted]).encode() + b"\r\n"


class DalliError(Exception):
    pass


class ServerError(DalliError):
    pass


def flag_of(tokens, letter):
    """value_from_tokens: the first token that starts with the letter."""
    for token in tokens:
        if token.startswith(letter):
            return token[1:]
    return None


def number_of(tokens, letter):
    text = flag_of(tokens, letter)
    if text is None or not re.fullmatch(r"-?\d+", text):
        raise Wrong("no number in flag %s of %r" % (letter, tokens))
    return int(text)


class Replies:
    def __init__(self, wire):
        self.wire = wire

    def tokens(self):
        line = self.wire.line().decode("latin1")
        if line != line.strip() or "  " in line:
            raise Wrong("stray blanks in %r" % line)
        return line.split(" ")

    def expected(self, *statuses):
        """error_on_unexpected!"""
        tokens = self.tokens()
        if tokens[0] in statuses:
            return tokens
        if tokens[0] == "SERVER_ERROR":
            raise ServerError(" ".join(tokens))
        raise DalliError("Response error: " + " ".join(tokens))

    @staticmethod
    def only(tokens, letters):
        """The flags of a reply must be these, in this order, then Z, X, W; it is what was asked."""
        start = 2 if tokens[0] == "VA" else 1
        got = "".join(t[0] for t in tokens[start:])
        if not re.fullmatch(letters + "Z?X?W?", got):
            raise Wrong("flags of %r are not %s" % (tokens, letters))

    def value(self, tokens):
        return self.wire.block(int(tokens[1]))

    def meta_get_with_value(self, flags="f"):
        """-> (value, client flags), or None."""
        tokens = self.expected("VA", "EN", "HD")
        if tokens[0] == "EN":
            expect(tokens, ["EN"], "miss")
            return None
        if tokens[0] != "VA":
            raise Wrong("%r has no value" % tokens)
        self.only(tokens, flags)
        return self.value(tokens), number_of(tokens, "f")

    def meta_get_with_value_and_cas(self):
        """-> (value, cas), (None, 0) for a miss."""
        tokens = self.expected("VA", "EN", "HD")
        if tokens[0] == "EN":
            return None, 0
        self.only(tokens, "fc")
        return self.value(tokens), number_of(tokens, "c")

    def meta_get_with_metadata(self, flags="fc"):
        tokens = self.expected("VA", "EN", "HD")
        found = {"value": None, "won_recache": "W" in tokens, "stale": "X" in tokens,
                 "lost_recache": "Z" in tokens, "cas": 0}
        if tokens[0] == "EN":
            return found
        self.only(tokens, flags)
        found["cas"] = number_of(tokens, "c")
        if "h" in flags:
            found["hit_before"] = number_of(tokens, "h") == 1
        if "l" in flags:
            found["last_access"] = number_of(tokens, "l")
        if tokens[0] == "VA":
            found["value"] = self.value(tokens)
        return found

    def meta_get_without_value(self):
        tokens = self.expected("EN", "HD")
        expect(len(tokens), 1, "words of %r" % tokens)
        return tokens[0] == "HD"

    def meta_set_with_cas(self):
        """-> the new cas number, or False."""
        tokens = self.expected("HD", "NS", "NF", "EX")
        self.only(tokens, "c")
        return number_of(tokens, "c") if tokens[0] == "HD" else False

    def meta_set_append_prepend(self):
        tokens = self.expected("HD", "NS", "NF", "EX")
        expect(len(tokens), 1, "words of %r" % tokens)
        return tokens[0] == "HD"

    def meta_delete(self):
        tokens = self.expected("HD", "NF", "EX")
        expect(len(tokens), 1, "words of %r" % tokens)
        return tokens[0] == "HD"

    def decr_incr(self):
        tokens = self.expected("VA", "NF", "NS", "EX")
        if tokens[0] == "NF":
            return None
        if tokens[0] != "VA":
            return False
        return int(self.value(tokens))

    def until_mn(self, *allowed):
        """consume_all_responses_until_mn, but only these statuses may come first."""
        while True:
            tokens = self.tokens()
            if tokens == ["MN"]:
                return
            if tokens[0] not in allowed:
                raise Wrong("%r before MN" % tokens)


class Client:
    def __init__(self, port):
        self.wire = Wire(port)
        self.replies = Replies(self.wire)
        self.wire.send(b"version\r\n")      # the first thing on every connection
        self.version = self.replies.expected("VERSION")[-1]

    def get(self, key):
        found = self.get_with_flags(key)
        return found and found[0]

    def get_with_flags(self, key):
        self.wire.send(Requests.meta_get(key))
        return self.replies.meta_get_with_value()

    def gat(self, key, ttl):
        self.wire.send(Requests.meta_get(key, ttl=ttl))
        found = self.replies.meta_get_with_value()
        return found and found[0]

    def touch(self, key, ttl):
        self.wire.send(Requests.meta_get(key, value=False, ttl=ttl))
        return self.replies.meta_get_without_value()

    def get_cas(self, key):
        self.wire.send(Requests.meta_get(key, return_cas=True))
        return self.replies.meta_get_with_value_and_cas()

    def get_with_metadata(self, key, **options):
        self.wire.send(Requests.meta_get(key, return_cas=True, **options))
        flags = "fc" + ("h" if options.get("hit_status") else "") + (
            "l" if options.get("last_access") else "")
        return self.replies.meta_get_with_metadata(flags)

    def store(self, key, value, **options):
        self.wire.send(Requests.meta_set(key, value, **options))
        if options.get("mode") in ("append", "prepend"):
            return self.replies.meta_set_append_prepend()
        return self.replies.meta_set_with_cas()

    def delete(self, key, **options):
        self.wire.send(Requests.meta_delete(key, **options))
        return self.replies.meta_delete()

    def count(self, key, delta, **options):
        self.wire.send(Requests.meta_arithmetic(key, delta, **options))
        return self.replies.decr_incr()

    def read_multi(self, keys):
        """read_multi_req, the way for one server: a line for each key, and mn."""
        self.wire.send(b"".join(b"mg %s v f k q\r\n" % k.encode() for k in keys) + b"mn\r\n")
        found = {}
        while True:
            tokens = self.replies.tokens()
            if tokens == ["MN"]:
                return found
            if tokens[0] != "VA" or len(tokens) != 4 or tokens[2][0] != "f" or tokens[3][0] != "k":
                raise Wrong("%r is not VA <size> f<flags> k<key>" % tokens)
            found[tokens[3][1:]] = self.replies.value(tokens)

    def pipelined_get(self, keys):
        """The way for several servers: with c, k, q and s; base64 keys are told by b."""
        self.wire.send(b"".join(Requests.meta_get(k, return_cas=True, quiet=True) for k in keys) +
                       b"mn\r\n")
        found = {}
        while True:
            tokens = self.replies.tokens()
            if tokens == ["MN"]:
                return found
            if tokens[0] != "VA":
                raise Wrong("%r in a quiet multi-get" % tokens)
            self.replies.only(tokens, "fcb?kb?s")
            expect(number_of(tokens, "s"), int(tokens[1]), "size in s")
            key = flag_of(tokens, "k")
            if "b" in tokens:
                key = from_base64(key).decode()
            found[key] = self.replies.value(tokens), number_of(tokens, "c")

    def write_multi(self, values):
        self.wire.send(b"".join(Requests.meta_set(k, v, quiet=True) for k, v in values.items()) +
                       b"mn\r\n")
        self.replies.until_mn()

    def delete_multi(self, keys):
        self.wire.send(b"".join(Requests.meta_delete(k, quiet=True) for k in keys) + b"mn\r\n")
        self.replies.until_mn("NF")

    def fetch_with_lock(self, key, make, ttl=0, lock_ttl=30, recache_threshold=None):
        """Who wins makes the value; the others take what is there, be it stale or None."""
        found = self.get_with_metadata(key, vivify_ttl=lock_ttl, recache_ttl=recache_threshold)
        if not found["won_recache"]:
            return found["value"]
        value = make()
        if not self.store(key, value, ttl=ttl):
            raise Wrong("the winner's set failed")
        return value

    def flush(self):
        self.wire.send(b"flush_all\r\n")
        return self.replies.expected("OK")

    def stats(self):
        self.wire.send(b"stats\r\n")
        found = {}
        while True:
            tokens = self.wire.line().decode().split()
            if tokens == ["END"]:
                return found
            expect(tokens[0], "STAT", "first word of %r" % tokens)
            found[tokens[1]] = tokens[2]


def truth(stored):
    """A cas number counts as true, whatever it is."""
    return stored is not False


class Steps:
    def __init__(self, port):
        self._port = port
        self._client = Client(port)
        self._fresh = itertools.count()

    def in_sync(self):
        value = b"sync %d" % next(self._fresh)
        expect(truth(self._client.store("sync", value)), True, "set after the step")
        expect(self._client.get("sync"), value, "get after the step")

    def formatter(self):
        """The requests themselves, as Dalli's own tests have them."""
        r = Requests
        expect(r.meta_get("k"), b"mg k v f\r\n", "get")
        expect(r.meta_get("k", value=False, ttl=9), b"mg k T9\r\n", "touch")
        expect(r.meta_get("k", return_cas=True, vivify_ttl=30, recache_ttl=10),
               b"mg k v f c N30 R10\r\n", "get with lock")
        expect(r.meta_get("\u00e9", return_cas=True, quiet=True), b"mg w6k= v f c b k q s\r\n",
               "get in a pipeline")
        expect(r.meta_set("k", b"v", cas=7, ttl=5), b"ms k 1 c F0 C7 T5 MS\r\nv\r\n", "set")
        expect(r.meta_set("k", b"v", bitflags=None, ttl=None, mode="append"),
               b"ms k 1 MA\r\nv\r\n", "append")
        expect(r.meta_delete("k", cas=7, stale=True), b"md k C7 I\r\n", "delete_stale")
        expect(r.meta_arithmetic("k", 5, initial=0, ttl=60, incr=False),
               b"ma k v D5 J0 N60 MD\r\n", "decr")

    def set_get(self):
        c = self._client
        expect(truth(c.store("key", b"value", ttl=300)), True, "set")
        expect(c.get("key"), b"value", "get")
        expect(truth(c.store("key", b"")), True, "set of nothing")
        expect(c.get("key"), b"", "get of nothing")

    def missing(self):
        c = self._client
        expect(c.get("none"), None, "get")
        expect(c.get_cas("none"), (None, 0), "get_cas")
        expect(c.get_with_metadata("none")["value"], None, "get with metadata")

    def multi_get(self):
        c = self._client
        for k, v in {"m1": b"1", "m2": kit.TINY, "m3": b"3"}.items():
            c.store(k, v)
        expect(c.read_multi(["m1", "none", "m2", "m3"]), {"m1": b"1", "m2": kit.TINY, "m3": b"3"},
               "get_multi")
        expect(c.read_multi(["none", "nor"]), {}, "get_multi of nothing")
        found = c.pipelined_get(["m3", "none", "m1"])
        expect({k: v for k, (v, _) in found.items()}, {"m1": b"1", "m3": b"3"}, "get_multi_cas")
        expect(found["m1"][1], c.get_cas("m1")[1], "cas in get_multi_cas")

    def wide_multi_get(self):
        c = self._client
        values = {"wide%d" % i: b"%d" % i * (i % 50) for i in range(kit.WIDE)}
        c.write_multi(values)
        gone = ["wide%d" % i for i in range(0, kit.WIDE, 5)]
        c.delete_multi(gone + ["none"])
        expect(c.read_multi(list(values)), {k: v for k, v in values.items() if k not in gone},
               "get_multi")

    def delete(self):
        c = self._client
        seen = c.store("key", b"value")
        expect(c.delete("key", cas=seen + 1), False, "delete of another version")
        expect(c.delete("key", cas=seen), True, "delete of this version")
        expect(c.delete("key"), False, "delete again")
        expect(c.get("key"), None, "get")

    def add_replace(self):
        c = self._client
        c.delete("key")
        expect(c.store("key", b"1", mode="replace"), False, "replace of nothing")
        expect(truth(c.store("key", b"2", mode="add")), True, "add")
        expect(c.store("key", b"3", mode="add"), False, "add again")
        expect(c.get("key"), b"2", "get after add")
        expect(truth(c.store("key", b"4", mode="replace")), True, "replace")
        expect(c.get("key"), b"4", "get after replace")

    def append_prepend(self):
        c = self._client
        c.delete("key")
        plain = {"bitflags": None, "ttl": None}
        expect(c.store("key", b"1", mode="append", **plain), False, "append to nothing")
        expect(c.store("key", b"1", mode="prepend", **plain), False, "prepend to nothing")
        c.store("key", b"middle", bitflags=5)
        expect(c.store("key", b" end\r\n", mode="append", **plain), True, "append")
        expect(c.store("key", b"start ", mode="prepend", **plain), True, "prepend")
        expect(c.get_with_flags("key"), (b"start middle end\r\n", 5), "get")

    def cas(self):
        c = self._client
        first = c.store("key", b"1")
        expect(c.get_cas("key"), (b"1", first), "get_cas shows the number that set has answered")
        second = c.store("key", b"2", cas=first)
        expect(truth(second) and second != first, True, "set_cas answers a new number")
        expect(c.store("key", b"3", cas=first), False, "set_cas again")
        expect(c.store("key", b"4", cas=first, mode="replace"), False, "replace_cas too late")
        expect(c.get_cas("key"), (b"2", second), "get_cas")
        c.delete("key")
        expect(c.store("key", b"5", cas=second), False, "set_cas of nothing")
        expect(c.get("key"), None, "get")

    def incr_decr(self):
        c = self._client
        c.delete("n")
        expect(c.count("n", 1), None, "incr of nothing")
        expect(c.count("n", 1, initial=10, ttl=100), 10, "incr with a default")
        expect(c.count("n", 5, initial=10, ttl=100), 15, "incr")
        expect(c.count("n", 6, incr=False), 9, "decr")
        expect(c.count("n", 100, incr=False), 0, "decr below nothing")
        c.store("n", b"text")
        expect_error(DalliError, lambda: c.count("n", 1), "incr of a text")

    def touch(self):
        c = self._client
        expect(c.touch("none", 10), False, "touch of nothing")
        c.store("key", b"value")
        expect(c.touch("key", 1000), True, "touch")
        expect(c.get("key"), b"value", "get")
        expect(c.touch("key", 1), True, "touch")
        expect_soon(lambda: c.get("key"), None, "touched for one second")

    def gat(self):
        c = self._client
        expect(c.gat("none", 10), None, "gat of nothing")
        c.store("key", b"value")
        expect(c.gat("key", 1), b"value", "gat")
        expect_soon(lambda: c.get("key"), None, "touched for one second")

    def expiry(self):
        c = self._client
        c.store("stays", b"1", ttl=1000)
        c.store("goes", b"2", ttl=1)
        expect_soon(lambda: c.get("goes"), None, "set for one second")
        expect(c.get("stays"), b"1", "set for 1000 seconds")

    def types(self):
        """Dalli keeps in two bits of the flags how it has written a value."""
        c = self._client
        for bits in (0, SERIALIZED, COMPRESSED, SERIALIZED | COMPRESSED, (1 << 32) - 1):
            c.store("object", b"\x04\x08[\x06i\x07", bitflags=bits)
            expect(c.get_with_flags("object"), (b"\x04\x08[\x06i\x07", bits), "get")

    def binary_safe(self):
        c = self._client
        c.store("bytes", kit.ALL_BYTES)
        expect(c.get("bytes"), kit.ALL_BYTES, "get")

    def large_value(self):
        c = self._client
        expect(truth(c.store("large", kit.LARGE)), True, "set")
        expect(c.get("large"), kit.LARGE, "get")
        expect(c.read_multi(["large", "none"]), {"large": kit.LARGE}, "get_multi")

    def too_large(self):
        """Dalli refuses by itself what is larger than 1 MB, unless it is told another limit."""
        c = self._client
        c.store("large", b"small")
        expect_error(ServerError, lambda: c.store("large", kit.TOO_LARGE), "set")
        expect(c.get("large"), None, "get")

    def quiet(self):
        """What client.quiet { } sends: nothing is answered until mn, but what has failed."""
        c = self._client
        c.delete("gone")
        c.write_multi({"quiet": b"1"})
        c.wire.send(Requests.meta_set("quiet", b"2", mode="add", quiet=True) +
                    Requests.meta_set("quiet", b"3", mode="replace", quiet=True) +
                    Requests.meta_set("quiet", b"4", mode="append", bitflags=None, ttl=None,
                                      quiet=True) +
                    Requests.meta_arithmetic("quiet", 6, quiet=True) +
                    Requests.meta_delete("gone", quiet=True) + b"mn\r\n")
        expect([c.replies.tokens() for _ in range(3)], [["NS", "c0"], ["NF"], ["MN"]], "replies")
        expect(c.get("quiet"), b"40", "get")
        c.wire.send(b"flush_all noreply\r\nmn\r\n")
        expect(c.replies.tokens(), ["MN"], "after a quiet flush")
        expect(c.get("quiet"), None, "get after a quiet flush")

    def flush(self):
        c = self._client
        c.store("key", b"value")
        expect(c.flush(), ["OK"], "flush_all")
        expect(c.get("key"), None, "get")

    def version(self):
        """At connect; Dalli 5 refuses to work below 1.6."""
        expect(self._client.version.split(".")[:2], ["1", "6"], "version")

    def base64_keys(self):
        c = self._client
        for key in ("clé", "鍵" * 20, "with blank", "tab\tand\nline"):
            c.delete(key)
            expect(c.get(key), None, "get of nothing")
            expect(truth(c.store(key, key.encode())), True, "set")
            expect(c.get(key), key.encode(), "get")
            expect({k: v for k, (v, _) in c.pipelined_get([key, "none"]).items()},
                   {key: key.encode()}, "get_multi")
            expect(c.store(key, b"+", mode="append", bitflags=None, ttl=None), True, "append")
            expect(c.touch(key, 100), True, "touch")
            expect(c.delete(key), True, "delete")
            expect(c.count(key, 2, initial=7, ttl=0), 7, "incr with a default")
            expect(c.count(key, 2), 9, "incr")

    def lock_on_miss(self):
        """fetch_with_lock of nothing: one client wins, the others get nothing and no error."""
        one, two = self._client, Client(self._port)
        one.delete("lock")

        def make_slowly():
            found = two.get_with_metadata("lock", vivify_ttl=30)
            expect((found["won_recache"], found["lost_recache"], found["value"]),
                   (False, True, b""), "what another client gets meanwhile")
            return b"made"

        expect(one.fetch_with_lock("lock", make_slowly), b"made", "fetch_with_lock")
        expect(two.fetch_with_lock("lock", lambda: b"again"), b"made", "fetch_with_lock of a hit")
        found = two.get_with_metadata("lock", vivify_ttl=30)
        expect((found["won_recache"], found["lost_recache"], found["stale"]),
               (False, False, False), "marks after the value was made")
        two.wire.close()

    def lock_before_expiry(self):
        """recache_threshold: one client makes a value anew before it expires."""
        one, two = self._client, Client(self._port)
        one.store("lock", b"old", ttl=1000)
        expect(one.fetch_with_lock("lock", lambda: b"new", recache_threshold=10), b"old",
               "far from expiry")

        def make_slowly():
            found = two.get_with_metadata("lock", vivify_ttl=30, recache_ttl=2000)
            expect((found["won_recache"], found["lost_recache"], found["value"]),
                   (False, True, b"old"), "what another client gets meanwhile")
            return b"new"

        expect(one.fetch_with_lock("lock", make_slowly, ttl=5000, recache_threshold=2000), b"new",
               "near expiry")
        expect(two.fetch_with_lock("lock", lambda: b"no", recache_threshold=2000), b"new",
               "afterwards")
        two.wire.close()

    def delete_stale(self):
        """md I: the value stays, one client is told to make it anew."""
        one, two = self._client, Client(self._port)
        seen = one.store("stale", b"old", bitflags=3)
        expect(one.delete("stale", cas=seen + 1, stale=True), False, "of another version")
        expect(one.delete("stale", cas=seen, stale=True), True, "of this version")
        found = [c.get_with_metadata("stale") for c in (one, two, one)]
        expect([(f["value"], f["stale"], f["won_recache"], f["lost_recache"]) for f in found],
               [(b"old", True, True, False), (b"old", True, False, True),
                (b"old", True, False, True)], "three gets")
        expect(one.store("stale", b"new", cas=seen), False, "set_cas with the number before")
        expect(truth(one.store("stale", b"new", cas=found[0]["cas"])), True, "set_cas")
        found = two.get_with_metadata("stale")
        expect((found["value"], found["stale"], found["lost_recache"]), (b"new", False, False),
               "get of the new one")
        expect(one.delete("none", stale=True), False, "of nothing")
        two.wire.close()

    def metadata(self):
        c = self._client
        c.store("meta", b"value")
        found = c.get_with_metadata("meta", hit_status=True, last_access=True, skip_bump=True)
        expect(found["hit_before"], False, "hit before, at first")
        found = c.get_with_metadata("meta", hit_status=True)
        expect(found["hit_before"], False, "hit before, after one that did not count")
        found = c.get_with_metadata("meta", hit_status=True, last_access=True)
        expect(found["hit_before"], True, "hit before")
        expect(0 <= found["last_access"] < 1000, True, "seconds since the last access")

    def stats(self):
        found = self._client.stats()
        expect(found["version"], self._client.version, "version in stats")


kit.run("like Dalli 5", "-", Steps(int(sys.argv[1])), {})
