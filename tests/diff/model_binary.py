"""model_binary.py -- the model's binary protocol.

A request is answered when its header, extras and key are there; a value is awaited after that, as
memcached does it.  What is wrong with the lengths of a request closes the connection.
"""
import struct

from store import EXISTS, NON_NUMERIC, NOT_FOUND, NOT_STORED, STORED, Item

HEADER = struct.Struct(">BBHBBHIIQ")
ANSWER_HEAD = struct.Struct(">BBHBBHI")
KEY_MAX = 250
BODY_MAX = 1 << 30
OK, MISS, DATA_EXISTS, TOO_LARGE, INVALID, REFUSED, BAD_VALUE = range(7)
AUTH_FAILURE, UNKNOWN = 0x20, 0x81
TEXT = {MISS: b"Not found", DATA_EXISTS: b"Data exists for key.", TOO_LARGE: b"Too large.",
        INVALID: b"Invalid arguments", REFUSED: b"Not stored.",
        BAD_VALUE: b"Non-numeric server-side value for incr or decr",
        AUTH_FAILURE: b"Auth failure.", UNKNOWN: b"Unknown command"}
NO_CAS = bytes(8)

# quiet opcode -> what it does otherwise
LOUD = {0x09: 0x00, 0x0d: 0x0c, 0x11: 0x01, 0x12: 0x02, 0x13: 0x03, 0x14: 0x04, 0x15: 0x05,
        0x16: 0x06, 0x17: 0x07, 0x18: 0x08, 0x19: 0x0e, 0x1a: 0x0f, 0x1e: 0x1d, 0x24: 0x23}
MODES = {0x01: "set", 0x02: "add", 0x03: "replace", 0x0e: "append", 0x0f: "prepend"}


class Request:
    __slots__ = ("opcode", "quiet", "what", "extras", "key", "value_length", "body_length",
                 "opaque", "cas")


