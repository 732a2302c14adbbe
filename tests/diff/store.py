"""store.py -- the items of the model: a dict, a clock that is set from outside, one rule a method.

Nothing is evicted, nothing expires by itself: an item that has expired or was flushed is found
gone when it is looked for.  Numbers of memory (slab classes, sizes with headers) are not modelled
beyond the limit of one item.

Auto-made CAS numbers come from one counter.  A driver that compares with servers, whose counters
run differently, asks for marks (see marks.py): they stand in replies where the number would be.

`unsteady` collects what a driver must put away before it goes on, since servers see another clock
and another counter: keys whose items expire soon or whose CAS was chosen by the client in the range
of a server's own, and the words "flush", "verbosity", "memlimit" for settings that were changed.
"""
import functools
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "conform"))
from replay_recordings import known_differences  # noqa: E402

known_differences = functools.lru_cache(known_differences)

MONTH = 60 * 60 * 24 * 30
SOON = 90  # seconds: what expires earlier is unsteady
HEADER_BYTES, CAS_BYTES, FLAGS_BYTES = 48, 8, 4

STORED, NOT_STORED, EXISTS, NOT_FOUND = "STORED", "NOT_STORED", "EXISTS", "NOT_FOUND"
NON_NUMERIC, TOO_LARGE = "NON_NUMERIC", "TOO_LARGE"
SPACES = b" \t\n\v\f\r"
U64 = 1 << 64
HUGE_MINUS = re.compile(rb"[ \t\n\v\f\r]*-0*[1-9][0-9]{18}")  # strtoull makes it a positive one
SMALL_CAS = 1000    # servers have left these behind


class Options:
    """What of the command line the model knows."""

    def __init__(self, item_max=1 << 20, cas=True, flush=True, shutdown=False, protocol="auto",
                 version=b"1.6.45", no_modern=False):
        self.item_max = item_max      # -I
        self.cas = cas                # not -C
        self.flush = flush            # not -F
        self.shutdown = shutdown      # -A
        self.protocol = protocol      # -B
        self.version = version
        self.no_modern = no_modern    # -o no_modern

    @classmethod
    def parse(cls, words):
        """From the words of a command line; options the model need not know are passed over."""
        found = cls()
        words = iter(words)
        for word in words:
            if word == "-C":
                found.cas = False
            elif word == "-F":
                found.flush = False
            elif word == "-A":
                found.shutdown = True
            elif word == "-B":
                found.protocol = next(words)
            elif word == "-I":
                size = next(words)
                unit = {"k": 1 << 10, "m": 1 << 20}.get(size[-1].lower(), 1)
                found.item_max = int(size.rstrip("kKmM")) * unit
            elif word == "-o":
                found.no_modern |= "no_modern" in next(words).split(",")
        return found


class Item:
    __slots__ = ("value", "flags", "expires", "cas", "order", "stored", "used", "fetched", "stale",
                 "sent", "binary")

    def __init__(self, value, flags, expires):
        self.value = value
        self.flags = flags
        self.expires = expires    # a time of the clock, or 0 for never
        self.cas = 0
        self.order = 0            # counts all stores: what a flush compares
        self.stored = 0           # time of the store
        self.used = 0             # time of the last access
        self.fetched = False
        self.stale = False
        self.sent = False         # the token of a stale, new or recached item was given out
        self.binary = False       # stored by ms with b: its key is shown in base64


