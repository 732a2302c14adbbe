"""model_text.py -- the model's classic text protocol, and the lines of meta commands.

A line is looked at whole.  What a storage command awaits is kept in `data`: how many bytes,
and what to call with them; `skip` counts bytes of a refused value that are thrown away.
"""
import re

import model_meta
from store import EXISTS, NON_NUMERIC, NOT_FOUND, NOT_STORED, SPACES, STORED, Item

KEY_MAX = 250
LINE_MAX = 2048          # without an end
LINE_READ_MAX = 16384    # with one
GET_LINE_MAX = 1 << 20   # larder only
TOKENS_MAX = 23
VALUE_MAX = (1 << 31) - 3
LARDER_MEGABYTES_MAX = 1 << 14
LONG_MAY_BEGIN = re.compile(rb" {0,100}gets? ")

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
BAD_EXPTIME = b"CLIENT_ERROR invalid exptime argument\r\n"
BAD_DELTA = b"CLIENT_ERROR invalid numeric delta argument\r\n"
NOT_A_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
ERROR = b"ERROR\r\n"
OK = b"OK\r\n"
OUTCOMES = {STORED: b"STORED\r\n", NOT_STORED: b"NOT_STORED\r\n", EXISTS: b"EXISTS\r\n",
            NOT_FOUND: b"NOT_FOUND\r\n"}

GROUPS_OF_STATS = frozenset((b"settings", b"items", b"slabs", b"sizes", b"conns", b"detail",
                             b"cachedump", b"extstore", b"proxy"))

# Numbers where they are strict.
DIGITS = re.compile(rb"[0-9]+\Z")
SIGNED = re.compile(rb"-?[0-9]+\Z")
# As strtol and strtoul do: white space comes first, and ends it as NUL does.
LOOSE = re.compile(rb"[\t\v\f\r]*([+-]?)([0-9]+)(?:[\t\v\f\r\0]|\Z)")


def number(token, bits, signed=False):
    """A strict number of that many bits, or None."""
    if len(token) > (11 if bits == 32 else 22):
        return None
    if not (SIGNED if signed else DIGITS).match(token):
        return None
    value = int(token)
    if signed:
        bits -= 1
    return value if -(1 << bits) <= value < 1 << bits else None


def loose_flags(token, larder):
    """The flags of a storage command: strtoul and 32 bits of it, or None."""
    m = LOOSE.match(token)
    if not m:
        return None
    value = int(m.group(2))
    if value >= 1 << 64:
        return None
    if m.group(1) == b"-" and value:
        value = (1 << 64) - value
        if larder or value >= 1 << 63:
            return None
    return value & 0xffffffff


def loose_exptime(token):
    """The exptime of a storage command: strtol and 32 bits of it, or None."""
    m = LOOSE.match(token)
    if not m:
        return None
    value = int(m.group(1) + m.group(2))
    if not -(1 << 63) <= value < 1 << 63:
        return None
    return ((value + (1 << 31)) & 0xffffffff) - (1 << 31)


