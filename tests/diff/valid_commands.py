"""valid_commands.py -- random commands that memcached 1.6.18 and 1.6.45 answer alike.

A unit is what is sent or left out as a whole:

    (pieces, codes, uid, key)

pieces  bytes, or a tuple of bytes and references.  A reference (uid, key) stands for the CAS number
        that the reply to unit uid showed for key; each server gets its own number there.
codes   what is answered, a letter for each reply, and "" where nothing is:
            L  a line
            N  MN
            V  VALUE blocks and END, or a line
            M  a meta reply: a line, or VA and its data
            Q  a meta reply that may be missing; O<uid> tells
            G  meta replies up to MN
            I  what me says of the inside of an item
        A binary unit has B: packets with uid as their opaque, or none.
uid     unique in an episode
key     what the unit is about, for CAS numbers

A batch is what is sent to one connection before anything is read.  An episode is a list of batches
on a few connections to one server, which begins without items.

No value, key or opaque has an N in it: MN ends a batch, and nothing else may look like that.
No number of 2^63 and more is counted: memcached looks for a "-" in whatever lies behind it in
memory, values and headers of earlier items, and takes it for negative.  Recordings on fresh memory
are incr/wrap-64 and incr/near-max; broken.py has such numbers, and a rule.
"""
import base64
import random
import re
import struct

# What 1.6.18 answers unlike 1.6.45, each proved by a recording, and a pattern of the command lines
# that are not generated therefore.  Lines that both refuse are no valid commands and not listed.
AVOIDED = {
    # 1.6.18 does not know the flags E and x.
    "ms/E": rb"^(mg|ma|md) .* E|^ms \S+ \d+ .*E\d",
    "md/x-miss": rb"^m[gsda] .* x( |$)",
    # It accepts s for ms, and does not return it.
    "ms/mode-E-existing": rb"^ms \S+ \d+ (.* )?s( |$)",
    # It does not create what is missing when it appends.
    "ms/mode-P-miss-N": rb"^ms (?=.* M[AP])(?=.* N)",
    # A mode is one letter.
    "ms/mode-only-first-char": rb"^m[sa] .* M[^ ][^ ]",
    # It does not hide the value when the CAS number matches; no item has the number left here.
    "mg/C-match-hides-value": rb"^mg .* C(?!18446744073709551615( |$))",
    # It shows HD of a counter that q has created.
    "ma/N-q": rb"^ma (?=.* q( |$))(?=.* N)",
    # It reads the key of me as base64 with b alone.
    "me/b-flag-alone-ignored": rb"^me \S+ b",
    # It has room for fewer flags.
    "mg/18-flags": rb"^m[gsda]( \S+){18,}",
    # Larger numbers are accepted there.
    "mg/T-overflow": rb"^m[gsda] .* [TNR](\d{11}|[3-9]\d{9}|2[2-9]\d{8}|214748364[89])",
    "ms/F-too-big": rb"^m[gsda] .* F(\d{11}|429496729[6-9])",
    "incr/delta-23-digits": rb"^(incr|decr) \S+ \d{23}",
    "set/length-12-digits": rb"^(set|add|replace|append|prepend|cas) \S+ \S+ \S+ \d{12}",
    # delete takes a time of 0 only.
    "delete/10-noreply": rb"^delete \S+ [1-9]",
    # Lines shorter than 4 bytes, and blanks before a command.
    "mn/lf": rb"^mn\n",
    "parse/leading-space-mn": rb"^ ",
}

# What larder answers otherwise on purpose, the words of docs/protocol.md that say so, and a pattern
# of the lines that are not generated therefore.
ON_PURPOSE = (
    ("0 for an entry that has just been told to expire, or made so",
     rb"^m[ga] (?=.* t( |$))(?=.* [TN](-\d|2592001( |$)))"),
    ("a key that holds a blank or a line feed is always in base64",
     rb"^mg (?!%s )(?=.* k( |$))(?=.* b( |$))" % b"|".join(
         re.escape(base64.b64encode(key)) for key in (b"\x80\x81", b"tail\x00", b"w " * 90))),
    ("memcached forgets it with append",
     rb"^(me (a|key1|n1|%s)$|mg (a|key1|n1|%s) .*k( |$))" % (b"k" * 180, b"k" * 180)),
    ("with `A` and `P` too, C0 never matches", rb"^ms (?=.* M[AP])(?=.* C0+( |$))"),
    ("in memcached where the number gets longer", rb"^ma (?=.* T)(?!.* M[D-])"),
    ("after a delete or an eviction a number that was shown before may be larger",
     rb"^ms (?=.* I( |$))(?=.* C77( |$))"),  # but where there is one connection
    ("an empty value under another CAS number", rb"^ma (?!n[0-3] |bjE= ).* C"),
)

