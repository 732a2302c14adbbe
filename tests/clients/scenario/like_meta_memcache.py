"""Sends what meta-memcache-py (Python) sends, and reads the replies as it does.

No packaged version of it exists.  build() puts flags into the order of its RequestFlags, Wire and
Replies keep its rules: a command without reply is followed by mn, whatever comes before that MN is
thrown away; EN and NF are a Miss, NS NotStored, EX a Conflict, HD Success, VA a Value, anything
else an error.  Beyond the library, a flag that was not asked for is an error.

  like_meta_memcache.py PORT
"""
import collections
import hashlib
import itertools
import pickle
import re
import sys
import zlib

import kit
from kit import Wrong, expect, expect_error, expect_soon
from meta_wire import Wire, to_base64

MAX_KEY_SIZE = 250
LARGE_KEY_HASH_SIZE = 18
STR, PICKLE, INT, ZLIB, BINARY = 0, 1, 2, 8, 16     # MixedSerializer's client flags


class MemcacheError(Exception):
    pass


class ServerError(MemcacheError):
    pass


def encode_key(key):
    """-> (what is sent, whether it is base64): long keys are hashed, others sent in base64."""
    data = key.encode()
    if len(data) > MAX_KEY_SIZE:
        data = hashlib.blake2b(data, digest_size=LARGE_KEY_HASH_SIZE).digest()
        return to_base64(data), True
    if any(byte <= 0x20 or byte > 0x7e for byte in data):
        return to_base64(data), True
    return key, False


# In this order: those without an argument, then those with one.
NAMED_FLAGS = (
    ("no_reply", "q"), ("return_client_flag", "f"), ("return_cas_token", "c"),
    ("return_value", "v"), ("return_ttl", "t"), ("return_size", "s"), ("return_last_access", "l"),
    ("return_fetched", "h"), ("return_key", "k"), ("no_update_lru", "u"), ("mark_stale", "I"))
FLAGS_WITH_ARGUMENT = (
    ("cache_ttl", "T"), ("recache_ttl", "R"), ("vivify_on_miss_ttl", "N"), ("client_flag", "F"),
    ("ma_initial_value", "J"), ("ma_delta_value", "D"), ("cas_token", "C"), ("opaque", "O"),
    ("mode", "M"), ("new_cas", "E"))
SENT_BACK = "fcvtslhkOb"    # request flags that a reply repeats, in the order of the request


def build(command, key, value=None, **flags):
    """One request, and the letters that its reply has when all goes well."""
    text, is_base64 = encode_key(key)
    words = [command, text] + ([] if value is None else [str(len(value))])
    words += ["b"] if is_base64 else []
    words += [letter for name, letter in NAMED_FLAGS if flags.pop(name, False)]
    words += ["%s%s" % (letter, flags.pop(name)) for name, letter in FLAGS_WITH_ARGUMENT
              if flags.get(name) is not None]
    assert not any(v for v in flags.values()), flags
    line = " ".join(words).encode() + b"\r\n"
    return line if value is None else line + value + b"\r\n"


Value = collections.namedtuple("Value", "flags value")
Success = collections.namedtuple("Success", "flags")
Miss, NotStored, Conflict = "Miss", "NotStored", "Conflict"
Flags = collections.namedtuple(
    "Flags", "client_flag cas_token ttl size last_access fetched key opaque win stale letters")
NUMBERS = {"f": "client_flag", "c": "cas_token", "t": "ttl", "s": "size", "l": "last_access"}


def read_flags(tokens):
    found = dict.fromkeys(Flags._fields)
    found["stale"] = False
    found["letters"] = "".join(t[0] for t in tokens)
    for token in tokens:
        letter, argument = token[0], token[1:]
        if letter in NUMBERS:
            if not re.fullmatch(r"-?\d+", argument):
                raise Wrong("no number in flag %r" % token)
            found[NUMBERS[letter]] = int(argument)
        elif letter == "h":
            found["fetched"] = argument == "1"
        elif letter == "k":
            found["key"] = argument
        elif letter == "O":
            found["opaque"] = argument
        elif token == "W":
            found["win"] = True
        elif token == "Z":
            found["win"] = False
        elif token == "X":
            found["stale"] = True
        elif token != "b":
            raise Wrong("flag %r of a reply" % token)
    return Flags(**found)


