"""rules.py -- why memcached 1.6.18 answers otherwise than the model of 1.6.45.

A rule has a name, the recording that decides for 1.6.45, and a function of one command that the
model understood: a line, or a binary request.  Where it applies it says what 1.6.18 answers there
(or ANYTHING), and whether both agree about all that follows.  Where they do not (data is read as
commands, a value is stored in one and not in the other), the rest of the batch is not compared.
Some rules rewrite the reply instead; where several apply they do so together.  A cause that shows
in several places has one name, and a row for each of them.

A rule is asked before replies are compared: the state may differ where replies do not.
"""
import re

import marks
from model import Event
from model_binary import COMMANDS
from model_meta import FIRST, OPAQUE_MAX, WORDS_MAX, decode
from model_text import KEY_MAX, LINE_MAX, TOKENS_MAX, number

ERROR = b"ERROR\r\n"
BAD_LINE = b"CLIENT_ERROR bad command line format\r\n"
STORAGE = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")
META = (b"mg", b"ms", b"md", b"ma")
SHOWING = (b"mg", b"me")
ANYTHING = None
# How many words a command has in 1.6.18, itself included.
COUNTS = {b"set": (5, 6), b"add": (5, 6), b"replace": (5, 6), b"append": (5, 6),
          b"prepend": (5, 6), b"cas": (6, 7), b"get": (2, 999), b"gets": (2, 999),
          b"gat": (2, 999), b"gats": (2, 999), b"touch": (3, 4), b"delete": (2, 4),
          b"incr": (3, 4), b"decr": (3, 4), b"flush_all": (1, 3), b"verbosity": (2, 3),
          b"mg": (2, 99), b"ms": (2, 99), b"md": (2, 99), b"ma": (2, 99), b"me": (2, 99),
          b"cache_memlimit": (2, 3), b"shutdown": (1, 2), b"version": (1, 1)}
FAST = frozenset(STORAGE + META + (b"get", b"gets", b"gat", b"gats", b"touch", b"delete", b"incr",
                                   b"decr", b"version", b"quit", b"stats", b"me", b"mn"))
KNOWN = FAST | frozenset((b"flush_all", b"verbosity", b"cache_memlimit", b"shutdown",
                          b"refresh_certs"))
LENIENT = re.compile(rb"[\t\v\f\r]*[+-]?[0-9]+(?:[\t\v\f\r\0]|\Z)")
MUCH = 5000  # bytes: more does not come in a batch
# The places of numbers that are strict in 1.6.45: word, bits, signed.
NUMBERS = {b"incr": (2, 64, False), b"decr": (2, 64, False), b"touch": (2, 32, True),
           b"gat": (1, 32, True), b"gats": (1, 32, True), b"flush_all": (1, 32, True),
           b"cas": (5, 64, False), b"verbosity": (1, 32, False),
           b"cache_memlimit": (1, 32, False)}
NUMBERS_OF_FLAGS = {b"C": (64, False), b"J": (64, False), b"D": (64, False), b"F": (32, False),
                    b"T": (32, True), b"N": (32, True), b"R": (32, True)}


class Line:
    """What text rules look at."""

    def __init__(self, event, expected, piece=False):
        line = event.what
        self.raw = line
        self.refused = event.refused
        self.renewed = event.renewed
        self.piece = piece      # its beginning may belong to a value
        self.follow = MUCH      # how many bytes may come after it
        self.expected = expected
        body = line[:-1]
        self.line = body[:-1] if body[-1:] == b"\r" else body
        self.words = [w for w in self.line.split(b" ") if w]
        self.verb = self.words[0] if self.words else b""
        self.fast = self.line[:1] != b" " and self.verb in FAST
        self.short = len(line) < 4
        self.quiet = self.words[:TOKENS_MAX][-1:] == [b"noreply"]
        self.first_flag = 3 if self.verb == b"ms" else 2
        self.flags = self.words[self.first_flag:] if self.verb in META else []


def short_line(c):
    if c.short:
        return (b"MN\r\n" if c.line == b"mn" else ERROR), True


def nul(c):
    if b"\0" in c.line:
        return ANYTHING, False


def leading_blank(c):
    if c.line[:1] == b" " and c.verb in FAST:
        return ANYTHING, False