# A flush that is still to come makes 1.6.18 and 1.6.45 forget the one before it: what that one has
# dropped and nobody has looked at is there again.  Only an empty cache is told to flush later.

U64_MAX = 2 ** 64 - 1
LIFETIMES = (b"0", b"0", b"0", b"0", b"100000", b"1000000", b"2592000", b"2000000000",
             b"2147483647", b"-1", b"-100", b"2592001")
# Of those, what is over at once.
GONE = (b"-1", b"-100", b"2592001")
# In all of these a run's length does not matter: lifetimes are far from them.
RECACHE = (b"0", b"50000", b"500000", b"2000000", b"-1")
BINARY_LIFETIMES = (0, 0, 0, 0, 100000, 1000000, 2592000, 2000000000, 2147483647, 2592001)
NUMBERS = (b"0", b"1", b"9", b"10", b"99", b"100", b"007", b" 5", b"5 ", b"5 x", b"+5", b"",
           b"x", b"5x", b"1.5", b"0x1", b"18446744073709551616", b"9" * 20, b"0" * 30,
           b"1" + b" " * 40)
DELTAS = (b"0", b"1", b"1", b"1", b"5", b"9", b"10", b"100", b"9999999999",
          b"00000000000000000007")
DECREMENTS = DELTAS + (b"18446744073709551615",)
FLAGS = (b"0", b"0", b"0", b"1", b"5", b"255", b"65536", b"2147483648", b"4294967295")
OPAQUES = (b"O", b"O1", b"Oab-c", b"Oqkcvs", b"O" + b"o" * 31)
# Letters that have no meaning for a command are accepted and ignored.
IGNORED = {b"ms": (b"f", b"h", b"l", b"t", b"u", b"v", b"D1", b"J1", b"R1", b"P", b"Lx"),
           b"md": (b"c", b"f", b"h", b"l", b"s", b"t", b"u", b"v", b"D1", b"J1", b"F1", b"N1",
                   b"R1", b"Px"),
           b"ma": (b"f", b"h", b"l", b"s", b"u", b"F1", b"R1", b"P", b"L1"),
           b"mg": (b"F1", b"I", b"D1", b"J1", b"Pp", b"L", b"MS")}

TEXT_KEYS = ([b"%c" % c for c in b"abcdefg"] + [b"key%d" % i for i in range(16)]
             + [b"k" * 250, b"l" * 250, b"m" * 249, b"q" * 100, b"tab\there", b"cr\rhere",
                b"\xc3\xa9t\xc3\xa9", b"\x01\x02", b"\xff" * 30, b"noreply", b"x:y:z",
                b"0", b"1", b"END", b"a/b"])
TEXT_KEYS = [k.replace(b"N", b"n") for k in TEXT_KEYS]
COUNTER_KEYS = [b"n%d" % i for i in range(8)]
LARGE_KEYS = [b"large%d" % i for i in range(5)]
# Keys that only base64 and the binary protocol can say.
BINARY_KEYS = [b"with blank", b"\x00", b"\x00\x01\x02", b" ", b"a ", b"\xff\xfe \xfd",
               b"b" * 100 + b" ", b"\x80\x81", b"tail\x00", b"w " * 90]
# Only ms with b makes these: larder and memcached agree about which entries say so.
MARKED_KEYS, UNMARKED_KEYS = BINARY_KEYS[-3:], BINARY_KEYS[:-3]
# Values of these are compared by CAS number when they are counted.
NEVER_EMPTY = COUNTER_KEYS[:4]
# The same keys as text, and as base64.
SHARED_KEYS = [b"a", b"key1", b"n1", b"k" * 180, b"\xff" * 30]
ALL_KEYS = TEXT_KEYS + COUNTER_KEYS + LARGE_KEYS + BINARY_KEYS