class Connection:
    def __init__(self, port):
        self.wire = Wire(port)
        self.noops_expected = 0

    def send(self, request, no_reply=False):
        if no_reply:
            self.noops_expected += 1
            request += b"mn\r\n"
        self.wire.send(request)

    def reply(self):
        while self.noops_expected:
            if self._response() == "MN":
                self.noops_expected -= 1
        return self._response()

    def _response(self):
        line = self.wire.line().decode("latin1")
        tokens = line.split(" ")
        status = tokens[0]
        if status == "VA":
            return Value(read_flags(tokens[2:]), self.wire.block(int(tokens[1])))
        if status == "HD":
            return Success(read_flags(tokens[1:]))
        if status in ("EN", "NF"):
            return Miss
        if status == "NS":
            return NotStored
        if status == "EX":
            return Conflict
        if status == "MN":
            return "MN"
        if status == "SERVER_ERROR":
            raise ServerError(line)
        raise MemcacheError("Unknown response: " + line)


DEFAULT_GET = {"return_value": True, "return_ttl": True, "return_client_flag": True,
               "return_last_access": True, "return_fetched": True}
LETTERS_OF_GET = "ftlh"


class Client:
    """The low level commands; and of the high level ones those that have rules of their own."""

    def __init__(self, port):
        self.connection = Connection(port)

    def meta(self, command, key, value=None, **flags):
        no_reply = flags.get("no_reply", False)
        self.connection.send(build(command, key, value, **flags), no_reply)
        return Success(read_flags([])) if no_reply else self.connection.reply()

    def get_value(self, key, **flags):
        """A Value or None, as get()."""
        wanted = dict(DEFAULT_GET, **flags)
        found = self.meta("mg", key, **wanted)
        return self.checked(found, wanted)

    @staticmethod
    def checked(found, wanted):
        if found == Miss:
            return None
        if not isinstance(found, Value):
            raise MemcacheError("Unexpected response: %r" % (found,))
        letters = "fc" + LETTERS_OF_GET[1:] if wanted.get("return_cas_token") else LETTERS_OF_GET
        if not re.fullmatch(letters + "Z?X?W?", found.flags.letters):
            raise Wrong("flags of the reply are %s, not %s" % (found.flags.letters, letters))
        return found

    def get(self, key, **flags):
        found = self.get_value(key, **flags)
        return None if found is None else load(found)

    def get_cas(self, key):
        found = self.get_value(key, return_cas_token=True)
        return (None, None) if found is None else (load(found), found.flags.cas_token)

    def multi_get(self, keys, **flags):
        """All requests are sent before the first reply is read; replies come in order."""
        wanted = dict(DEFAULT_GET, **flags)
        self.connection.send(b"".join(build("mg", k, **wanted) for k in keys))
        found = ((k, self.checked(self.connection.reply(), wanted)) for k in keys)
        return {k: None if v is None else load(v) for k, v in found}

    def set(self, key, value, ttl=0, cas_token=None, no_reply=False, mark_stale=False, mode="S"):
        """mark_stale: StalePolicy(mark_stale_on_cas_mismatch), only together with a cas_token."""
        data, client_flag = dump(value)
        found = self.meta("ms", key, data, client_flag=client_flag, cache_ttl=ttl,
                          cas_token=cas_token, no_reply=no_reply,
                          mark_stale=mark_stale and cas_token is not None, mode=mode)
        return self.succeeded(found, NotStored, Conflict, Miss)

    def delete(self, key, cas_token=None, no_reply=False, stale_ttl=None):
        """stale_ttl: StalePolicy(mark_stale_on_deletion_ttl)."""
        found = self.meta("md", key, cas_token=cas_token, no_reply=no_reply,
                          mark_stale=stale_ttl is not None, cache_ttl=stale_ttl)
        return self.succeeded(found, Conflict, Miss)

    def touch(self, key, ttl, no_reply=False):
        found = self.meta("mg", key, no_reply=no_reply, cache_ttl=ttl)
        return self.succeeded(found, Miss)

    def delta(self, key, delta, **flags):
        """delta(), delta_initialize(), delta_and_get(): by the flags."""
        found = self.meta("ma", key, ma_delta_value=abs(delta), mode="D" if delta < 0 else "I",
                          **flags)
        if isinstance(found, Value):
            if not re.fullmatch(rb"\d+", found.value):
                raise Wrong("%r is not a number" % found.value)
            return int(found.value)
        return self.succeeded(found, Miss, NotStored, Conflict)

    @staticmethod
    def succeeded(found, *failures):
        if isinstance(found, Success):
            expect(found.flags.letters, "", "flags of a Success that asked for none")
            return True
        if found in failures:
            return False
        raise MemcacheError("Unexpected response: %r" % (found,))

    def get_or_lease(self, key, lease_ttl=30):
        """One try of it: "lease" for who shall make the value, "wait" for the others."""
        found = self.get_value(key, vivify_on_miss_ttl=lease_ttl, return_cas_token=True)
        if found is None:
            raise MemcacheError("a lease was not given, but a miss")
        if found.flags.win:
            return "lease", found.flags.cas_token
        if not found.value and found.flags.win is False:
            return "wait", found.flags.cas_token
        return load(found), found.flags.cas_token


