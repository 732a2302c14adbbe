"""generate.py -- commands that are wrong in one or two places, and some that are right.

A command is made as words, blanks, line end and data, and then broken.  All keys of a batch begin
with a prefix of its own, six bytes long, so that batches know nothing of each other.
"""
import base64
import struct

import marks

PREFIX_BYTES = 6


def prefix(number):
    """Of a batch: one wrong letter does not make it another one's."""
    digits = b"%05x" % (number % (1 << 20))
    return digits + b"%x" % (sum(int(chr(d), 16) for d in digits) % 16)


STORAGE = (b"set", b"add", b"replace", b"append", b"prepend", b"cas")
TEXT_VERBS = STORAGE * 3 + (b"get", b"gets", b"gat", b"gats", b"touch", b"delete", b"incr",
                            b"decr") * 3 + (b"flush_all", b"verbosity", b"version", b"quit", b"mn",
                                            b"cache_memlimit", b"shutdown")
META_VERBS = (b"mg", b"ms", b"md", b"ma") * 6 + (b"me", b"mn")

TIMES = (b"0", b"-1", b"100", b"1000", b"2592000", b"2592001", b"2147483647", b"-2147483648",
         b"300")
BAD_TIMES = (b"2147483648", b"-2147483649", b"4294967296", b"4294967295", b"99999999999",
             b"000000000100", b"00000000100", b"9223372036854775807", b"9223372036854775808",
             b"-9223372036854775808", b"-9223372036854775809", b"99999999999999999999", b"+100",
             b"-0", b"--1", b"-", b"+", b"1.5", b"0x10", b"1e3", b"abc", b"12a", b"a12", b"100\t",
             b"\t100", b"100\0", b"1_0", b"\xb2", b"18446744073709551615", b"18446744073709551616")
FLAGS = (b"0", b"1", b"5", b"65535", b"65536", b"2147483648", b"4294967295")
BAD_FLAGS = (b"4294967296", b"4294967303", b"18446744073709551615", b"18446744073709551616",
             b"-1", b"-18446744073709551615", b"-9223372036854775809", b"+5", b"+", b"-", b"5a",
             b"0x10", b"1.0", b"abc", b"000000000001", b"00000000000000000000000000000001", b"\t5",
             b"5\t6", b"5\r", b"-0", b"3\0")
DELTAS = (b"0", b"1", b"5", b"10", b"99", b"18446744073709551615", b"9223372036854775808",
          b"4294967296", b"0000000000000000000005")
BAD_DELTAS = (b"18446744073709551616", b"-1", b"-0", b"+1", b"00000000000000000000005", b"abc",
              b"1a", b"1.5", b"0x1", b"", b"99999999999999999999999", b"1\t", b"\t1")
# None is in the range where servers count by themselves: larder below 2^52.
CAS = (b"5", b"7", b"0", b"99", b"9007199254740993", b"9007199254741100", b"18446744073709551615",
       b"9223372036854775808")
BAD_CAS = (b"18446744073709551616", b"-1", b"+5", b"abc", b"5a", b"00000000000000000000005",
           b"0000000000000000000005", b"1.0", b"noreply", b"-0")
BAD_LENGTHS = (b"-1", b"2147483645", b"2147483646", b"2147483647", b"2147483648", b"4294967295",
               b"4294967296", b"99999999999", b"000000000003", b"00000000003", b"+3", b"abc", b"3a",
               b"0x3", b"-0", b"3.0", b"1048577", b"1048576", b"18446744073709551615", b"\t3",
               b"3\t")
VALUES = (b"", b"x", b"5", b"10", b"99", b"0", b"hello", b"abc\r\ndef", b"END\r\n", b"get a\r\n",
          b"18446744073709551615", b"18446744073709551616", b"-5", b"-0", b"+7", b" 12", b"12 ",
          b"12x", b"1.5", b"0005", b"\t8", b"3\t4", b"\0\1\2", b"\x80\xff", b"a" * 100,
          b"y" * 1000, b"9" * 20, b"4\x004")
