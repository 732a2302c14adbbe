"""model_meta.py -- the model's meta commands: mg ms md ma me mn.

A flag is a letter and what follows it up to the blank.  All flags of a line are read first
(`Flags`); then the command is carried out, and its reply lists what was asked for in order.
"""
import base64
import re

from store import EXISTS, NON_NUMERIC, NOT_FOUND, NOT_STORED, STORED, Item

KEY_MAX = 250
OPAQUE_MAX = 32   # its letter included
TOKENS_MAX = 23   # words beyond these are not looked at
WORDS_MAX = 20    # command and key included
VALUE_MAX = (1 << 31) - 3

BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
BAD_TOKEN = b"CLIENT_ERROR bad token in command line format\r\n"
BAD_CHUNK = b"CLIENT_ERROR bad data chunk\r\n"
BAD_KEY = b"CLIENT_ERROR error decoding key\r\n"
TWICE = b"CLIENT_ERROR duplicate flag\r\n"
INVALID = b"CLIENT_ERROR invalid flag\r\n"
INVALID_MA = b"CLIENT_ERROR invalid or duplicate flag\r\n"
TOO_MANY = b"CLIENT_ERROR options flags are too long\r\n"
OPAQUE_TOO_LONG = b"CLIENT_ERROR opaque token too long\r\n"
NOT_A_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
TOO_LARGE = b"SERVER_ERROR object too large for cache\r\n"
OUTCOMES = {STORED: b"HD", NOT_STORED: b"NS", EXISTS: b"EX", NOT_FOUND: b"NF"}

KNOWN = frozenset(b"bNTRlOPLkstcfvhuqxFCEMJDI")
FIRST = frozenset(range(ord("A"), ord("z") + 1)) | frozenset(b"0123456789")
U64_FLAGS = {ord("C"): BAD_TOKEN, ord("E"): BAD_TOKEN,
             ord("J"): b"CLIENT_ERROR invalid numeric initial value\r\n",
             ord("D"): b"CLIENT_ERROR invalid numeric delta value\r\n"}
I32_FLAGS = frozenset(b"TNR")
BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
FOREIGN = bytes(c for c in range(256) if c not in BASE64 + b"=")
DIGITS = re.compile(rb"[0-9]+\Z")
SIGNED = re.compile(rb"-?[0-9]+\Z")
MODES_SET = {b"": "set", b"S": "set", b"E": "add", b"A": "append", b"P": "prepend",
             b"R": "replace"}
MODES_ADD = {b"": True, b"I": True, b"+": True, b"D": False, b"-": False}
JOIN = ("append", "prepend")


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


def decode(token):
    """A key in base64; foreign bytes are passed over, padding ends it.  None if it is none."""
    token = token.translate(None, FOREIGN)
    if not token or len(token) % 4:
        return None
    key = b""
    for at in range(0, len(token), 4):
        block = token[at:at + 4]
        padding = block.count(b"=")
        if padding > 2:
            return None
        key += base64.b64decode(block.replace(b"=", b"A"))[:3 - padding]
        if padding:
            break
    return key or None


class Flags:
    """The flags of one line.  `error` is what has to be answered, or None."""

    def __init__(self, words, first, larder=False):
        self.larder = larder
        self.error = None
        self.key = words[1]
        self.list = words[first:]
        self.has = {}
        if len(self.key) > KEY_MAX:
            self.error = BAD_LINE
        elif len(words) > WORDS_MAX:
            self.error = TOO_MANY
        else:
            self.read()

    def read(self):
        error = None
        has = self.has
        for word in self.list:
            letter = word[0]
            if letter in has:
                self.error = TWICE
                return
            if letter not in KNOWN:
                self.error = INVALID
                return
            value = word[1:]
            if letter in I32_FLAGS:
                value = number(value, 32, True)
                if value is None:
                    error = BAD_TOKEN
            elif letter in U64_FLAGS:
                value = number(value, 64)
                if value is None:
                    error = U64_FLAGS[letter]
            elif letter == 70:  # F
                value = number(value, 32)
                if value is None:
                    error = BAD_LINE
            elif letter == 98:  # b
                self.key = decode(self.key)
                if self.key is None:
                    error = BAD_KEY
            has[letter] = value
        self.error = error

    def __contains__(self, letter):
        return ord(letter) in self.has

    def get(self, letter, default=None):
        return self.has.get(ord(letter), default)

    @property
    def opaque_too_long(self):
        return "O" in self and len(self.get("O")) + 1 > OPAQUE_MAX

    def shown_key(self, key, binary):
        if self.larder and (b" " in key or b"\n" in key):
            binary = True
        return b" k%s b" % base64.b64encode(key) if binary else b" k" + key

    def echo(self):
        """Opaque and key as they are reflected without an item."""
        said = []
        for word in self.list:
            if word[0] == 79:
                said.append(b" " + word)
            elif word[0] == 107:
                said.append(self.shown_key(self.key, "b" in self))
        return b"".join(said)