def dump(value):
    if isinstance(value, bytes):
        return value, BINARY
    if isinstance(value, str):
        data = value.encode()
        return (zlib.compress(data), STR | ZLIB) if len(data) > 1000 else (data, STR)
    if isinstance(value, int) and not isinstance(value, bool):
        return b"%d" % value, INT
    return pickle.dumps(value), PICKLE


def load(found):
    data, flag = found.value, found.flags.client_flag
    if flag & ZLIB:
        data, flag = zlib.decompress(data), flag & ~ZLIB
    return {STR: bytes.decode, PICKLE: pickle.loads, INT: int, BINARY: bytes}[flag](data)


class Steps:
    def __init__(self, port):
        self._port = port
        self._client = Client(port)
        self._fresh = itertools.count()

    def in_sync(self):
        value = "sync %d" % next(self._fresh)
        expect(self._client.set("sync", value), True, "set after the step")
        expect(self._client.get("sync"), value, "get after the step")

    def set_get(self):
        c = self._client
        expect(c.set("key", b"value", ttl=300), True, "set")
        expect(c.get("key"), b"value", "get")
        found = c.get_value("key").flags
        expect(100 < found.ttl <= 300, True, "seconds left are about 300")
        expect(c.set("key", b"", ttl=None), True, "set of nothing, without a ttl")
        expect(c.get("key"), b"", "get of nothing")
        expect(c.get_value("key").flags.ttl, -1, "no end")

    def missing(self):
        c = self._client
        expect(c.get("none"), None, "get")
        expect(c.get_cas("none"), (None, None), "get_cas")
        expect(c.get("none", recache_ttl=30), None, "get with a recache policy")

    def multi_get(self):
        c = self._client
        values = {"m1": b"1", "m2": kit.TINY, "m3": "3"}
        for k, v in values.items():
            c.set(k, v)
        expect(c.multi_get(["m1", "none", "m2", "m3"]), dict(values, none=None), "multi_get")
        expect(c.multi_get(["none", "nor"]), {"none": None, "nor": None}, "multi_get of nothing")

    def wide_multi_get(self):
        c = self._client
        values = {"wide%d" % i: b"%d" % i * (i % 50) for i in range(kit.WIDE)}
        for k, v in values.items():
            c.set(k, v, no_reply=True)
        for i in range(0, kit.WIDE, 5):
            c.delete("wide%d" % i, no_reply=True)
            values["wide%d" % i] = None
        expect(c.multi_get(list(values)), values, "multi_get")

    def delete(self):
        c = self._client
        c.set("key", b"value")
        _, token = c.get_cas("key")
        expect(c.delete("key", cas_token=token + 1), False, "delete of another version")
        expect(c.delete("key", cas_token=token), True, "delete of this version")
        expect(c.delete("key"), False, "delete again")
        expect(c.get("key"), None, "get")

    def add_replace(self):
        c = self._client
        c.delete("key")
        expect(c.set("key", b"1", mode="R"), False, "replace of nothing")
        expect(c.set("key", b"2", mode="E"), True, "add")
        expect(c.set("key", b"3", mode="E"), False, "add again")
        expect(c.get("key"), b"2", "get after add")
        expect(c.set("key", b"4", mode="R"), True, "replace")
        expect(c.get("key"), b"4", "get after replace")

    def append_prepend(self):
        c = self._client
        c.delete("key")
        expect(c.set("key", b"1", mode="A"), False, "append to nothing")
        expect(c.set("key", b"1", mode="P"), False, "prepend to nothing")
        c.set("key", b"middle")
        expect(c.set("key", b" end\r\n", mode="A"), True, "append")
        expect(c.set("key", b"start ", mode="P"), True, "prepend")
        expect(c.get("key"), b"start middle end\r\n", "get")

    def cas(self):
        c = self._client
        c.set("key", b"1")
        value, token = c.get_cas("key")
        expect(value, b"1", "get_cas")
        expect(c.set("key", b"2", cas_token=token), True, "cas")
        expect(c.set("key", b"3", cas_token=token), False, "cas again")
        expect(c.get("key"), b"2", "get")
        c.delete("key")
        expect(c.set("key", b"4", cas_token=token), False, "cas of nothing")

    def incr_decr(self):
        c = self._client
        c.delete("n")
        expect(c.delta("n", 1), False, "delta of nothing")
        expect(c.delta("n", 1, return_value=True, ma_initial_value=10, vivify_on_miss_ttl=60), 10,
               "delta_initialize_and_get")
        expect(c.get_value("n").flags.ttl > 50, True, "seconds left are about 60")
        expect(c.delta("n", 5), True, "delta")
        expect(c.delta("n", -6, return_value=True), 9, "delta_and_get")
        expect(c.delta("n", -100, return_value=True), 0, "delta below nothing")
        expect(c.delta("n", 7, no_reply=True), True, "delta without reply")
        expect(c.delta("n", 1, return_value=True, cache_ttl=500), 8, "delta with refresh_ttl")
        expect(c.get_value("n").flags.ttl > 400, True, "seconds left are about 500")
        c.set("n", "text")
        expect_error(MemcacheError, lambda: c.delta("n", 1), "delta of a text")

    def touch(self):
        c = self._client
        expect(c.touch("none", 10), False, "touch of nothing")
        c.set("key", b"value")
        expect(c.touch("key", 1000), True, "touch")
        expect(c.get_value("key").flags.ttl > 900, True, "seconds left are about 1000")
        expect(c.touch("key", 1), True, "touch")
        expect_soon(lambda: c.get("key"), None, "touched for one second")

    def gat(self):
        c = self._client
        expect(c.get("none", cache_ttl=10), None, "get with touch_ttl of nothing")
        c.set("key", b"value")
        expect(c.get("key", cache_ttl=1), b"value", "get with touch_ttl")
        expect_soon(lambda: c.get("key"), None, "touched for one second")

    def expiry(self):
        c = self._client
        c.set("stays", b"1", ttl=1000)
        c.set("goes", b"2", ttl=1)
        expect_soon(lambda: c.get("goes"), None, "set for one second")
        expect(c.get("stays"), b"1", "set for 1000 seconds")

    def types(self):
        c = self._client
        for value in ("ä€", "long " * 1000, 7, -1 << 70, [1, {"a": None}], True, b"\0\r\n"):
            c.set("object", value)
            expect(c.get("object"), value, "get")

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
        expect_error(ServerError, lambda: c.set("large", kit.TOO_LARGE), "set")
        expect(c.get("large"), None, "get")

    def quiet(self):
        """What fails is said in spite of q, and thrown away before the MN that follows."""
        c = self._client
        c.delete("gone")
        expect(c.set("n", 1, no_reply=True), True, "set")
        expect(c.set("n", 2, no_reply=True, mode="E"), True, "add, nobody hears that it failed")
        expect(c.delete("gone", no_reply=True), True, "delete of nothing")
        expect(c.delta("n", 5, no_reply=True), True, "delta")
        expect(c.touch("n", 100, no_reply=True), True, "touch")
        expect(c.get("n"), 6, "get")
        c.delete("n", no_reply=True)
        expect(c.get("n"), None, "get of what was deleted")

    def unicode_keys(self):
        c = self._client
        for key in ("clé", "鍵" * 60, "with blank", "\x7f"):
            expect(c.set(key, key), True, "set")
            expect(c.get(key), key, "get")
            expect(c.multi_get([key, "none"]), {key: key, "none": None}, "multi_get")
            _, token = c.get_cas(key)
            expect(c.set(key, "new", cas_token=token), True, "cas")
            expect(c.delete(key), True, "delete")
            expect(c.delta(key, 1, return_value=True, ma_initial_value=3, vivify_on_miss_ttl=0), 3,
                   "delta_initialize_and_get")

    def long_keys(self):
        c = self._client
        limit, hashed, other = "k" * 250, "k" * 251, "k" * 252
        for key in (limit, hashed, other):
            c.set(key, "%d" % len(key))
        expect(c.multi_get([other, limit, hashed]), {limit: "250", hashed: "251", other: "252"},
               "multi_get")
        expect(c.delete(hashed), True, "delete")
        expect(c.get(other), "252", "get")

    def echoed_keys(self):
        """k, b and O come back as they were sent, on hits and on misses."""
        c = self._client
        c.set("key", b"v")
        c.set("clé", b"v")
        for key, wanted in (("key", ["kkey", "O7"]), ("clé", ["b", "kY2zDqQ==", "O7"])):
            found = c.meta("mg", key, return_key=True, opaque=7).flags
            expect((found.key, found.opaque), (wanted[-2][1:], "7"), "key and opaque")
            expect("b" in found.letters, len(wanted) == 3, "b says that the key is base64")
        c.connection.send(build("mg", "none", return_key=True, opaque="end"))
        expect(c.connection.wire.line().split()[1:], [b"knone", b"Oend"], "echo of a miss")

    def lease_on_miss(self):
        """get_or_lease: one client is to make the value, the others wait for it."""
        one, two = self._client, Client(self._port)
        one.delete("lease")
        answer, token = one.get_or_lease("lease")
        expect(answer, "lease", "the first")
        for _ in range(2):
            expect(two.get_or_lease("lease"), ("wait", token), "the next")
        expect(one.get_or_lease("lease"), ("wait", token), "the first once more")
        expect(one.set("lease", b"made", cas_token=token), True, "set with the lease's number")
        expect(two.get_or_lease("lease")[0], b"made", "afterwards")
        expect(two.get_value("lease").flags.win, None, "neither won nor lost afterwards")

    def lease_taken_away(self):
        """A delete between lease and set: the set must not bring an old value back."""
        one, two = self._client, Client(self._port)
        one.delete("lease")
        _, token = one.get_or_lease("lease")
        expect(two.delete("lease"), True, "delete of a lease")
        expect(one.set("lease", b"old", cas_token=token), False, "set with the lease's number")
        expect(one.get("lease"), None, "get")

    def lease_ends(self):
        c = self._client
        c.delete("lease")
        c.get_or_lease("lease", lease_ttl=1)
        expect_soon(lambda: c.get_or_lease("lease", lease_ttl=1)[0], "lease", "a lease of a second")

    def recache(self):
        """RecachePolicy: shortly before the end one client wins, the others get the old value."""
        one, two = self._client, Client(self._port)
        one.set("recache", b"old", ttl=1000)
        expect(one.get_value("recache", recache_ttl=30).flags.win, None, "far from the end")
        found = [c.get_value("recache", recache_ttl=2000) for c in (one, two, one)]
        expect([(f.value, f.flags.win, f.flags.stale) for f in found],
               [(b"old", True, False), (b"old", False, False), (b"old", False, False)],
               "three gets near the end")
        one.set("recache", b"new", ttl=5000)
        expect(two.get_value("recache", recache_ttl=2000).flags.win, None, "afterwards")

    def stale_on_deletion(self):
        """StalePolicy(mark_stale_on_deletion_ttl): md with I and T."""
        one, two = self._client, Client(self._port)
        one.set("stale", b"old", ttl=5000)
        expect(one.delete("stale", stale_ttl=30), True, "delete")
        found = [c.get_value("stale", recache_ttl=10) for c in (two, one, two)]
        expect([(f.value, f.flags.win, f.flags.stale) for f in found],
               [(b"old", True, True), (b"old", False, True), (b"old", False, True)], "three gets")
        expect(0 < found[0].flags.ttl <= 30, True, "at most 30 seconds are left")
        one.set("stale", b"new", ttl=5000)
        found = two.get_value("stale").flags
        expect((found.win, found.stale), (None, False), "afterwards")
        expect(one.delete("none", stale_ttl=30), False, "delete of nothing")

    def stale_on_cas_mismatch(self):
        """StalePolicy(mark_stale_on_cas_mismatch): ms with C and I, late: stored, but stale."""
        one, two = self._client, Client(self._port)
        one.set("stale", b"1")
        _, token = one.get_cas("stale")
        two.delete("stale", stale_ttl=1000)
        expect(one.set("stale", b"2", cas_token=token), False, "without the policy: a Conflict")
        expect(one.set("stale", b"2", cas_token=token, mark_stale=True), True, "with the policy")
        found = two.get_value("stale")
        expect((found.value, found.flags.stale, found.flags.win), (b"2", True, True), "get")
        _, newer = two.get_cas("stale")
        expect(newer > token, True, "the number has grown")
        expect(two.set("stale", b"3", cas_token=newer, mark_stale=True), True, "in time")
        found = one.get_value("stale").flags
        expect((found.stale, found.win), (False, None), "afterwards")
        expect(one.set("stale", b"4", cas_token=newer + 10 ** 6, mark_stale=True), False,
               "with a number that nobody has been given")

    def own_versions(self):
        """E: the cas number is the client's own, as when several servers hold one entry."""
        c = self._client
        c.connection.wire.send(b"version\r\n")
        version = c.connection.wire.line().split()[1].decode()
        if [int(n) for n in version.split(".")] < [1, 6, 45]:
            raise kit.Lacking("memcached %s does not know E" % version)
        answer = c.meta("ms", "own", b"1", return_cas_token=True, new_cas=123456789, cache_ttl=0)
        expect(answer.flags.cas_token, 123456789, "c of ms")
        expect(c.meta("mg", "own", return_cas_token=True).flags.cas_token, 123456789, "c of mg")
        answer = c.meta("ms", "own", b"2", cas_token=123456789, new_cas=123456799, cache_ttl=0)
        expect(isinstance(answer, Success), True, "C and E together")
        expect(c.meta("ms", "own", b"3", cas_token=123456789, new_cas=5), Conflict, "C too old")
        expect(c.meta("md", "own", mark_stale=True, new_cas=223456789).flags.letters, "", "md I E")
        expect(c.meta("mg", "own", return_cas_token=True).flags.cas_token, 223456789, "c of mg")

    def metadata(self):
        c = self._client
        c.set("meta", "text")
        found = c.get_value("meta", no_update_lru=True).flags
        expect(found.fetched, False, "fetched before, at first")
        expect(c.get_value("meta").flags.fetched, False, "after one that did not count")
        found = c.get_value("meta").flags
        expect((found.fetched, found.client_flag), (True, STR), "fetched before")
        found = c.meta("mg", "meta", return_size=True, return_ttl=True).flags
        expect((found.size, found.ttl, found.letters), (4, -1, "ts"), "size and ttl alone")


kit.run("like meta-memcache", "-", Steps(int(sys.argv[1])),
        {"flush": "not in its interface", "version": "it never asks"})