JUNK = (b"noreply", b"NOREPLY", b"noreply ", b"0", b"-1", b"x", b"\0", b"\t", b"\xff", b"get",
        b"HTTP/1.1", b"99999999999999999999", b"q", b"foo bar", b"%s", b"\x7f", b"noreplyy")
SHORT = (b"\r\n", b"\n", b"a\r\n", b"a\n", b" \n", b" \r\n", b"ab\n", b"ab\r\n", b"mn\n", b"\r\r\n",
         b"\n\n", b"\0\r\n", b"   \r\n", b"noreply\r\n", b"abc noreply\r\n", b"HTTP/1.1\r\n",
         b"GET / HTTP/1.1\r\n", b"x HTTP/\r\n", b"x HTTP/1.1 \r\n", b"x HTTP/1.1 y\r\n",
         b"mn \n", b"mn  x\r\n", b"mn\r\r\n", b"get\r\n", b"set\r\n", b"gat\r\n", b"gat 0\r\n",
         b"stats nothing\r\n", b"stats noreply\r\n", b"stats reset\r\n", b"stats \xff\r\n",
         b"mg\r\n", b"mg \r\n", b"ms\r\n", b"me\r\n", b"ma\r\n", b"md\r\n")
ENDS = (b"\n", b"\r\r\n", b"\r", b"", b"\n\r", b" \r\n", b"\0\r\n", b"\t\r\n", b"\r\n\r\n",
        b"\r \n")
GAPS = (b"  ", b"   ", b"\t", b" \t", b"\0", b"", b"\r", b"\v", b" " * 40)

FLAG_LETTERS = b"bNTRlOPLkstcfvhuqxFCEMJDI"
SENSIBLE = {b"mg": b"vstcfhlkOqTNREuCb", b"ms": b"FTCEIbkOqscMMN", b"md": b"qkOCEITxbF",
            b"ma": b"qkOvtcDMNJTCEb"}
BAD_LETTERS = b"SyzaABGHKQUVWXYZ0123456789degijmnoprw!@{}~\x7f\xff\0\t#,`_^[\\]"
MODES = (b"E", b"A", b"P", b"R", b"S", b"I", b"D", b"+", b"-", b"", b"e", b"a", b"set", b"SX",
         b"Z", b"1", b"\0")
OPAQUES = (b"", b"1", b"abc", b"o" * 30, b"o" * 31, b"o" * 32, b"o" * 33, b"kqs", b"\xff\1", b"O")

OPCODES = tuple(range(0x00, 0x25))
UNKNOWN = (0x1b, 0x1f)