LARGEST = 1000000
# What a batch may make one server send.
BATCH_REPLY_BYTES = 8 << 20
# Most numbers are compared with what was seen lately.
SEEN_MAX = 4


def _make_pool():
    """Bytes that values are cut from: noise with line ends and words of the protocol in it."""
    r = random.Random(1)
    noise = bytearray(r.randbytes(60000))
    for word in (b"\r\n", b"VALUE a 0 1\r\n", b"\r\nget a\r\n", b"HD c1 t5\r\n", b"VA 3\r\n",
                 b"\x81\x00", b"12 "):
        for _ in range(40):
            at = r.randrange(len(noise) - 20)
            noise[at:at + len(word)] = word
    return bytes(noise).replace(b"N", b"n").replace(b"-", b"_")


POOL = _make_pool()
# No digit and no blank: what is kept in pieces is no number to larder, and here to nobody.
LETTERS = bytes(random.Random(2).choices(b"abcdefghijklmopqrstuvwxyz", k=LARGEST + 70000))


class Commands:
    """The commands of one episode.  `dialects` is a set of text, meta and binary."""

    def __init__(self, rng, dialects):
        self.rng = rng
        self.random = rng.random
        self.dialects = dialects
        self.uid = 0
        self.seen = {}          # key -> references to the CAS numbers that were shown lately
        self.size_max = {}      # of large keys: no value is longer
        self.held = set()       # keys whose values wait in replies
        self.room = 0           # bytes that replies may still have
        # Numbers of one thread grow, those of several where the entry was deleted may not; I asks.
        self.alone = False
        self.both_keys = SHARED_KEYS + BINARY_KEYS
        self.text = self.weighted(
            (self.storage, 30), (self.get, 22), (self.gets, 12), (self.gat, 5), (self.cas, 10),
            (self.touch, 4), (self.delete, 7), (self.count, 10), (self.small, 1),
            (self.large, 2.5))
        self.meta = self.weighted(
            (self.mg, 30), (self.ms, 30), (self.md, 10), (self.ma, 15), (self.me, 2),
            (self.meta_group, 3), (self.mn, 1))
        self.binary = self.weighted(
            (self.bin_get, 26), (self.bin_store, 28), (self.bin_join, 8), (self.bin_delete, 7),
            (self.bin_count, 12), (self.bin_touch, 8), (self.bin_noop, 1), (self.bin_large, 1.5),
            (self.bin_flush, 0.1))

    @staticmethod
    def weighted(*pairs):
        unit = min(10, 1 / min(w for _, w in pairs))
        return [f for f, w in pairs for _ in range(max(1, round(w * unit)))]

    def choice(self, options):
        return options[int(self.random() * len(options))]

    # ---- parts of commands

    def key(self):
        return self.choice(TEXT_KEYS if self.random() < 0.8 else COUNTER_KEYS)

    def value(self, key=None):
        return self.any_value() or (b"0" if key in NEVER_EMPTY else b"")

    def any_value(self):
        x = self.random()
        if x < 0.15:
            return self.number()
        longest = 20 if x < 0.65 else 100 if x < 0.95 else 1000 if x < 0.995 else 3000
        n = int(self.random() * longest)
        at = int(self.random() * (len(POOL) - n))
        value = POOL[at:at + n]
        # Of white space alone: memcached looks for a number in what lies behind it in memory.
        return b"x" if n < 10 and value.isspace() else value

    def number(self):
        x = self.random()
        if x < 0.5:
            return b"%d" % int(self.random() * 120)
        if x < 0.6:
            return b"%d" % (2 ** 62 + int(self.random() * 20))
        return self.choice(NUMBERS)

    @staticmethod
    def no_digits(value):
        """For append and prepend: numbers do not grow into longer ones."""
        return b"x%s" % value if value[:1].isdigit() or value[-1:].isdigit() else value

    def letters(self, n):
        at = int(self.random() * 60000)
        return LETTERS[at:at + n]

    def cas_number(self, key, joins=False):
        """What cas, C and the header's field are given; joins: append and prepend."""
        seen = self.seen.get(key)
        if seen and self.random() < 0.85:
            return self.choice(seen)
        return self.choice((U64_MAX, 2 ** 62) if joins else (0, U64_MAX, 2 ** 62))

    def noreply(self, line, codes):
        return (line + b" noreply", "") if self.random() < 0.15 else (line, codes)

    def end(self):
        return b"\n" if self.random() < 0.03 else b"\r\n"

    def learn(self, key, uid):
        """The reply to uid has shown a CAS number of key."""
        seen = self.seen.setdefault(key, [])
        if len(seen) >= SEEN_MAX:
            seen.pop(0)
        seen.append((uid, key))

    def release(self, key, quiet=b"mn\r\n"):
        """What goes before counting.  memcached changes a number in place, padded with blanks,
        unless the item waits in a reply that is not sent yet; mn sends all of them."""
        if key not in self.held:
            return b""
        self.held.clear()
        return quiet

    def unit(self, pieces, codes, key=None):
        self.uid += 1
        return pieces, codes, self.uid, key

    # ---- classic text

    def storage(self):
        key = self.key()
        value = self.value(key)
        x = self.random()
        if x >= 0.8:
            value = self.no_digits(value)
        word = (b"set" if x < 0.5 else b"add" if x < 0.65 else b"replace" if x < 0.8
                else b"append" if x < 0.9 else b"prepend")
        line = b"%s %s %s %s %d" % (
            word, key, self.choice(FLAGS), self.choice(LIFETIMES), len(value))
        line, codes = self.noreply(line, "L")
        return self.unit(b"%s%s%s\r\n" % (line, self.end(), value), codes)

    def cas(self):
        seen = self.seen
        key = self.choice(list(seen)) if seen and self.random() < 0.8 else self.key()
        if key in BINARY_KEYS or key in LARGE_KEYS:
            key = self.key()
        value = self.value(key)
        head = b"cas %s %s %s %d " % (key, self.choice(FLAGS), self.choice(LIFETIMES), len(value))
        tail, codes = self.noreply(b"", "L")
        number = self.cas_number(key)
        tail = b"%s%s%s\r\n" % (tail, self.end(), value)
        if isinstance(number, int):
            return self.unit(head + b"%d" % number + tail, codes)
        return self.unit((head, number, tail), codes)

    def keys(self):
        """Keys of one line, with the large ones that there is room for."""
        if self.random() < 0.6:
            keys = [self.key()]
        else:
            many = 60 if self.random() < 0.05 else 8
            keys = [self.key() for _ in range(1 + int(self.random() * many))]
        if self.random() < 0.02:
            large = self.choice(LARGE_KEYS)
            size = self.size_max.get(large, 0)
            if size < self.room:
                self.room -= size
                keys.append(large)
        self.held.update(keys)
        return keys

    def get(self):
        return self.unit(b"get " + b" ".join(self.keys()) + self.end(), "V")

    def gets(self):
        return self.unit(b"gets " + b" ".join(self.keys()) + self.end(), "V")

    def gat(self):
        line = b"%s %s" % (self.choice((b"gat", b"gats")), self.choice(LIFETIMES))
        for key in self.keys():
            if len(line) + len(key) < 2000:
                line += b" " + key
        return self.unit(line + self.end(), "V")

    def touch(self):
        key = self.choice(LARGE_KEYS) if self.random() < 0.03 else self.key()
        line, codes = self.noreply(b"touch %s %s" % (key, self.choice(LIFETIMES)), "L")
        return self.unit(line + self.end(), codes)

    def delete(self):
        key = self.key()
        line = b"delete " + key + (b" 0" if self.random() < 0.05 else b"")
        line, codes = self.noreply(line, "L")
        if line == b"delete noreply":  # 1.6.18 takes the last word for a key alone
            line, codes = b"delete noreply noreply", ""
        return self.unit(line + self.end(), codes)

    def count(self):
        key = self.choice(COUNTER_KEYS) if self.random() < 0.8 else self.key()
        if self.random() < 0.15:
            value = self.number() or b"0"
            return self.unit(b"set %s %s 0 %d\r\n%s\r\n" % (
                key, self.choice(FLAGS), len(value), value), "L")
        before = self.release(key)
        word = self.choice((b"incr", b"decr"))
        line = b"%s %s %s" % (word, key, self.choice(DELTAS if word == b"incr" else DECREMENTS))
        line, codes = self.noreply(line, "L")
        return self.unit(before + line + self.end(), ("N" if before else "") + codes)

    def small(self):
        if self.random() < 0.1:
            return self.flush()
        if self.random() < 0.5:
            self.held.clear()
            return self.unit(b"mn\r\n", "N")
        line, codes = self.noreply(b"verbosity 0", "L")
        return self.unit(line + self.end(), codes)

    def flush(self):
        line, codes = self.noreply(b"flush_all" + self.choice((b"", b" 0")), "L")
        return self.unit(line + self.end(), codes)

    def large_size(self):
        x = self.random()
        if x < 0.7:
            return int(self.random() * 20000)
        if x < 0.93:
            return int(self.random() * 150000)
        return int(self.random() * LARGEST)

    def large_part(self, key):
        """What may still be joined to a large value."""
        room = LARGEST - self.size_max.get(key, 0)
        n = min(room, int(self.random() * 30000))
        self.size_max[key] = self.size_max.get(key, 0) + n
        return self.letters(n)

    def large_value(self, key, always):
        """A new value; with always, what was there before is gone for certain."""
        value = self.letters(self.large_size())
        before = 0 if always else self.size_max.get(key, 0)
        self.size_max[key] = max(before, len(value))
        return value

    def large(self):
        key = self.choice(LARGE_KEYS)
        x = self.random()
        if x < 0.35:
            size = self.size_max.get(key, 0)
            if size > self.room:
                return self.mn()
            self.room -= size
            return self.unit(b"%s %s\r\n" % (self.choice((b"get", b"gets", b"gat 0")), key), "V")
        if x < 0.55:
            word = self.choice((b"append", b"prepend"))
            value = self.large_part(key)
        elif x < 0.62:
            # Not kept in mind as gone: a delete may be left out when a difference is made smaller.
            return self.unit(b"%s\r\n" % self.choice((b"delete " + key, b"incr %s 1" % key)), "L")
        else:
            word = self.choice((b"set", b"set", b"set", b"add", b"replace"))
            value = self.large_value(key, word == b"set")
        line = b"%s %s %s %s %d" % (
            word, key, self.choice(FLAGS), self.choice(LIFETIMES), len(value))
        line, codes = self.noreply(line, "L")
        return self.unit(b"%s\r\n%s\r\n" % (line, value), codes)

    # ---- meta

    def meta_key(self):
        """(the key, what is written, flags that belong to it)"""
        x = self.random()
        if x < 0.25:
            key = self.choice(self.both_keys)
            return key, base64.b64encode(key), [b"b"]
        if x < 0.28:
            key = self.choice(LARGE_KEYS)
            return key, key, []
        key = self.key()
        return key, key, []

    def some(self, flags, of, chance):
        for flag in of:
            if self.random() < chance:
                flags.append(flag)

    def finish(self, word, key, written, flags, extra=b"", value=None, quiet=True, before=b""):
        """Opaque, q, an ignored letter, and the order of the flags."""
        x = self.random()
        code = "M"
        self.uid += 1
        if quiet and x < 0.12:
            flags += [b"q", b"O%d" % self.uid]
            code = "Q"
        elif x < 0.3:
            flags.append(self.choice(OPAQUES))
        if self.random() < 0.05:
            letter = self.choice(IGNORED[word])
            if all(f[0] != letter[0] for f in flags if isinstance(f, bytes)):
                flags.append(letter)
        if len(flags) > 1:
            self.rng.shuffle(flags)
        line = b"%s%s %s%s" % (before, word, written, extra)
        parts = [line]
        for flag in flags:
            if isinstance(flag, bytes):
                parts[-1] += b" " + flag
            else:  # C with a reference
                parts[-1] += b" C"
                parts += [flag, b""]
        parts[-1] += self.end()
        if value is not None:
            parts[-1] += value + b"\r\n"
        if code == "Q" and word == b"ma":  # what is no number is said without the opaque
            parts[-1] += b"mn\r\n"
            code = "G"
        pieces = parts[0] if len(parts) == 1 else tuple(parts)
        return pieces, ("N" if before else "") + code, self.uid, key

    @staticmethod
    def unshown(flags):
        if any(f[:1] in b"TN" and f[1:] in GONE for f in flags):
            flags[:] = [f for f in flags if f != b"t"]

    def compare_flag(self, flags, key, joins=False):
        number = self.cas_number(key, joins)
        flags.append(b"C%d" % number if isinstance(number, int) else number)

    def mg(self):
        key, written, flags = self.meta_key()
        size = self.size_max.get(key, 0) if key in LARGE_KEYS else 0
        if self.random() < 0.6 and size <= self.room:
            flags.append(b"v")
            self.room -= size
        self.held.add(key)  # without v as well
        self.some(flags, (b"c", b"f", b"s", b"t"), 0.3)
        if key in MARKED_KEYS or key not in self.both_keys:
            self.some(flags, (b"k",), 0.3)
        self.some(flags, (b"h", b"l"), 0.15)
        self.some(flags, (b"u",), 0.05)
        x = self.random()
        if x < 0.08:
            flags.append(b"T" + self.choice(LIFETIMES))
        elif x < 0.2 and key not in NEVER_EMPTY and key not in MARKED_KEYS:
            flags.append(b"N" + self.choice(LIFETIMES))
        self.unshown(flags)
        if self.random() < 0.1:
            flags.append(b"R" + self.choice(RECACHE))
        if self.random() < 0.03:
            flags.append(b"C%d" % U64_MAX)
        return self.finish(b"mg", key, written, flags)

    def ms(self):
        key, written, flags = self.meta_key()
        mode = self.random()
        joins = 0.15 <= mode < 0.3 and key not in MARKED_KEYS
        if key in LARGE_KEYS:
            value = self.large_part(key) if joins else self.large_value(key, False)
        else:
            value = self.value(key)
        if joins:
            value = self.no_digits(value)
        if mode < 0.3:
            flags.append(self.choice((b"MA", b"MP") if joins else (b"ME", b"MR")))
        elif mode < 0.36:
            flags.append(b"MS")
        self.some(flags, (b"k", b"c"), 0.3)
        if self.random() < 0.25:
            self.compare_flag(flags, key, joins)
        if self.random() < 0.2 and (self.alone or all(isinstance(f, bytes) for f in flags)):
            flags.append(b"I")
        if self.random() < 0.3:
            flags.append(b"F" + self.choice(FLAGS))
        if self.random() < 0.4:
            flags.append(b"T" + self.choice(LIFETIMES))
        return self.finish(b"ms", key, written, flags, b" %d" % len(value), value)

    def md(self):
        key, written, flags = self.meta_key()
        self.some(flags, (b"k",), 0.3)
        if self.random() < 0.25:
            self.compare_flag(flags, key)
        if self.random() < 0.6:
            flags.append(b"I")
        if self.random() < 0.3:
            flags.append(b"T" + self.choice(LIFETIMES))
        return self.finish(b"md", key, written, flags)

    def ma(self):
        if self.random() < 0.7:
            key = written = self.choice(COUNTER_KEYS)
            flags = []
        else:
            key, written, flags = self.meta_key()
        if key in LARGE_KEYS or key in MARKED_KEYS:
            key = written = COUNTER_KEYS[0]
            flags = []
        before = self.release(key)
        self.some(flags, (b"v",), 0.5)
        self.some(flags, (b"k", b"c", b"t"), 0.25)
        lifetime = self.random() < 0.15
        down = lifetime or self.random() < 0.2
        if down or self.random() < 0.25:
            flags.append(self.choice((b"MD", b"M-") if down else (b"MI", b"M+")))
        if self.random() < 0.6:
            flags.append(b"D" + self.choice(DECREMENTS if down else DELTAS))
        vivify = self.random() < 0.3
        if vivify:
            flags.append(b"N" + self.choice(LIFETIMES))
            if self.random() < 0.6:
                flags.append(b"J" + self.choice(DELTAS))
        if lifetime:
            flags.append(b"T" + self.choice(LIFETIMES))
        self.unshown(flags)
        if key in NEVER_EMPTY and self.random() < 0.3:
            self.compare_flag(flags, key)
        return self.finish(b"ma", key, written, flags, quiet=not vivify, before=before)

    def me(self):
        key = self.key()
        if key in SHARED_KEYS:
            key = TEXT_KEYS[1]
        return self.unit(b"me %s\r\n" % key, "I")

    def mn(self):
        self.held.clear()
        return self.unit(b"mn\r\n", "N")

    def meta_group(self):
        """Quiet commands that only mn ends, as clients send them."""
        lines = []
        for _ in range(1 + int(self.random() * 12)):
            key = self.key()
            if key in SHARED_KEYS:
                key = TEXT_KEYS[1]
            x = self.random()
            if x < 0.5:
                lines.append(b"mg %s q v k%s\r\n" % (
                    key, self.choice((b"", b" f", b" c", b" s t"))))
            elif x < 0.75:
                value = self.value(key)
                lines.append(b"ms %s %d q%s\r\n%s\r\n" % (
                    key, len(value), self.choice((b"", b" k", b" ME", b" MR", b" I")), value))
            elif x < 0.9:
                lines.append(b"md %s q%s\r\n" % (key, self.choice((b"", b" I", b" k"))))
            else:
                lines.append(b"mn\r\nma %s q D1\r\n" % self.choice(COUNTER_KEYS))
        self.held.clear()
        # Every mn but the last stands before a ma.
        count = sum(line.startswith(b"mn\r\n") for line in lines)
        return self.unit(b"".join(lines) + b"mn\r\n", "G" * (count + 1))

    # ---- binary

    def packet(self, opcode, key=b"", extras=b"", value=b"", cas=0, after_noop=False):
        self.uid += 1
        before = b""
        if after_noop:
            before = struct.pack(">BBHBBHIIQ", 0x80, 0x0a, 0, 0, 0, 0, 0, self.uid, 0)
        head = struct.pack(">BBHBBHII", 0x80, opcode, len(key), len(extras), 0, 0,
                           len(key) + len(extras) + len(value), self.uid)
        rest = b"%s%s%s" % (extras, key, value)
        if isinstance(cas, int):
            return b"%s%s%s%s" % (before, head, cas.to_bytes(8, "big"), rest), "B", self.uid, key
        return (before + head, cas, rest), "B", self.uid, key

    def bin_key(self):
        return self.choice(UNMARKED_KEYS) if self.random() < 0.2 else self.key()

    def bin_cas(self, key, chance):
        return self.cas_number(key) if self.random() < chance else 0

    def bin_get(self):
        key = self.bin_key()
        self.held.add(key)
        return self.packet(self.choice((0x00, 0x00, 0x09, 0x0c, 0x0d)), key)

    def extras(self):
        return struct.pack(">II", int(self.choice(FLAGS)), self.choice(BINARY_LIFETIMES))

    def bin_store(self):
        key = self.bin_key()
        opcode = self.choice((0x01, 0x01, 0x01, 0x11, 0x11, 0x02, 0x12, 0x03, 0x13))
        return self.packet(opcode, key, self.extras(), self.value(key), self.bin_cas(key, 0.2))

    def bin_join(self):
        key = self.bin_key()
        return self.packet(self.choice((0x0e, 0x0f, 0x19, 0x1a)), key, b"",
                           self.no_digits(self.value(key)),
                           self.bin_cas(key, 0.15))

    def bin_delete(self):
        key = self.bin_key()
        return self.packet(self.choice((0x04, 0x14)), key, cas=self.bin_cas(key, 0.3))

    def bin_count(self):
        key = self.choice(COUNTER_KEYS) if self.random() < 0.8 else self.bin_key()
        if self.random() < 0.1:
            return self.packet(0x01, key, self.extras(), self.number() or b"0")
        held = key in self.held
        if held:
            self.held.clear()
        expiry = 0xffffffff if self.random() < 0.6 else self.choice(BINARY_LIFETIMES)
        opcode = self.choice((0x05, 0x06, 0x15, 0x16))
        delta = int(self.choice(DECREMENTS if opcode & 2 else DELTAS))
        extras = struct.pack(">QQI", delta, int(self.choice(DELTAS)), expiry)
        return self.packet(opcode, key, extras,
                           cas=self.bin_cas(key, 0.2 if key in NEVER_EMPTY else 0),
                           after_noop=held)

    def bin_touch(self):
        key = self.bin_key()
        self.held.add(key)
        return self.packet(self.choice((0x1c, 0x1d, 0x1e, 0x23, 0x24)), key,
                           struct.pack(">I", self.choice(BINARY_LIFETIMES)))

    def bin_noop(self):
        self.held.clear()
        return self.packet(0x0a)

    def bin_flush(self):
        return self.packet(self.choice((0x08, 0x18)), extras=self.choice((b"", b"\0\0\0\0")))

    def bin_large(self):
        key = self.choice(LARGE_KEYS)
        x = self.random()
        if x < 0.35:
            size = self.size_max.get(key, 0)
            if size > self.room:
                return self.bin_noop()
            self.room -= size
            return self.packet(self.choice((0x00, 0x09, 0x0c, 0x0d)), key)
        if x < 0.55:
            return self.packet(self.choice((0x0e, 0x0f, 0x19, 0x1a)), key,
                               value=self.large_part(key))
        opcode = self.choice((0x01, 0x01, 0x11, 0x02, 0x03))
        return self.packet(opcode, key, self.extras(),
                           self.large_value(key, opcode in (0x01, 0x11)))

    # ---- batches and episodes

    def batch(self, connection, dialects, count):
        """A batch of count units: its connection, dialect, units, cuts, and how it quits.

        Cuts are fractions of the whole, since CAS numbers have different lengths."""
        self.held = set()
        self.room = BATCH_REPLY_BYTES
        commands = [c for d in dialects for c in getattr(self, d)]
        rnd, total = self.random, len(commands)
        units = [commands[int(rnd() * total)]() for _ in range(count)]
        x = rnd()
        cuts = []
        if x < 0.3:
            cuts = sorted(rnd() for _ in range(1 + int(rnd() * 4)))
        elif x < 0.33 and count <= 10:
            cuts = [i / 400 for i in range(1, 400)]
        kind = "binary" if dialects == ("binary",) else "text"
        return {"connection": connection, "kind": kind, "units": units, "cuts": cuts,
                "quit": int(rnd() < 0.01) * (1 + int(rnd() * 2))}

    def begin(self):
        """What makes a cache that has seen other episodes empty, without a reply."""
        lines = [b"flush_all noreply\r\n"]
        keys = TEXT_KEYS + COUNTER_KEYS + LARGE_KEYS + SHARED_KEYS
        lines += [b"delete %s noreply\r\n" % k for k in keys]
        batches = []
        if "meta" in self.dialects:
            lines += [b"md %s b q\r\n" % base64.b64encode(k) for k in BINARY_KEYS]
        elif "binary" in self.dialects:
            batches.append({"connection": 101, "kind": "binary", "cuts": [], "quit": 1, "units": [
                self.packet(0x14, k) for k in BINARY_KEYS]})
        if self.random() < 0.2:
            lines.append(b"flush_all 1000000 noreply\r\n")
        # md says NF in spite of q.
        batches.insert(0, {"connection": 100, "kind": "text", "cuts": [], "quit": 1, "units": [
            self.unit(b"".join(lines) + b"mn\r\n", "G")]})
        return batches

    def connections(self):
        """The dialects of each connection of an episode."""
        ways = [(d,) for d in ("text", "meta", "binary") if d in self.dialects]
        if {"text", "meta"} <= self.dialects:
            ways += [("text", "meta")] * 2
        found = [self.choice(ways) for _ in range(1 + int(self.random() * 5))]
        self.alone = len(found) == 1
        return found

    def batch_size(self):
        most = self.choice((1, 5, 20, 50, 100, 200, 200, 400, 800))
        return 1 + int(self.random() * most)
