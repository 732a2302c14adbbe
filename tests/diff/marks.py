"""marks.py -- places in a reply or a request where servers say something of their own.

CAS numbers that a server makes, and times, differ from server to server.  In a marked reply of the
model they are marks; `match` compares such a reply with what a server said.  A CAS number is
compared by identity: one number of the model is one number of the server, and the other way round.

A request may have marks too: `fill` puts the server's own CAS number there.
"""
import re

HEAD = b"\xff\xfe\xfd"
MARK = re.compile(rb"\xff\xfe\xfd([cbsnCB])(-?\d*);")
NUMBER = re.compile(rb"-?\d+")
SLACK_SECONDS = 3
DIGITS = b"%020d"  # as long for every server: a request may become data


def cas(number):
    return b"\xff\xfe\xfdc%d;" % number


def cas_bytes(number):
    return b"\xff\xfe\xfdb%d;" % number


def seconds(number):
    return b"\xff\xfe\xfds%d;" % number


def any_number():
    return b"\xff\xfe\xfdn;"


def wanted_cas(number, binary=False):
    """For a request: the number that the server gave where the model gave this one."""
    return b"\xff\xfe\xfd%s%d;" % (b"B" if binary else b"C", number)


class Known:
    """CAS numbers of one server by those of the model."""

    def __init__(self):
        self.theirs, self.ours = {}, {}

    def same(self, ours, theirs):
        return self.theirs.setdefault(ours, theirs) == theirs and \
            self.ours.setdefault(theirs, ours) == ours

    def fill(self, request):
        """The request as this server gets it."""
        if HEAD not in request:
            return request

        def number(match):
            value = self.theirs.get(int(match.group(2)), 0)
            return DIGITS % value if match.group(1) == b"C" else value.to_bytes(8, "big")

        return MARK.sub(number, request)


def fill_for_model(request):
    if HEAD not in request:
        return request
    return MARK.sub(lambda m: DIGITS % int(m.group(2)) if m.group(1) == b"C"
                    else int(m.group(2)).to_bytes(8, "big"), request)


def match(expected, said, at, known):
    """The end of expected in said from at on, or -1 if something else stands there."""
    if HEAD not in expected:
        return at + len(expected) if said.startswith(expected, at) else -1
    begin = 0
    for mark in MARK.finditer(expected):
        piece = expected[begin:mark.start()]
        if not said.startswith(piece, at):
            return -1
        at += len(piece)
        begin = mark.end()
        kind, number = mark.groups()
        if kind == b"b":
            if len(said) < at + 8 or not known.same(int(number),
                                                    int.from_bytes(said[at:at + 8], "big")):
                return -1
            at += 8
            continue
        found = NUMBER.match(said, at)
        if not found:
            return -1
        at = found.end()
        value = int(found.group())
        if kind == b"c":
            if not known.same(int(number), value):
                return -1
        elif kind == b"s":
            wanted = int(number)
            if wanted > 0 and abs(value - wanted) > SLACK_SECONDS:
                return -1
    piece = expected[begin:]
    return at + len(piece) if said.startswith(piece, at) else -1