class Generator:
    def __init__(self, rng, prefix, kinds):
        self.rng = rng
        self.prefix = prefix
        self.meta = "meta" in kinds
        self.kind = rng.choice(kinds)
        self.keys = [prefix + tail for tail in (b"w", b"x", b"y", b"z")]
        odd = (b"\tx", b"\0", b"\xc3\xa9", b"\r", b"k" * (250 - PREFIX_BYTES), b"\x80", b"'\"",
               b"a:b", b"~")
        if self.kind != "binary":
            odd = odd[:1] + odd[2:]
        self.keys += [prefix + tail for tail in rng.sample(odd, 2)]
        # What 1.6.18 does not know yet is left out now and then, for the sake of all the rest.
        self.sensible = SENSIBLE if rng.random() < 0.5 else {
            verb: letters.translate(None, b"Ex") for verb, letters in SENSIBLE.items()}
        self.learned = {}   # key -> CAS number of the model, known to the servers

    def opening(self):
        """Requests that make something to work on."""
        r = self.rng
        pick = r.random
        made = []
        for key in self.keys:
            if pick() < 0.6:
                value = r.choice(VALUES)
                if self.kind == "binary":
                    made.append(self.packet(0x11, key, struct.pack(">II", r.choice((0, 5)), 0),
                                            value))
                else:
                    made.append(b"set %s %s 0 %d noreply\r\n%s\r\n" % (
                        key, r.choice(FLAGS), len(value), value))
        return made

    def asking(self):
        """Requests whose replies tell the CAS numbers."""
        if self.kind == "binary":
            return [self.packet(0x00, key) for key in self.keys[:4]]
        return [b"gets %s\r\n" % key for key in self.keys[:4]]

    def command(self):
        if self.kind == "binary":
            return self.binary()
        r = self.rng
        if r.random() < 0.04:
            return r.choice(SHORT if self.meta else SHORT[:-6])
        if self.kind == "meta" and r.random() < 0.85:
            words, value = self.meta_words()
        else:
            words, value = self.text_words()
        return self.broken(words, value)

    # ---- numbers and keys ----

    def number(self, good, bad):
        r = self.rng.random()
        return self.rng.choice(good if r < 0.8 else bad)

    def cas(self, key):
        known = self.learned.get(key)
        if known is not None and self.rng.random() < 0.6:
            return marks.wanted_cas(known)
        return self.number(CAS, BAD_CAS)

    def key(self):
        r = self.rng
        if r.random() < 0.95:
            return r.choice(self.keys)
        return r.choice((self.prefix + b"k" * 245, self.prefix + b"k" * 244 + b"\xff",
                         self.prefix + b"k" * 500, self.prefix[:5], b"noreply", b"0",
                         self.prefix + b"v"))

    # ---- classic text ----

    def text_words(self):
        r = self.rng
        verb = r.choice(TEXT_VERBS)
        key = self.key()
        value = None
        if verb in STORAGE:
            value = r.choice(VALUES)
            length = b"%d" % len(value) if r.random() < 0.9 else r.choice(BAD_LENGTHS)
            words = [verb, key, self.number(FLAGS, BAD_FLAGS), self.number(TIMES, BAD_TIMES),
                     length]
            if verb == b"cas":
                words.append(self.cas(key))
        elif verb in (b"get", b"gets"):
            words = [verb] + [self.key() for _ in range(r.choice((1, 1, 1, 2, 3, 30)))]
        elif verb in (b"gat", b"gats"):
            words = [verb, self.number(TIMES, BAD_TIMES)]
            words += [self.key() for _ in range(r.choice((1, 1, 2, 3)))]
        elif verb == b"touch":
            words = [verb, key, self.number(TIMES, BAD_TIMES)]
        elif verb in (b"incr", b"decr"):
            words = [verb, key, self.number(DELTAS, BAD_DELTAS)]
        elif verb == b"delete":
            words = [verb, key]
        elif verb == b"flush_all":
            words = [verb]
            if r.random() < 0.5:
                words.append(self.number(TIMES, BAD_TIMES))
        elif verb == b"cache_memlimit":
            words = [verb, r.choice((b"64", b"7", b"0", b"1000000001", b"-1", b"abc", b"64x",
                                     b"4294967296", b"00000000000064", b"+64"))]
        elif verb == b"verbosity":
            words = [verb, r.choice((b"0", b"00", b"x", b"-1", b"4294967296", b"+0", b"0x0"))]
        else:
            words = [verb]
        if r.random() < 0.12:
            words.append(b"noreply")
        return words, value

    # ---- meta ----

    def flag(self, letter, key):
        r = self.rng
        name = bytes([letter])
        if name in (b"T", b"N", b"R"):
            return name + self.number(TIMES, BAD_TIMES)
        if name in (b"C", b"E"):
            return name + self.cas(key)
        if name == b"F":
            return name + self.number(FLAGS, BAD_FLAGS)
        if name in (b"J", b"D"):
            return name + self.number(DELTAS, BAD_DELTAS)
        if name == b"M":
            return name + r.choice(MODES)
        if name == b"O":
            return name + r.choice(OPAQUES)
        if name in (b"P", b"L") or r.random() < 0.03:
            return name + r.choice((b"", b"x", b"path/", b"1"))
        return name

    def meta_words(self):
        r = self.rng
        verb = r.choice(META_VERBS)
        key = self.key()
        words = [verb, key]
        value = None
        if verb == b"mn":
            return words[:1], None
        if verb == b"me":
            return words + r.choice(([], [b"b"], [b"b", b"x"], [b"x"], [b"v", b"b"])), None
        if verb == b"ms":
            value = r.choice(VALUES)
            words.append(b"%d" % len(value) if r.random() < 0.9 else r.choice(BAD_LENGTHS))
        letters = self.sensible[verb]
        for _ in range(r.choice((0, 1, 1, 2, 2, 3, 4, 6))):
            letter = r.choice(letters) if r.random() < 0.9 else r.choice(FLAG_LETTERS)
            words.append(self.flag(letter, key))
        if r.random() < 0.7:  # most flags once
            seen = set()
            head = 3 if verb == b"ms" else 2
            words[head:] = [w for w in words[head:] if not (w[:1] in seen or seen.add(w[:1]))]
        if r.random() < 0.04:
            words.append(bytes([r.choice(BAD_LETTERS)]) + r.choice((b"", b"1")))
        if r.random() < 0.02:
            words += [bytes([letter]) for letter in r.sample(FLAG_LETTERS, 20)]
        if any(w[:1] == b"b" for w in words[2:]) and r.random() < 0.9:
            words[1] = base64.b64encode(key)
            if r.random() < 0.1:
                words[1] = r.choice((words[1][:-1], words[1] + b"=", b"?" + words[1], b"====",
                                     words[1][:-2] + b"==", b"Z===", words[1] + b"Zm9v"))
        return words, value

    # ---- breaking what is text ----

    def broken(self, words, value):
        r = self.rng
        gap, end, lead = b" ", b"\r\n", b""
        tail = b"\r\n"
        if r.random() < 0.55:
            # A number that differs from server to server must stay where it is.
            words = [b"7" if marks.HEAD in w else w for w in words]
            for _ in range(r.choice((1, 1, 1, 2))):
                what = r.randrange(14)
                if what == 0 and len(words) > 1:
                    del words[r.randrange(len(words))]
                elif what == 1:
                    words.insert(r.randrange(1, len(words) + 1), r.choice(JUNK))
                elif what == 2:
                    at = r.randrange(len(words))
                    words.insert(at, words[at])
                elif what == 3 and len(words) > 2:
                    a, b = r.sample(range(len(words)), 2)
                    words[a], words[b] = words[b], words[a]
                elif what == 4:
                    words[0] = r.choice((words[0].upper(), words[0].title(), words[0] + b"x",
                                         words[0][:-1], words[0] + b"\t", words[0] + b"\0"))
                elif what == 5:
                    end = r.choice(ENDS)
                elif what == 6:
                    gap = r.choice(GAPS)
                elif what == 7:
                    lead = r.choice((b" ", b"  ", b"\t", b"\0", b"\r", b"\n", b"\r\n"))
                elif what == 8 and value is not None:
                    tail = r.choice((b"\n", b"\r", b"", b"\r\r\n", b"x\r\n", b"\n\r", b"\r\n\r\n",
                                     b"\r\n" * 3))
                elif what == 9 and value is not None:
                    value = r.choice((value[:-1], value + b"z", value * 2, b"", value + b"\r\n"))
                elif what == 10 and len(words) > 1:
                    at = r.randrange(1, len(words))
                    words[at] = r.choice(r.choice((BAD_TIMES, BAD_FLAGS, BAD_CAS, BAD_LENGTHS,
                                                   JUNK)))
                elif what == 11:
                    return self.bytewise(lead + gap.join(words) + end, value, tail)
                elif what == 12:
                    words += [r.choice(JUNK)] * r.choice((1, 5, 17, 18, 19, 25))
                elif what == 13 and r.random() < 0.06:
                    gap = b" " * r.choice((1000, 2040, 2049, 3000))
        line = lead + gap.join(words) + end
        return line if value is None else line + value + tail

    def bytewise(self, line, value, tail):
        """One byte of the line is gone, new, or another."""
        r = self.rng
        if marks.HEAD not in line and line:
            at = r.randrange(len(line))
            byte = bytes([r.choice((0, 9, 10, 13, 32, 48, 57, 97, 127, 128, 255,
                                    r.randrange(256)))])
            how = r.randrange(3)
            line = line[:at] + (b"" if how == 0 else byte) + line[at + (how < 2):]
        return line if value is None else line + value + tail

    # ---- binary ----

    def packet(self, opcode, key=b"", extras=b"", value=b"", cas=0, opaque=None, magic=0x80,
               key_length=None, extras_length=None, body_length=None):
        if opaque is None:
            opaque = self.rng.getrandbits(32)
        body = len(key) + len(extras) + len(value)
        head = struct.pack(">BBHBBHII", magic, opcode, len(key) if key_length is None
                           else key_length, len(extras) if extras_length is None else extras_length,
                           0, 0, body if body_length is None else body_length, opaque)
        cas = cas if isinstance(cas, bytes) else cas.to_bytes(8, "big")
        return b"".join((head, cas, extras, key, value))

    def binary(self):
        r = self.rng
        opcode = r.choice(OPCODES) if r.random() < 0.97 else r.randrange(256)
        if opcode in (0x07, 0x17, 0x08, 0x18) and r.random() < 0.8:
            opcode = r.choice((0x01, 0x00))
        key, extras, value, cas = r.choice(self.keys), b"", b"", 0
        if r.random() < 0.25:
            known = self.learned.get(key)
            if known is not None and r.random() < 0.6:
                cas = marks.wanted_cas(known, binary=True)
            else:
                cas = int(r.choice(CAS))
        if opcode in (1, 2, 3, 0x11, 0x12, 0x13):
            extras = struct.pack(">II", int(r.choice(FLAGS)), self.exptime())
            value = r.choice(VALUES)
        elif opcode in (5, 6, 0x15, 0x16):
            extras = struct.pack(">QQI", int(r.choice(DELTAS)), int(r.choice(DELTAS)),
                                 r.choice((0xffffffff, 0, self.exptime())))
        elif opcode in (0x0e, 0x0f, 0x19, 0x1a):
            value = r.choice(VALUES)
        elif opcode in (0x1c, 0x1d, 0x1e, 0x23, 0x24):
            extras = struct.pack(">I", self.exptime())
        elif opcode in (8, 0x18):
            key = b""
            extras = r.choice((b"", struct.pack(">I", self.exptime())))
        elif opcode in (7, 0x17, 0x0a, 0x0b, 0x20):
            key = b""
        elif opcode == 0x10:
            key = r.choice((b"nothing", b"reset", b"sizes", b"conns", b"cachedump 1 1",
                            b"detail", b"detail x"))
        elif opcode in (0x21, 0x22):
            key, value = b"PLAIN", b"\0u\0p"
        elif opcode not in OPCODES or opcode in UNKNOWN:
            if r.random() < 0.9:  # where there is a body, 1.6.18 is not compared with
                key = b""
        magic, how = 0x80, {}
        if r.random() < 0.3:
            what = r.randrange(11)
            if what == 0:
                extras = extras[:-1]
            elif what == 1:
                extras += b"\0" * r.choice((1, 4, 8))
            elif what == 2:
                key = b""
            elif what == 3:
                key = self.prefix + b"k" * r.choice((245, 244, 300, 1000))
            elif what == 4:
                value += b"junk"
            elif what == 5:
                how["body_length"] = r.choice((0, 1, 2, 5, 1 << 30, (1 << 30) + 1, 0xffffffff,
                                               0x7fffffff, 0x80000000, 0xffffffe8))
            elif what == 6:
                how["key_length"] = r.choice((0, 1, 2, 250, 251, 0xffff))
            elif what == 7:
                how["extras_length"] = r.choice((0, 1, 4, 8, 20, 255))
            elif what == 8 and r.random() < 0.3:
                magic = r.choice((0x81, 0, 0x67, 0xff, 0x82))
            elif what == 9:
                key = key + r.choice((b" ", b"\n", b"\0", b"\r\n"))
            elif what == 10:
                packet = self.packet(opcode, key, extras, value, cas)
                if marks.HEAD not in packet:
                    at = r.choice((1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, r.randrange(len(packet))))
                    return packet[:at] + bytes([r.randrange(256)]) + packet[at + 1:]
        return self.packet(opcode, key, extras, value, cas, magic=magic, **how)

    def exptime(self):
        return self.rng.choice((0, 0, 100, 1000, 2592000, 2592001, 0x7fffffff, 0x80000000,
                                0xffffffff))