class Text:
    def __init__(self, connection):
        self.c = connection
        self.store = connection.store
        self.data = None
        self.skip = 0

    def between_commands(self):
        return self.data is None and not self.skip

    def missing(self):
        """How many bytes are awaited; 0 if it is the end of a line."""
        return self.skip or (self.data[0] - len(self.c.input) if self.data else 0)

    # ---- bytes to lines and values ----

    def step(self):
        """Does one thing; False if it takes more bytes."""
        c = self.c
        if self.skip:
            self.skip = c.swallow(self.skip)
            return not self.skip
        if self.data is not None:
            count, use = self.data
            if len(c.input) < count:
                return False
            self.data = None
            use(c.take(count))
            return True
        end = c.input.find(b"\n")
        if end < 0 or end > LINE_MAX:
            line = c.input if end < 0 else c.input[:end + 1]
            if len(line) > LINE_MAX:
                c.begin(line)
            if self.too_long(line, end >= 0):
                c.closed = True
                return False
            if end < 0:
                return False
        line = c.take(end + 1)
        c.begin(line)
        self.line(line)
        return True

    def too_long(self, line, ended):
        if len(line) <= (LINE_READ_MAX if ended else LINE_MAX):
            return False
        if not LONG_MAY_BEGIN.match(line):
            return True
        if self.store.larder and len(line) > GET_LINE_MAX:
            self.say(b"SERVER_ERROR out of memory reading request\r\n")
            return True
        return False

    def say(self, reply):
        self.c.say(reply)

    # ---- a line ----

    def line(self, line):
        if len(line) < 4:
            self.say(BAD_LINE)
            return
        line = line[:-2] if line[-2] == 13 else line[:-1]
        # Only the blank separates; TAB and the like belong to words.
        words = [w for w in line.split(b" ") if w]
        command = None if line[:1] == b" " or not words else FAST.get(words[0])
        if command is not None:
            command(self, words)
            return
        quiet = self.quiet(words)
        command = ADMIN.get(words[0]) if words else None
        reply = command(self, words, quiet) if command else self.unknown(words)
        if not quiet:
            self.say(reply)

    def quiet(self, words):
        return bool(words) and words[:TOKENS_MAX][-1] == b"noreply"

    def unknown(self, words):
        if len(words) > 1 and words[:TOKENS_MAX][-1].startswith(b"HTTP/"):
            self.c.closed = True
            return b""
        return ERROR

    # ---- storage ----

    def storage(self, words):
        if len(words) < 5:
            self.say(BAD_LINE)
            return
        mode, key = words[0].decode(), words[1]
        length = number(words[4], 32, True)
        if length is None or not 0 <= length <= VALUE_MAX:
            self.say(BAD_LINE)
            return
        store = self.store
        quiet = self.quiet(words)
        flags = loose_flags(words[2], store.larder)
        exptime = loose_exptime(words[3])
        compare = 0
        if mode == "cas":
            compare = number(words[5], 64) if len(words) > 5 else None
        refused = None
        if len(key) > KEY_MAX or flags is None or exptime is None or compare is None:
            refused = BAD_LINE
        elif not store.fits(key, flags, length):
            refused = TOO_LARGE
            if mode == "set":
                store.drop(key)
        if refused:
            self.skip = length + 2
            self.c.log[-1].refused = True
            if not quiet:
                self.say(refused)
            return

        def use(value):
            if value[-2:] != b"\r\n":
                reply = BAD_CHUNK
            else:
                # The expiry counts from the line of the command; the clock may have gone on.
                item = Item(value[:-2], flags, expires)
                reply = OUTCOMES[store.store(mode, key, item, compare or None)[0]]
            if not quiet:
                self.say(reply)

        expires = store.expiry(exptime)
        self.data = (length + 2, use)

    # ---- retrieval ----

    def retrieval(self, words):
        with_cas = words[0][-1:] == b"s"
        keys = words[1:]
        exptime = None
        if words[0][1:2] == b"a":
            if len(words) < 3:
                self.say(BAD_LINE)
                return
            exptime = number(words[1], 32, True)
            if exptime is None:
                self.say(BAD_EXPTIME)
                return
            keys = words[2:]
        if not keys:
            self.say(BAD_LINE)
            return
        store = self.store
        if store.larder and max(map(len, keys)) > KEY_MAX:
            self.say(BAD_LINE)
            return
        found = []
        for key in keys:
            if len(key) > KEY_MAX:
                # Earlier replies that were not sent yet are lost, and a line end too many is sent.
                self.c.replies.clear()
                self.say(BAD_LINE + b"\r\n")
                return
            item = store.get(key) if exptime is None else store.touch(key, exptime)
            if item is None:
                continue
            cas = b" " + store.show_cas(item.cas) if with_cas else b""
            found.append(b"VALUE %s %d %d%s\r\n%s\r\n" % (
                key, item.flags, len(item.value), cas, item.value))
        found.append(b"END\r\n")
        self.say(b"".join(found))

    # ---- other commands on keys ----

    def touch(self, words):
        if len(words) < 3:
            self.say(BAD_LINE)
            return
        exptime = number(words[2], 32, True)
        if len(words[1]) > KEY_MAX:
            reply = BAD_LINE
        elif exptime is None:
            reply = BAD_EXPTIME
        else:
            reply = b"TOUCHED\r\n" if self.store.touch(words[1], exptime) else b"NOT_FOUND\r\n"
        if not self.quiet(words):
            self.say(reply)

    def delete(self, words):
        if len(words) < 2:
            self.say(BAD_LINE)
            return
        if len(words[1]) > KEY_MAX:
            reply = BAD_LINE
        else:
            reply = b"DELETED\r\n" if self.store.delete(words[1]) else b"NOT_FOUND\r\n"
        if not self.quiet(words):
            self.say(reply)

    def arithmetic(self, words):
        if len(words) < 3:
            self.say(BAD_LINE)
            return
        delta = number(words[2], 64)
        if len(words[1]) > KEY_MAX:
            reply = BAD_LINE
        elif delta is None:
            reply = BAD_DELTA
        else:
            store = self.store
            store.counted_held = store.reshaped = store.huge = store.longer = False
            result, _ = store.add(words[1], words[0] == b"incr", delta)
            self.c.counted()
            if result == NOT_FOUND:
                reply = b"NOT_FOUND\r\n"
            elif result == NON_NUMERIC:
                reply = NOT_A_NUMBER
            else:
                reply = b"%d\r\n" % result
        if not self.quiet(words):
            self.say(reply)

    # ---- the server ----

    def version(self, words):
        self.say(b"VERSION %s\r\n" % self.store.options.version)

    def quit(self, words):
        self.c.closed = True

    def stats(self, words):
        """Only what needs no counter."""
        if len(words) > 1 and (words[1] == b"reset" or not self.store.larder
                               and b"reset".startswith(words[1])):
            self.say(b"RESET\r\n")
        else:
            if len(words) == 1 or words[1] in GROUPS_OF_STATS:
                self.store.unmodelled = True
            self.say(ERROR)

    def flush_all(self, words, quiet):
        if not self.store.options.flush:
            return b"CLIENT_ERROR flush_all not allowed\r\n"
        delay = 0
        if len(words) > (2 if quiet else 1):
            delay = number(words[1], 32, True)
            if delay is None:
                return BAD_EXPTIME
        self.store.flush(delay)
        return OK

    def verbosity(self, words, quiet):
        if len(words) < 2:
            return BAD_LINE
        if len(words) > 3 and not self.store.larder:
            return ERROR
        level = number(words[1], 32)
        if level is None:
            return BAD_LINE
        if level:
            self.store.unsteady.add("verbosity")
        return OK

    def cache_memlimit(self, words, quiet):
        if len(words) < 2 or len(words) > 3 and not self.store.larder:
            return ERROR
        megabytes = number(words[1], 32)
        if megabytes is None:
            return ERROR
        if megabytes < 8:
            return b"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
        if megabytes > 1000000000:
            return b"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
        if self.store.larder and megabytes > LARDER_MEGABYTES_MAX:
            self.store.unmodelled = True  # depends on the machine
        self.store.unsteady.add("memlimit")
        return OK

    def shutdown(self, words, quiet):
        if not self.store.options.shutdown:
            return b"SERVER_ERROR: shutdown not enabled\r\n"
        if len(words) > 1 and words[1:] != [b"graceful"]:
            return b"CLIENT_ERROR invalid shutdown mode\r\n"
        self.store.killed = True
        self.c.closed = True
        return b""

    def refresh_certs(self, words, quiet):
        return b"Error TLS not enabled\r\n"

    def unmodern(self, words, quiet):
        """-o no_modern switches these off; otherwise they are not modelled."""
        if self.store.options.no_modern and len(words) > 1:
            if words[0] == b"lru_crawler":
                return b"CLIENT_ERROR lru crawler disabled\r\n"
            if words[0] == b"slabs":
                return b"CLIENT_ERROR slab reassignment disabled\r\n"
        return ERROR


# The first word must begin the line.
FAST = {word: Text.storage for word in (b"set", b"add", b"replace", b"append", b"prepend", b"cas")}
FAST.update({word: Text.retrieval for word in (b"get", b"gets", b"gat", b"gats")})
FAST.update({b"touch": Text.touch, b"delete": Text.delete, b"incr": Text.arithmetic,
             b"decr": Text.arithmetic, b"version": Text.version, b"quit": Text.quit,
             b"stats": Text.stats})
FAST.update({word: command for word, command in model_meta.COMMANDS.items()})

# Blanks may come first.
ADMIN = {b"flush_all": Text.flush_all, b"verbosity": Text.verbosity,
         b"cache_memlimit": Text.cache_memlimit, b"shutdown": Text.shutdown,
         b"refresh_certs": Text.refresh_certs, b"lru": Text.unmodern,
         b"lru_crawler": Text.unmodern, b"slabs": Text.unmodern}