def word_count(c):
    least, most = COUNTS.get(c.verb, (0, 999))
    if (c.fast or c.verb in COUNTS) and not least <= len(c.words) <= most:
        harmless = c.expected in (ERROR, BAD_LINE) and (c.verb not in STORAGE or len(c.words) < 5)
        return ERROR, harmless


def gat_without_key(c):
    if c.verb in (b"gat", b"gats") and len(c.words) == 2:
        return (b"END\r\n" if LENIENT.match(c.words[1]) else
                b"CLIENT_ERROR invalid exptime argument\r\n"), True


def quiet_bad_length(c):
    if c.quiet and c.verb in STORAGE and not c.refused and c.expected == BAD_LINE:
        return b"", True


def delete_noreply(c):
    if c.words == [b"delete", b"noreply"]:
        return (b"NOT_FOUND\r\n", b"DELETED\r\n"), True


def delete_usage(c):
    """Only a 0 and noreply may follow the key."""
    if c.verb == b"delete" and len(c.words) > 2 and c.words[2:] not in (
            [b"0"], [b"noreply"], [b"0", b"noreply"]):
        usage = BAD_LINE[:-2] + b".  Usage: delete <key> [noreply]\r\n"
        return b"" if c.quiet else usage, c.expected == b"NOT_FOUND\r\n"


def version(c):
    if c.expected.startswith(b"VERSION 1.6.45") and c.verb == b"version":
        return b"VERSION 1.6.18\r\n", True


def unknown_noreply(c):
    if c.quiet and (c.verb not in KNOWN or c.verb == b"shutdown"):
        return (b"ERROR: shutdown not enabled\r\n" if c.verb == b"shutdown" else ERROR), True


def shutdown_text(c):
    if c.verb == b"shutdown" and not c.quiet:
        return b"ERROR: shutdown not enabled\r\n", True


def refused_not_swallowed(c):
    """The line is refused, and the data is read as commands."""
    if c.refused and not (c.verb in STORAGE and c.expected.startswith(b"SERVER_ERROR")):
        return ANYTHING, False


def lenient_number(c):
    numbers = []
    if c.verb in NUMBERS:
        at, bits, signed = NUMBERS[c.verb]
        numbers = [(word, bits, signed) for word in c.words[at:at + 1]]
    for flag in c.flags:
        bits, signed = NUMBERS_OF_FLAGS.get(flag[:1], (0, False))
        if bits:
            numbers.append((flag[1:], bits, signed))
    if any(number(*one) is None and LENIENT.match(one[0]) for one in numbers):
        return ANYTHING, False


# ---- meta commands --------------------------------------------------------------------------

FLAG_ERROR = re.compile(rb"CLIENT_ERROR (duplicate flag|invalid flag|bad token in command line "
                        rb"format|bad command line format|error decoding key|options flags are "
                        rb"too long|invalid numeric \w+ value|invalid or duplicate flag)\r\n")
SHOWN_KEY = re.compile(rb" k([A-Za-z0-9+/]+=*) b(?=[ \r])")
SHOWN_KEY_OF_ME = re.compile(rb"(?<=ME )([A-Za-z0-9+/]+=*)(?= exp=)")
TIME_LEFT = re.compile(rb" exp=(?=%ss[1-9])" % marks.HEAD)
NOT_A_NUMBER = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
NOT_A_NUMBER_TEXT = b"Non-numeric server-side value for incr or decr"
NOT_A_NUMBER_HEAD = b"\x81%c" + bytes(5) + b"\6\0\0\0\x2e"
INVALID_OR_DUPLICATE = b"CLIENT_ERROR invalid or duplicate flag\r\n"
TOO_MANY = b"CLIENT_ERROR options flags too long\r\n"


def meta_unknown_flag(c):
    """E and x are not known; C of mg is passed over."""
    letters = [w[:1] for w in c.flags]
    if b"E" in letters or b"x" in letters or c.verb == b"mg" and b"C" in letters:
        return ANYTHING, False


def meta_words_too_many(c):
    """One word fewer is allowed, and the text is another."""
    if c.verb in META and len(c.words) >= WORDS_MAX:
        return ANYTHING, False


def meta_late_opaque(c):
    """The command is carried out before an opaque is found too long."""
    if c.verb in (b"mg", b"ma") and any(w[:1] == b"O" and len(w) > OPAQUE_MAX for w in c.flags):
        return ANYTHING, False