def flags_begin_well(words, first):
    return all(word[0] in FIRST for word in words[first:TOKENS_MAX])


# ---- mg -------------------------------------------------------------------------------------

def get(text, words):
    if len(words) < 2 or not flags_begin_well(words, 2):
        text.say(BAD_LINE)
        return
    flags = Flags(words, 2, text.store.larder)
    error = flags.error or (OPAQUE_TOO_LONG if flags.opaque_too_long else None)
    if error:
        text.say(error)
        return
    store, key = text.store, flags.key
    item = store.find(key)
    created = False
    if item is None:
        if "N" not in flags:
            if "q" not in flags:
                text.say(b"EN" + flags.echo() + b"\r\n")
            return
        item = Item(b"", 0, 0)
        store.put(key, item, flags.get("E"))
        created = True
    text.c.shown(key, True)
    text.say(get_reply(store, key, item, created, flags))


def get_reply(store, key, item, created, flags):
    hidden = "C" in flags and flags.get("C") == item.cas
    value = "v" in flags and not hidden
    said = [b"VA %d" % len(item.value) if value else b"HD"]
    won = False
    for word in flags.list:
        letter = word[:1]
        if letter == b"T":
            store.set_expiry(key, item, store.expiry(flags.get("T")))
        elif letter == b"N":
            if created:
                store.set_expiry(key, item, store.expiry(flags.get("N")))
                won = True
        elif letter == b"R":
            limit = store.expiry(flags.get("R"))
            if not created and not item.sent and 0 < item.expires < limit:
                won = True
        elif letter == b"s":
            said.append(b"s%d" % len(item.value))
        elif letter == b"t":
            said.append(b"t" + store.show_ttl(item))
        elif letter == b"c":
            said.append(b"c" + store.show_cas(item.cas))
        elif letter == b"f":
            said.append(b"f%d" % item.flags)
        elif letter == b"l":
            said.append(b"l" + store.show_age(item))
        elif letter == b"h":
            said.append(b"h%d" % item.fetched)
        elif letter == b"O":
            said.append(word)
        elif letter == b"k":
            said.append(flags.shown_key(key, item.binary)[1:])
    if item.sent:
        said.append(b"Z")
    if item.stale:
        said.append(b"X")
        won |= not item.sent
    if won:
        said.append(b"W")
        item.sent = True
    if "u" not in flags:
        store.read(key, item)
        item.used = store.now
    line = b" ".join(said) + b"\r\n"
    return line + item.value + b"\r\n" if value else line


# ---- ms -------------------------------------------------------------------------------------

def put(text, words):
    if len(words) < 3 or not flags_begin_well(words, 3):
        text.say(BAD_LINE)
        return
    length = number(words[2], 32, True)
    if length is None or not 0 <= length <= VALUE_MAX:
        text.say(BAD_LINE)
        return
    store = text.store
    flags = Flags(words, 3, text.store.larder)
    mode = MODES_SET.get(flags.get("M", b"S")[:1] if "M" in flags else b"")
    if "M" in flags and not flags.get("M"):
        mode = None
    error = flags.error
    if not error and mode is None:
        error = b"CLIENT_ERROR invalid mode for ms M token\r\n"
    if not error and flags.opaque_too_long:
        error = OPAQUE_TOO_LONG
    if not error and not store.fits(flags.key, flags.get("F", 0), length):
        error = TOO_LARGE
        store.drop(flags.key)
    if error:
        text.skip = length + 2
        text.c.log[-1].refused = True
        text.say(error)
        return
    if "C" in flags and mode in ("set", "replace"):
        mode = "cas"
    expires = store.expiry(flags.get("T", 0))
    viable = mode in JOIN and "N" in flags
    if viable:
        expires = store.expiry(flags.get("N"))

    def use(value):
        if value[-2:] != b"\r\n":
            text.say(BAD_CHUNK)
            return
        new = Item(value[:-2], flags.get("F", 0), expires)
        new.binary = "b" in flags
        key, how = flags.key, mode
        if viable and store.find(key) is None:
            how = "set"
        outcome, item = store.store(how, key, new, flags.get("C"), flags.get("E"), "I" in flags)
        text.say(put_reply(store, outcome, item, new, flags))

    if flags.get("E") == 0:
        flags.has.pop(ord("E"))  # an automatic one
    text.data = (length + 2, use)


def put_reply(store, outcome, item, new, flags):
    if outcome == STORED and "q" in flags:
        return b""
    said = [OUTCOMES[outcome]]
    for word in flags.list:
        letter = word[:1]
        if letter == b"O":
            said.append(word)
        elif letter == b"k":
            said.append(flags.shown_key(flags.key, "b" in flags)[1:])
        elif letter == b"s":
            said.append(b"s%d" % len((item or new).value))
        elif letter == b"c":
            said.append(b"c" + (store.show_cas(item.cas) if item else b"0"))
    return b" ".join(said) + b"\r\n"