class Binary:
    def __init__(self, connection):
        self.c = connection
        self.store = connection.store
        self.awaited = None
        self.skip = 0
        self.held = []   # what is said when everything is skipped

    def between_commands(self):
        return self.awaited is None and not self.skip

    def missing(self):
        """How many bytes are awaited."""
        if self.skip:
            return self.skip
        if self.awaited is not None:
            return self.awaited[0] - len(self.c.input)
        there = self.c.input
        want = 24 if len(there) < 24 else 24 + there[4] + int.from_bytes(there[2:4], "big")
        return want - len(there)

    def step(self):
        c = self.c
        if self.skip:
            self.skip = c.swallow(self.skip)
            if not self.skip:
                c.replies += self.held
                self.held = []
            return not self.skip
        if self.awaited is not None:
            count, use = self.awaited
            if len(c.input) < count:
                return False
            self.awaited = None
            use(c.take(count))
            return True
        if len(c.input) < 24:
            return False
        (magic, opcode, key_length, extras_length, _, _, body_length, opaque,
         cas) = HEADER.unpack_from(c.input)
        if magic != 0x80:
            c.begin(None)
            c.closed = True
            return False
        if len(c.input) < 24 + extras_length + key_length:
            return False
        c.take(24)
        r = Request()
        r.opcode, r.opaque, r.cas, r.body_length = opcode, opaque, cas, body_length
        r.extras = c.take(extras_length)
        r.key = c.take(key_length)
        r.value_length = body_length - key_length - extras_length
        r.what = LOUD.get(opcode, opcode)
        r.quiet = opcode in LOUD
        c.begin(r)
        self.carry_out(r)
        return True

    # ---- replies ----

    def answer(self, r, status=OK, extras=b"", key=b"", value=b"", cas=NO_CAS):
        self.c.say(b"".join((
            ANSWER_HEAD.pack(0x81, r.opcode, len(key), len(extras), 0, status,
                             len(extras) + len(key) + len(value)),
            r.opaque.to_bytes(4, "big"), cas, extras, key, value)))

    def fail(self, r, status, close=False):
        self.answer(r, status, value=TEXT[status])
        if close:
            self.c.closed = True

    def fail_and_skip(self, r, status, count):
        """The reply comes when the bytes that are thrown away have come."""
        self.fail(r, status)
        if count:
            self.held.append(self.c.replies.pop())
            self.skip = count

    def done(self, r, cas=0, **parts):
        """A success: quiet ones are not answered."""
        if not r.quiet:
            self.answer(r, cas=self.store.show_cas_bytes(cas), **parts)

    # ---- requests ----

    def carry_out(self, r):
        if r.value_length < 0:
            self.fail(r, UNKNOWN, close=True)
        elif len(r.key) > KEY_MAX or r.body_length > BODY_MAX:
            self.fail(r, INVALID, close=True)
        elif r.what not in COMMANDS:
            # memcached has taken extras and key already, and counts them once more.
            sane = "bin/unknown-opcode-body-swallowed" in self.store.differs
            self.fail_and_skip(r, UNKNOWN, r.value_length if sane else r.body_length)
        else:
            command, extras, key, value = COMMANDS[r.what]
            if (len(r.extras) not in extras or key != "any" and key != bool(r.key)
                    or r.value_length and not value):
                self.fail(r, INVALID, close=True)
            else:
                command(self, r)

    def storage(self, r):
        store = self.store
        flags, exptime = struct.unpack(">II", r.extras) if r.extras else (0, 0)
        mode = MODES[r.what]
        if not store.fits(r.key, flags, r.value_length):
            if mode == "set":
                store.drop(r.key)
            self.fail_and_skip(r, TOO_LARGE, r.value_length)
            return
        expires = store.expiry(exptime)

        def use(value):
            how = "cas" if r.cas and mode not in ("append", "prepend") else mode
            outcome, item = store.store(how, r.key, Item(value, flags, expires), r.cas or None)
            if outcome == STORED:
                self.done(r, item.cas)
            elif outcome == EXISTS or outcome == NOT_STORED and how == "add":
                self.fail(r, DATA_EXISTS)
            elif outcome == NOT_FOUND or how == "replace":
                self.fail(r, MISS)
            else:
                self.fail(r, REFUSED)

        self.awaited = (r.value_length, use)

    def retrieval(self, r):
        store = self.store
        if r.extras:
            item = store.touch(r.key, int.from_bytes(r.extras, "big"))
        else:
            item = store.get(r.key)
        with_key = r.what in (0x0c, 0x23)
        if item is None:
            if r.quiet:
                return
            if with_key:
                self.answer(r, MISS, key=r.key)
            else:
                self.fail(r, MISS)
            return
        self.c.shown(r.key, True)
        self.answer(r, extras=item.flags.to_bytes(4, "big"), key=r.key if with_key else b"",
                    value=b"" if r.what == 0x1c else item.value,
                    cas=store.show_cas_bytes(item.cas))

    def delete(self, r):
        item = self.store.find(r.key)
        if item is None:
            self.fail(r, MISS)
        elif r.cas and r.cas != item.cas:
            self.fail(r, DATA_EXISTS)
        else:
            self.store.delete(r.key)
            self.done(r)

    def arithmetic(self, r):
        store = self.store
        delta, initial, exptime = struct.unpack(">QQI", r.extras)
        store.counted_held = store.reshaped = store.huge = store.longer = False
        result, item = store.add(r.key, r.what == 5, delta, r.cas)
        self.c.counted()
        if result == NOT_FOUND:
            if exptime == 0xffffffff:
                self.fail(r, MISS)
                return
            result = initial
            item = Item(b"%d" % initial, 0, store.expiry(exptime))
            store.put(r.key, item)
        elif result == EXISTS:
            self.fail(r, DATA_EXISTS)
            return
        elif result == NON_NUMERIC:
            self.fail(r, BAD_VALUE)
            return
        self.done(r, item.cas, value=result.to_bytes(8, "big"))

    def flush(self, r):
        if not self.store.options.flush:
            self.fail(r, AUTH_FAILURE)
            return
        self.store.flush(int.from_bytes(r.extras, "big"))
        self.done(r)

    def version(self, r):
        self.answer(r, value=self.store.options.version)

    def noop(self, r):
        self.answer(r)

    def quit(self, r):
        self.done(r)
        self.c.closed = True

    def stat(self, r):
        """Only what needs no counter."""
        store = self.store
        asked = r.key
        if store.larder:  # words, as in text; memcached compares beginnings
            words = [w for w in r.key.split(b" ") if w]
            asked = b" ".join(words[:2] if words[:1] == [b"detail"] else words[:1])

        def begins(name):
            return asked == name or asked.startswith(name) and not store.larder

        if begins(b"reset"):
            for counts in (store.detail or {}).values():
                counts[:] = [0, 0, 0, 0]
        elif begins(b"detail on"):
            store.detail = store.detail or {}
        elif begins(b"detail off"):
            store.detail = None
        elif begins(b"detail dump"):
            self.answer(r, key=b"detailed", value=store.detail_dump())
        elif asked == b"sizes":
            self.answer(r, key=b"sizes_status", value=b"disabled")
        else:
            store.unmodelled |= asked in (b"", b"settings", b"items", b"slabs")
            self.fail(r, MISS)
            return
        self.answer(r)

    def sasl(self, r):
        """Switched off: unknown."""
        self.fail_and_skip(r, UNKNOWN, r.value_length)


# what: (how, allowed lengths of extras, key must be there / must not / "any", value may follow)
COMMANDS = {0x07: (Binary.quit, (0,), False, False),
            0x08: (Binary.flush, (0, 4), False, False),
            0x0a: (Binary.noop, (0,), False, False),
            0x0b: (Binary.version, (0,), False, False),
            0x10: (Binary.stat, (0,), "any", False),
            0x20: (Binary.sasl, (0,), False, False),
            0x21: (Binary.sasl, (0,), True, True),
            0x22: (Binary.sasl, (0,), True, True)}
COMMANDS.update({code: (Binary.storage, (8,), True, True) for code in (0x01, 0x02, 0x03)})
COMMANDS.update({code: (Binary.storage, (0,), True, True) for code in (0x0e, 0x0f)})
COMMANDS.update({code: (Binary.retrieval, (0,), True, False) for code in (0x00, 0x0c)})
COMMANDS.update({code: (Binary.retrieval, (4,), True, False) for code in (0x1c, 0x1d, 0x23)})
COMMANDS.update({0x04: (Binary.delete, (0,), True, False)})
COMMANDS.update({code: (Binary.arithmetic, (20,), True, False) for code in (0x05, 0x06)})