def ms_size(c):
    """The flag s of ms is passed over."""
    if c.verb == b"ms" and b"s" in [w[:1] for w in c.flags]:
        return re.sub(rb" s\d+", b"", c.expected), True


def ms_append(c):
    """append and prepend do not make an item for N; C0 compares nothing there."""
    if c.verb == b"ms" and any(w[:2] in (b"MA", b"MP") for w in c.flags) and any(
            w[:1] == b"N" or w[:1] == b"C" and w[1:].strip(b"0") == b"" for w in c.flags):
        return ANYTHING, False


def ma_quiet_vivify(c):
    letters = [w[:1] for w in c.flags]
    if c.verb == b"ma" and b"q" in letters and b"N" in letters and c.expected == b"":
        return ANYTHING, False


def ma_long_key(c):
    if c.verb == b"ma" and len(c.words) > 1 and len(c.words[1]) > KEY_MAX:
        return BAD_LINE, True


def me_base64(c):
    """The flag b of me must be a word of its own."""
    if c.verb == b"me" and c.words[2:3] and c.words[2][:1] == b"b" and c.words[2] != b"b":
        return ANYTHING, False


def meta_foreign_byte(c):
    if any(w[0] not in FIRST for w in (c.words[2:] if c.verb == b"me" else c.flags)):
        return ANYTHING, False


def meta_mode(c):
    if any(w[:1] == b"M" and not (len(w) == 2 and not w[1:].islower()) for w in c.flags):
        return ANYTHING, False


def error_of_f(c):
    """A bad number after F has no text of its own: an earlier one stays."""
    if c.expected == BAD_LINE and any(w[:1] == b"F" and number(w[1:], 32) is None
                                      for w in c.flags):
        return tuple(b"CLIENT_ERROR %s\r\n" % text for text in (
            b"bad token in command line format", b"error decoding key",
            b"invalid numeric delta value", b"invalid numeric initial value")), True


def md_error(c):
    if c.verb == b"md" and FLAG_ERROR.fullmatch(c.expected):
        return INVALID_OR_DUPLICATE, True


# ---- what rewrites a reply --------------------------------------------------------------------

def base64_forgotten(c):
    """append, and counting that makes a new item, forget that a key was in base64."""
    pattern, sign = (SHOWN_KEY, b" k") if c.verb == b"mg" else (SHOWN_KEY_OF_ME, b"")
    return pattern.sub(lambda m: sign + (decode(m.group(1)) or m.group(1)), c.expected)


def nobody_has_fetched(c):
    """The new item that counting has made where the old one is held."""
    if not c.renewed:
        return c.expected
    return c.expected.replace(b" fetch=yes", b" fetch=no").replace(b" h1", b" h0")


def me_exptime(c):
    """It shows the time that is left as a negative number."""
    return TIME_LEFT.sub(b" exp=-", c.expected) if c.verb == b"me" else c.expected


# ---- what changes replies to commands before it -----------------------------------------------

def closes(c):
    """1.6.18 closes without sending the replies that it has not sent yet."""
    long_key = c.verb in (b"get", b"gets", b"gat", b"gats") and max(map(len, c.words)) > KEY_MAX
    guard = c.words and c.words[-1].startswith(b"HTTP/") and (
        c.piece or not (c.fast or c.verb in KNOWN))
    return long_key or guard or len(c.raw) > LINE_MAX


def awaits_more(c):
    """It waits for more data than comes, and holds back its replies.

    The length is a number to 1.6.18 alone; or the line is, and its length is for what the model
    finds in the data: "replace f 1 1 1000 3" as the value of a line that 1.6.18 has refused."""
    at = 2 if c.verb == b"ms" else 4
    if c.verb not in STORAGE and c.verb != b"ms" or len(c.words) <= at:
        return False
    if c.line[:1] == b" " and LENIENT.match(c.words[at]):
        return True  # to 1.6.18 it is a command
    length = number(c.words[at], 32, True)
    return length + 2 > c.follow if length is not None else LENIENT.match(c.words[at])


def ms_reads_on(c):
    """The data is awaited in spite of a flag that begins with a foreign byte."""
    return c.verb == b"ms" and (b"\0" in c.line or any(w[0] not in FIRST for w in c.flags))