# ---- md -------------------------------------------------------------------------------------

def delete(text, words):
    if len(words) < 2 or not flags_begin_well(words, 2):
        text.say(BAD_LINE)
        return
    flags = Flags(words, 2, text.store.larder)
    error = flags.error or (OPAQUE_TOO_LONG if flags.opaque_too_long else None)
    if error:
        text.say(error)
        return
    store, key = text.store, flags.key
    item = store.find(key)
    if item is None:
        text.say(b"NF" + flags.echo() + b"\r\n")
        return
    if "C" in flags and flags.get("C") != item.cas:
        text.say(b"EX" + flags.echo() + b"\r\n")
        return
    if "x" in flags:
        empty = Item(b"", flags.get("F", 0), store.expiry(flags.get("T", 0)))
        empty.binary = store.larder and item.binary
        store.put(key, empty, flags.get("E", item.cas) if store.options.cas else None)
        item = empty
    if "I" in flags:
        item.stale = True
        item.sent = False
        item.cas = store._cas(key, flags.get("E"))
        if "T" in flags:
            store.set_expiry(key, item, store.expiry(flags.get("T")))
    if "x" not in flags and "I" not in flags:
        del store.items[key]
    if "q" not in flags:
        text.say(b"HD" + flags.echo() + b"\r\n")


# ---- ma -------------------------------------------------------------------------------------

def arithmetic(text, words):
    if len(words) < 2 or not flags_begin_well(words, 2):
        text.say(BAD_LINE)
        return
    flags = Flags(words, 2, text.store.larder)
    if flags.error:
        text.say(INVALID_MA)
        return
    up = MODES_ADD.get(flags.get("M", b"I")[:1] if flags.get("M", b"I") else None)
    if up is None:
        text.say(b"CLIENT_ERROR invalid mode for ma M token\r\n")
        return
    if flags.opaque_too_long:
        text.say(OPAQUE_TOO_LONG)
        return
    store, key = text.store, flags.key
    store.counted_held = store.reshaped = store.huge = store.longer = False
    result, item = store.add(key, up, flags.get("D", 1), flags.get("C", 0), flags.get("E"))
    text.c.counted()
    created = False
    if result == NON_NUMERIC:
        text.say(NOT_A_NUMBER)
        return
    if result == EXISTS:
        text.say(b"EX" + flags.echo() + b"\r\n")
        return
    if result == NOT_FOUND:
        if "N" not in flags:
            text.say(b"NF" + flags.echo() + b"\r\n")
            return
        result = flags.get("J", 0)
        item = Item(b"%d" % result, 0, 0)
        store.put(key, item, flags.get("E"))
        created = True
    reply = arithmetic_reply(store, key, item, created, result, flags)
    if "q" not in flags:
        text.say(reply)


def arithmetic_reply(store, key, item, created, result, flags):
    shown = b"%d" % result
    said = [b"VA %d" % len(shown) if "v" in flags else b"HD"]
    for word in flags.list:
        letter = word[:1]
        if letter == b"c":
            said.append(b"c" + store.show_cas(item.cas))
        elif letter == b"t":
            said.append(b"t" + store.show_ttl(item))
        elif letter == b"T":
            store.set_expiry(key, item, store.expiry(flags.get("T")))
        elif letter == b"N":
            if created:
                store.set_expiry(key, item, store.expiry(flags.get("N")))
        elif letter == b"O":
            said.append(word)
        elif letter == b"k":
            said.append(flags.shown_key(key, "b" in flags)[1:])
    line = b" ".join(said) + b"\r\n"
    return line + shown + b"\r\n" if "v" in flags else line


# ---- me, mn ---------------------------------------------------------------------------------

def explain(text, words):
    if len(words) < 2 or len(words[1]) > KEY_MAX or not flags_begin_well(words, 2):
        text.say(BAD_LINE)
        return
    key = words[1]
    least = 3 if "me/b-flag-alone-ignored" in text.store.differs else 4
    if len(words) >= least and words[2][:1] == b"b":
        key = decode(key)
        if key is None:
            text.say(BAD_LINE)
            return
    store = text.store
    item = store.find(key)
    if item is None:
        text.say(b"EN\r\n")
        return
    text.c.shown(key, False)
    unknown = store.marks.any_number() if store.marks else b"0"
    text.say(b"ME %s exp=%s la=%s cas=%s fetch=%s cls=%s size=%s\r\n" % (
        base64.b64encode(key) if item.binary else key, store.show_ttl(item),
        store.show_age(item), store.show_cas(item.cas), b"yes" if item.fetched else b"no",
        unknown, unknown))


def noop(text, words):
    text.say(b"MN\r\n")


COMMANDS = {b"mg": get, b"ms": put, b"md": delete, b"ma": arithmetic, b"me": explain,
            b"mn": noop}
