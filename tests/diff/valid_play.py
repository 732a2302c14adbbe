"""valid_play.py -- plays batches of commands on two servers and compares what they answer.

CAS numbers differ from server to server.  They are compared by the order of their first appearance
in an episode, so equal numbers must be equal on both.  Remaining lifetimes may differ by seconds
that passed between the two; what `l` and me say of the last access and of memory is not compared.
"""
import re
import select
import socket
import struct
import time

# A reply that has not come by then does not come.
PATIENCE = 60.0
# Of remaining lifetimes.
SECONDS_APART = 3
# What a reference is worth whose command has been left out.
NO_CAS = 2 ** 62 + 1
# Requests up to this size are taken by the system at once, whatever the server does meanwhile.
SMALL = 60000
# So that the server sees the cut.
PAUSE = 0.0002
LAST_OPAQUE = 0xffffffff
LAST_REQUEST = struct.pack(">BBHBBHIIQ", 0x80, 0x0a, 0, 0, 0, 0, 0, LAST_OPAQUE, 0)
LAST_REPLY = struct.pack(">BBHBBHIIQ", 0x81, 0x0a, 0, 0, 0, 0, 0, LAST_OPAQUE, 0)
PACKET = struct.Struct(">BBHBBHIIQ")
META_CAS = re.compile(rb" c(\d+)")
LIFETIME = re.compile(rb" t(-?\d+)")
NOT_COMPARED = re.compile(rb" l\d+")
INSIDE = re.compile(rb"(?<=exp=)(?!-1 )-?\d+|(?<=la=)\d+|(?<=cas=)\d+|(?<=cls=)\d+|(?<=size=)\d+")
ERRORS = (b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR", b"Error")
NON_NUMERIC = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
BINARY_STATUSES = {0, 1, 2, 5, 6}


class NoAnswer(Exception):
    """The server has closed the connection, or does not say what is waited for."""


class Malformed(Exception):
    """What was answered is no reply of the protocol."""


class Difference(Exception):
    """The first unit of a batch that is answered differently."""

    def __init__(self, why, batch, unit=None, theirs=b"", ours=b""):
        super().__init__(why)
        self.why, self.batch, self.unit = why, batch, unit
        self.theirs, self.ours = theirs, ours


class Refused(Exception):
    """The oracle does not accept a command: the generator is wrong."""


class Side:
    """One server in one episode."""

    def __init__(self, server, patience=None):
        self.server = server
        self.patience = patience or PATIENCE
        self.sockets = {}
        self.numbers = {}   # CAS number -> its place in the order of appearance
        self.shown = {}     # reference -> CAS number
        self.fresh = []     # references that the last replies have shown

    def close(self):
        for s in self.sockets.values():
            s.close()
        self.sockets.clear()

    def socket(self, connection):
        if connection not in self.sockets:
            s = socket.create_connection(("127.0.0.1", self.server.port), self.patience)
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sockets[connection] = s
        return self.sockets[connection]

    def render(self, batch):
        """The bytes of a batch for this server."""
        binary = batch["kind"] == "binary"
        out = []
        for pieces, _, _, _ in batch["units"]:
            if isinstance(pieces, bytes):
                out.append(pieces)
                continue
            for piece in pieces:
                if isinstance(piece, tuple):
                    number = self.shown.get(piece, NO_CAS)
                    piece = number.to_bytes(8, "big") if binary else b"%d" % number
                elif isinstance(piece, int):
                    piece = piece.to_bytes(8, "big") if binary else b"%d" % piece
                out.append(piece)
        out.append(LAST_REQUEST if binary else b"mn\r\n")
        if batch["quit"]:
            out.append((QUITS if binary else TEXT_QUITS)[batch["quit"] - 1])
        return b"".join(out)

    def ask(self, batch):
        """Sends a batch, as much of it as can be sent without reading."""
        self.request = request = self.render(batch)
        self.heard = bytearray()
        self.sent = 0
        s = self.socket(batch["connection"])
        if len(request) > SMALL:
            return
        try:
            for cut in batch["cuts"]:
                at = int(cut * len(request))
                if at > self.sent:
                    s.sendall(request[self.sent:at])
                    self.sent = at
                    time.sleep(PAUSE)
            s.sendall(request[self.sent:])
        except OSError:
            pass  # what was answered before is still read
        self.sent = len(request)

    def hear(self, batch):
        """All that is answered to what was asked."""
        s = self.sockets[batch["connection"]]
        heard = self.heard
        last, many = LAST_REPLY, 1
        if batch["kind"] == "text":
            last = b"MN\r\n"
            many += sum(codes.count("N") + codes.count("G") for _, codes, _, _ in batch["units"])
        if self.sent < len(self.request):
            self.talk(s, batch["cuts"])
        try:
            while batch["quit"] or not heard.endswith(last) or (
                    many > 1 and heard.count(last) < many):
                more = s.recv(1 << 20)
                if not more:
                    break
                heard += more
        except OSError as error:
            raise NoAnswer("%s after %d bytes" % (error, len(heard)), bytes(heard)) from None
        if batch["quit"]:
            s.close()
            del self.sockets[batch["connection"]]
        if last not in heard[-2 * len(LAST_REPLY):]:
            raise NoAnswer("closed after %d bytes" % len(heard), bytes(heard))
        return bytes(heard)

    def talk(self, s, cuts):
        """Sends what is too long to be taken at once, and reads meanwhile."""
        edges = [e for e in (int(c * len(self.request)) for c in cuts) if e > 0]
        edges.append(len(self.request))
        s.setblocking(False)
        for edge in edges:
            while self.sent < edge:
                readable, writable, _ = select.select([s], [s], [], self.patience)
                if not readable and not writable:
                    s.settimeout(self.patience)
                    return
                try:
                    if readable:
                        more = s.recv(1 << 20)
                        if not more:
                            self.sent = len(self.request)
                            break
                        self.heard += more
                    if writable:
                        self.sent += s.send(self.request[self.sent:min(edge, self.sent + 400000)])
                except OSError:
                    self.sent = len(self.request)
            if self.sent < len(self.request):
                time.sleep(PAUSE)
        s.settimeout(self.patience)

    # ---- reading replies

    def number(self, text):
        """The place of a CAS number in the order of appearance; 0 is said of what has none."""
        value = int(text)
        if value == 0:
            return 0
        return self.numbers.setdefault(value, len(self.numbers) + 1)

    def show(self, uid, key, value):
        if value:
            self.shown[uid, key] = value
            self.fresh.append((uid, key))

    def read(self, batch, heard):
        """[(unit, what was answered to it, CAS numbers replaced)]"""
        self.fresh = []
        try:
            if batch["kind"] == "binary":
                return self.read_binary(batch, heard)
            return self.read_text(batch, heard)
        except (ValueError, IndexError, struct.error) as error:
            raise Malformed(str(error)) from None

    def read_text(self, batch, heard):
        at, found = 0, []
        index = heard.index
        for unit in batch["units"]:
            for code in unit[1]:
                if code in "LN":
                    end = index(b"\n", at) + 1
                    found.append((unit, heard[at:end]))
                elif code == "V":
                    end = self.read_values(unit, heard, at, found)
                elif code in "MQ":
                    end = index(b"\n", at) + 1
                    line = heard[at:end]
                    if code == "Q" and b" O%d" % unit[2] not in line:
                        continue
                    end = self.read_meta(unit, heard, line, at, found)
                elif code == "I":
                    end = index(b"\n", at) + 1
                    found.append((unit, INSIDE.sub(b"", heard[at:end])))
                else:
                    end = at
                    while not heard.startswith(b"MN\r\n", end):
                        at = end
                        end = index(b"\n", at) + 1
                        end = self.read_meta(unit, heard, heard[at:end], at, found)
                    end += 4
                at = end
        if heard[at:] != b"MN\r\n":
            found.append((None, heard[at:]))
        return found

    def read_values(self, unit, heard, at, found):
        """VALUE blocks and their END, or a line."""
        start = at
        while True:
            end = heard.index(b"\n", at) + 1
            if not heard.startswith(b"VALUE ", at):
                found.append((unit, heard[start:end]))
                return end
            words = heard[at:end - 2].split(b" ")
            if len(words) == 5:
                found.append((unit, heard[start:end - 2 - len(words[4])], self.number(words[4])))
                self.show(unit[2], words[1], int(words[4]))
                start = end
            at = end + int(words[3]) + 2
            if at > len(heard):
                raise ValueError("a value ends too early")

    def read_meta(self, unit, heard, line, at, found):
        """One meta reply, and the CAS number that it may show."""
        end = at + len(line)
        if line.startswith(b"VA "):
            end += int(line[3:-2].split(b" ", 1)[0]) + 2
            if end > len(heard):
                raise ValueError("a value ends too early")
        if b" c" in line:
            cas = META_CAS.search(line)
            if cas:
                if unit[3] is not None:
                    self.show(unit[2], unit[3], int(cas.group(1)))
                found.append((unit, META_CAS.sub(b" c#%d" % self.number(cas.group(1)), line),
                              heard[at + len(line):end]))
                return end
        found.append((unit, heard[at:end]))
        return end

    def read_binary(self, batch, heard):
        """Packets belong to the unit whose number is their opaque."""
        units = {unit[2]: unit for unit in batch["units"]}
        at, found = 0, []
        while True:
            head = PACKET.unpack_from(heard, at)
            end = at + 24 + head[6]
            if end > len(heard):
                raise ValueError("a packet ends too early")
            if head[7] == LAST_OPAQUE:
                break
            unit = units.get(head[7])
            cas = head[8]
            found.append((unit, heard[at:at + 16], self.number(cas), heard[at + 24:end]))
            if cas and unit is not None:
                self.show(unit[2], unit[3], cas)
            at = end
        rest = heard[end:]
        if batch["quit"] == 1:  # QUIT is answered, QUITQ is not
            if rest[:2] != b"\x81\x07":
                found.append((None, rest))
        elif rest:
            found.append((None, rest))
        return found


QUITS = (struct.pack(">BBHBBHIIQ", 0x80, 0x07, 0, 0, 0, 0, 0, LAST_OPAQUE, 0),
         struct.pack(">BBHBBHIIQ", 0x80, 0x17, 0, 0, 0, 0, 0, LAST_OPAQUE, 0))
TEXT_QUITS = (b"quit\r\n", b"quit now\r\nmn\r\n")


def alike(theirs, ours):
    """Equal but for seconds."""
    if theirs == ours:
        return True
    if theirs[0] != ours[0] or len(theirs) != len(ours):
        return False
    if not any(code in "MQG" for code in theirs[0][1]):
        return False
    return without_times(theirs) == without_times(ours) and all(
        abs(a - b) <= SECONDS_APART and (a < 0) == (b < 0)
        for a, b in zip(times(theirs), times(ours)))


def may_be_chance(difference):
    """A difference of times alone: it counts if it can be repeated."""
    theirs, ours = difference.theirs, difference.ours
    if difference.why != "different" or not set(difference.unit[1]) & set("MQG"):
        return False
    theirs, ours = (difference.unit, *theirs), (difference.unit, *ours)
    return without_times(theirs) == without_times(ours)


def header(answer):
    return answer[1][:answer[1].index(b"\n") + 1]


def times(answer):
    return [int(t) for t in LIFETIME.findall(header(answer))]


def without_times(answer):
    line = header(answer)
    return (NOT_COMPARED.sub(b" l", LIFETIME.sub(b" t", line)), answer[1][len(line):], answer[2:])


def check_accepted(answers):
    """Raises if the oracle has answered with an error that no valid command gets."""
    for answer in answers:
        unit, said = answer[0], answer[1]
        if unit is None:
            raise Refused("the oracle has said more than was asked: %r" % said[:200])
        if unit[1] == "B":
            if said[7] not in BINARY_STATUSES or said[6]:
                raise Refused("%r is answered %r" % (unit[0], said))
        elif said.startswith(ERRORS) and not said.startswith(NON_NUMERIC):
            raise Refused("%r is answered %r" % (unit[0], said[:100]))


def hear_from(side, batch):
    """(what was heard, why no more)"""
    try:
        return side.hear(batch), None
    except NoAnswer as error:
        return error.args[1], error


def play_batch(oracle, tested, batch, compare=True):
    """Raises Difference, or NoAnswer of the oracle."""
    oracle.ask(batch)
    tested.ask(batch)
    theirs, missing = hear_from(oracle, batch)
    if missing:
        raise missing
    ours, missing = hear_from(tested, batch)
    if not compare:
        if missing:
            raise Difference("no answer: %s" % missing, batch, None, theirs, ours)
        return
    answers = oracle.read(batch, theirs)
    check_accepted(answers)
    if missing:
        raise Difference("no answer: %s" % missing, batch, None, theirs, ours)
    try:
        other = tested.read(batch, ours)
    except Malformed as error:
        raise Difference("no reply: %s" % error, batch, None, theirs, ours) from None
    if answers == other:
        return
    for a, b in zip(answers, other):
        if not alike(a, b):
            raise Difference("different", batch, a[0] or b[0], a[1:], b[1:])
    if len(answers) != len(other):
        longer = max(answers, other, key=len)
        raise Difference("one has answered more", batch, longer[min(len(answers), len(other))][0],
                         theirs[-200:], ours[-200:])