# name, recordings that decide, function
TEXT = (
    ("short line", "parse/empty-crlf parse/two-char-unknown-lf mn/lf", short_line),
    ("NUL ends a line", "parse/nul-in-command set/binary-value", nul),
    ("leading blank", "parse/leading-space-get parse/leading-space-mn", leading_blank),
    ("count of words", "get/no-key set/unknown-extra-token delete/no-key incr/no-delta",
     word_count),
    ("gat without key", "gat/no-key gats/no-key", gat_without_key),
    ("noreply and a bad length", "set/noreply-bad-length", quiet_bad_length),
    ("delete of the key noreply", "touch/noreply-as-exptime", delete_noreply),
    ("usage of delete", "delete/zero-arg delete/10-noreply", delete_usage),
    ("version", "version/plain", version),
    ("noreply of unknown commands", "set/bad-chunk-noreply", unknown_noreply),
    ("shutdown's refusal", "shutdown/disabled-graceful", shutdown_text),
    ("data of a refused line", "set/key-251 set/flags-alpha cas/bad-cas ms/key-251",
     refused_not_swallowed),
    ("lenient numbers", "incr/delta-23-digits touch/float-exptime mg/T-overflow ms/F-too-big",
     lenient_number),
)
WHOLE = (
    ("replies lost by a close", "get/key-251-drops-earlier-pipelined-replies parse/http-get "
     "parse/long-junk-no-newline", closes),
    ("data that does not come", "set/length-12-digits set/length-plus ms/len-alpha set/key-251",
     awaits_more),
    ("foreign byte as flag", "mg/invalid-flag-bang", ms_reads_on),
)
META_RULES = (
    ("flags of newer versions", "mg/N-vivify ms/E md/x mg/C-match-hides-value",
     meta_unknown_flag),
    ("too many words", "mg/19-flags ma/too-many-flags", meta_words_too_many),
    ("opaque that is too long", "mg/O-max-31 ma/O-too-long", meta_late_opaque),
    ("N and C0 of append", "ms/mode-P-miss-N ms/C0-existing", ms_append),
    ("quiet vivify of ma", "ma/N-q", ma_quiet_vivify),
    ("over-long key of ma", "ma/bad-base64 ma/dup-flag", ma_long_key),
    ("base64 of me", "me/b-flag-alone-ignored me/b-flag-with-4-tokens", me_base64),
    ("foreign byte as flag", "mg/invalid-flag-bang mg/invalid-flag-brace", meta_foreign_byte),
    ("mode", "ms/mode-only-first-char ma/mode-lowercase-d ms/mode-empty", meta_mode),
    ("error of F", "mg/F-bad-arg mg/two-errors-last-message-wins", error_of_f),
    ("errors of md", "md/dup-flag md/invalid-flag md/bad-base64", md_error),
    ("size of ms", "ms/return-order-1 ms/mode-A-hit-N", ms_size),
)
# Counting makes a new item where the number has become longer, or the old one is held: by a reply
# that is not sent yet, or, if it was read again, for a moment by the LRU list.  The new one is not
# padded with blanks, nobody has fetched it, marks of staleness go, and T of ma belongs to the old.
RENEWED = ("number in a new item", "incr/wrap-64 decr/floor-zero ma/T ma/stale-kept")
# Of mg and me.
REWRITES = (
    ("base64 forgotten", "mg/binary-key-text-alias mg/binary-vivify-k me/binary-item",
     base64_forgotten),
    (*RENEWED, nobody_has_fetched),
    ("time left of me", "me/hit-fetched", me_exptime),
)


STAT_NAMES = (b"reset", b"settings", b"sizes", b"detail")
STAT_KEYS = (b"reset", b"settings", b"sizes", b"detail on", b"detail off", b"detail dump")


# ---- binary ---------------------------------------------------------------------------------

def binary_version(r):
    if r.what == 0x0b and not r.extras and not r.key and not r.value_length:
        head = b"\x81\x0b" + bytes(9) + b"\6" + r.opaque.to_bytes(4, "big") + bytes(8)
        return head + b"1.6.18", True


def binary_prefix_of_stat(r):
    """The beginning of the key is enough, or all of it is the name; larder takes words."""
    if r.what == 0x10 and r.key not in STAT_KEYS and r.key.strip(b" ").startswith(STAT_NAMES):
        return ANYTHING, False