class Store:
    # Where a driver with marks begins to count: no number a client chooses is near.
    MARKED_CAS = 1 << 40

    def __init__(self, options=None, dialect="memcached", marks=None, differs=None):
        """differs: with the dialect of larder, names of the recordings it departs from; by
        default all that docs/protocol.md lists."""
        self.options = options or Options()
        self.larder = dialect == "larder"
        self.differs = frozenset(known_differences() if differs is None else differs) \
            if self.larder else frozenset()
        self.marks = marks
        self.items = {}
        self.now = 1_700_000_000
        self.started = self.now - 10
        self.next_cas = self.MARKED_CAS if marks else 1
        self.order = 0
        self.flushed_order = 0    # what was stored up to then is gone
        self.flush_at = 0         # what was stored before that time is gone from then on
        self.detail = None        # prefix -> [get, hit, set, del] when switched on
        self.unsteady = set()
        self.held = set()         # keys of items that a reply, or the LRU list, may refer to
        self.renewed = set()      # keys of items that were counted meanwhile
        self.counted_held = False
        self.reshaped = False     # by the last add(): see model.Event
        self.huge = False
        self.longer = False
        self.unmodelled = False   # a command came whose reply the model does not know
        self.killed = False

    # ---- numbers that are shown ----

    def _automatic(self, cas):
        return self.MARKED_CAS <= cas < self.MARKED_CAS << 1

    def show_cas(self, cas):
        if self.marks and self._automatic(cas):
            return self.marks.cas(cas)
        return b"%d" % cas

    def show_cas_bytes(self, cas):
        if self.marks and self._automatic(cas):
            return self.marks.cas_bytes(cas)
        return cas.to_bytes(8, "big")

    def show_ttl(self, item):
        if not item.expires:
            return b"-1"
        left = item.expires - self.now
        if self.marks:
            return self.marks.seconds(left)
        return b"%d" % (left % (1 << 32))

    def show_age(self, item):
        if self.marks:
            return self.marks.seconds(self.now - item.used)
        return b"%d" % (self.now - item.used)

    # ---- times ----

    def expiry(self, seconds):
        """The time at which an item with this exptime is gone; 0: never, 1: at once."""
        if seconds == 0:
            return 0
        if seconds < 0:
            return 1
        if seconds > MONTH:
            return seconds if seconds > self.started else 1
        return self.now + seconds

    # ---- looking ----

    def find(self, key):
        item = self.items.get(key)
        if item is None:
            return None
        if (0 < item.expires <= self.now or item.order <= self.flushed_order
                or 0 < self.flush_at <= self.now and item.stored < self.flush_at):
            del self.items[key]
            return None
        return item

    def get(self, key):
        """As a client reads it."""
        item = self.find(key)
        if item is not None:
            self.read(key, item)
            item.used = self.now
        if self.detail is not None:
            self.count(key, 0)
            if item is not None:
                self.count(key, 1)
        return item

    def touch(self, key, seconds):
        item = self.find(key)
        if item is not None:
            self.set_expiry(key, item, self.expiry(seconds))
            item.used = self.now
            self.read(key, item)
        return item

    def read(self, key, item):
        """What is read again is held for a moment by whoever moves it in the LRU list."""
        if item.fetched:
            self.held.add(key)
        item.fetched = True

    def set_expiry(self, key, item, expires):
        item.expires = expires
        if self.marks and self.now < expires < self.now + SOON:
            self.unsteady.add(key)

    # ---- changing ----

    def fits(self, key, flags, length):
        cas = CAS_BYTES if self.options.cas else 0
        need = HEADER_BYTES + len(key) + 1 + length + 2 + cas + (FLAGS_BYTES if flags else 0)
        return need <= self.options.item_max

    def fits_joined(self, key, flags, length):
        """append and prepend: larder leaves the client flags out of the sum."""
        return self.fits(key, 0 if self.larder else flags, length)

    def _cas(self, key, chosen):
        """The CAS number for a change; chosen by the client unless None."""
        if not self.options.cas:
            return 0
        if chosen is not None:
            if self.marks and 0 < chosen < self.MARKED_CAS << 13:
                self.unsteady.add(key)
            return chosen
        self.next_cas += 1
        return self.next_cas - 1

    def put(self, key, item, cas=None):
        item.cas = self._cas(key, cas)
        self.order += 1
        item.order = self.order
        item.stored = item.used = self.now
        self.items[key] = item
        self.held.discard(key)
        self.renewed.discard(key)
        if self.marks and self.now < item.expires < self.now + SOON:
            self.unsteady.add(key)

    def store(self, mode, key, new, compare=None, cas=None, may_be_stale=False):
        """mode: set add replace append prepend cas; returns (outcome, item that is stored).

        compare: CAS number that the item must have, 0 for one that none has.
        cas: chosen for the new item."""
        if self.detail is not None:
            self.count(key, 2)
        old = self.find(key)
        if old is None:
            if mode == "cas":
                return NOT_FOUND, None
            if mode not in ("set", "add"):
                return NOT_STORED, None
            self.put(key, new, cas)
            return STORED, new
        if mode == "add":
            old.used = self.now
            return NOT_STORED, None
        if mode == "cas":
            if not compare:
                return EXISTS, None
            if compare != old.cas:
                if self.marks and may_be_stale and self._automatic(old.cas) and \
                        not self._automatic(compare) and compare < self.MARKED_CAS << 13:
                    self.unmodelled |= compare > SMALL_CAS  # where do the server's numbers begin?
                if not (may_be_stale and compare < old.cas):
                    return EXISTS, None
                new.expires, new.stale, new.sent = old.expires, True, old.sent
        elif mode in ("append", "prepend"):
            if compare is not None and (compare != old.cas or not compare):
                return EXISTS, None
            value = old.value + new.value if mode == "append" else new.value + old.value
            if not self.fits_joined(key, old.flags, len(value)):
                return NOT_STORED, None
            binary = self.larder and (old.binary or new.binary)
            new = Item(value, old.flags, old.expires)
            new.binary = binary
        self.put(key, new, cas)
        return STORED, new

    def delete(self, key):
        """The item that was there, or None."""
        if self.detail is not None:
            self.count(key, 3)
        item = self.find(key)
        if item is not None:
            del self.items[key]
        return item

    def drop(self, key):
        """As delete, where a store failed: an old value must not be read any more."""
        if self.find(key) is not None:
            del self.items[key]

    def add(self, key, up, delta, compare=0, cas=None):
        """incr, decr: returns (number, item) or (outcome, None)."""
        item = self.find(key)
        if item is None:
            return NOT_FOUND, None
        if compare and compare != item.cas and (item.value or self.larder):
            return EXISTS, None
        number = parse_stored(item.value)
        if number is None:
            self.huge = not item.value.strip(SPACES) or bool(HUGE_MINUS.match(item.value))
            return NON_NUMERIC, None
        self.huge = number >= U64 >> 1
        number = (number + delta) % U64 if up else max(number - delta, 0)
        self.counted_held = key in self.held
        text = b"%d" % number
        self.longer = len(text) > len(item.value)
        self.reshaped = len(text) < len(item.value) or item.stale or item.sent
        if len(text) <= len(item.value):
            item.value = text.ljust(len(item.value))
            item.cas = self._cas(key, cas)
            item.used = self.now
        else:
            new = Item(text, item.flags, item.expires)
            new.binary = self.larder and item.binary
            self.put(key, new, cas)
            item = new
        if self.counted_held:
            self.renewed.add(key)
        return number, item

    def flush(self, delay):
        """delay: as an exptime."""
        if delay > 0:
            self.flush_at = self.expiry(delay)
            # In 1.6.18 it is one time for all: what an earlier flush has dropped would be back.
            if self.marks and (self.flush_at > self.now or self.flushed_order):
                self.unsteady.add("flush")
            return
        self.flush_at = 0
        self.flushed_order = self.order
        if self.marks:
            # 1.6.18 tells what came before a flush in the same second by its CAS number.
            self.unsteady.update(k for k, i in self.items.items() if not self._automatic(i.cas))

    # ---- stats detail ----

    def count(self, key, what):
        prefix, colon, _ = key.partition(b":")
        if colon:
            self.detail.setdefault(prefix, [0, 0, 0, 0])[what] += 1

    def detail_dump(self):
        lines = [b"PREFIX %s get %d hit %d set %d del %d\r\n" % (prefix, *counts)
                 for prefix, counts in (self.detail or {}).items()]
        return b"".join(lines) + b"END\r\n"


def parse_stored(value):
    """The number a value stands for, as strtoull reads it, or None."""
    text = value.lstrip(SPACES)
    end = 1 if text[:1] in (b"+", b"-") else 0
    first = end
    while end < len(text) and 48 <= text[end] <= 57:
        end += 1
    if end == first or end < len(text) and text[end] not in SPACES + b"\0":
        return None
    number = int(text[first:end])
    if number >= U64 or text[:1] == b"-" and number:
        return None
    return number