def binary_body_unchecked(r):
    """What follows the key of touch, gat and stat is read as the next request."""
    return r is not None and r.what in (0x10, 0x1c, 0x1d, 0x23) and r.value_length > 0


def binary_unknown_opcode(r):
    """1.6.45 as well takes the body away twice; larder does not."""
    return r is not None and r.what not in COMMANDS and r.body_length > 0


def binary_bad_magic(r):
    return r is None


def binary_huge_body(r):
    return r is not None and r.body_length > MUCH


BINARY = (
    ("version", "bin/version", binary_version),
    ("prefix of stat", "bin/stat-reset stats/prefix-r", binary_prefix_of_stat),
)
WHOLE_BINARY = (
    ("replies lost by a close", "bin/bad-magic-second-packet", binary_bad_magic),
    ("body of touch, gat and stat", "bin/get-with-value", binary_body_unchecked),
    ("huge body", "bin/issue_192", binary_huge_body),
    ("body of an unknown opcode", "bin/unknown-opcode-body-swallowed", binary_unknown_opcode),
)
# 1.6.18 looks for a minus sign behind a number of 2^63 and more, and for a number behind blanks, in
# what an earlier item left there; where a number below -2^63 wraps to a small one, for none at all.
BEHIND = ("what lies behind a number", "incr/near-max ma/J-max incr/minus-zero")
# An empty value is not a number there, and then no CAS number is compared.
EMPTY = ("CAS number of an empty value", "incr/empty ma/C-mismatch-q")
CITED = tuple(row[:2] for row in (*TEXT, *META_RULES, *REWRITES, *BINARY, *WHOLE, *WHOLE_BINARY,
                                  RENEWED, BEHIND, EMPTY))
NAMES = frozenset(name for name, _ in CITED)


def whole(kind, events, stream):
    """The name of a rule that forbids comparing any reply on this connection."""
    if kind == "binary":
        for event in events:
            for name, _, applies in WHOLE_BINARY:
                if applies(event.what):
                    return name
        return None
    lines = [Line(event, b"") for event in events]
    # What is data for the model may be a line for 1.6.18, after data of a refused line.
    left = len(stream)
    for line in stream.split(b"\n"):
        lines.append(Line(Event(line + b"\n"), b"", True))
        left -= len(line) + 1
        lines[-1].follow = left
    for c in lines:
        for name, _, applies in WHOLE:
            if applies(c):
                return name
    return None


def explain(kind, event, expected, said, at, known):
    """(name, where the next reply begins, whether both agree after it), or None."""
    if kind == "binary":
        c, table = event.what, BINARY
    else:
        c, table = Line(event, expected), TEXT + META_RULES
    if kind == "binary":
        bad = b"" if event.what is None else NOT_A_NUMBER_HEAD % event.what.opcode + \
            event.what.opaque.to_bytes(4, "big") + bytes(8) + NOT_A_NUMBER_TEXT
        compared = expected[6:8] == b"\0\2"
    else:
        bad, compared = NOT_A_NUMBER, expected.startswith(b"EX") and event.what[:3] == b"ma "
    if event.huge and expected.endswith(bad) and not said.startswith(bad, at):
        return BEHIND[0], at, False
    if (event.huge or compared) and bad and said.startswith(bad, at):
        return (BEHIND if event.huge else EMPTY)[0], at + len(bad), not event.huge
    timed = kind != "binary" and b"T" in [w[:1] for w in c.flags]
    if event.held and (event.reshaped or timed) or event.longer and timed:
        return RENEWED[0], at, False
    for name, _, applies in table:
        found = applies(c)
        if found is None:
            continue
        reply, goes_on = found
        if reply is ANYTHING:
            return name, at, False
        for one in reply if isinstance(reply, tuple) else (reply,):
            end = marks.match(one, said, at, known)
            if end >= 0:
                return name, end, goes_on
    return rewritten(c, said, at, known) if kind != "binary" and c.verb in SHOWING else None


def rewritten(c, said, at, known):
    """As explain, for mg and me: each rule that changes the reply may be what it takes."""
    found = [(None, c.expected)]
    for name, _, rewrite in REWRITES:
        for first, c.expected in tuple(found):
            other = rewrite(c)
            if other != c.expected:
                found.append((first or name, other))
    for name, reply in found[1:]:
        end = marks.match(reply, said, at, known)
        if end >= 0:
            return name, end, True
    return None
