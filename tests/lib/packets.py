"""packets.py -- the binary protocol as a client speaks it: packets made and taken apart.

Opcodes have names of their own here; nothing is known of what a server should answer.
"""
import collections
import struct

HEADER = struct.Struct(">BBHBBHIIQ")
OPCODES = {
    name: code for code, name in enumerate(
        """get set add replace delete incr decr quit flush getq noop version getk getkq append
        prepend stat setq addq replaceq deleteq incrq decrq quitq flushq appendq prependq verbosity
        touch gat gatq unused sasl_list sasl_auth sasl_step gatk gatkq""".split())}
ZERO = b"\0" * 8

Response = collections.namedtuple("Response", "opcode status cas opaque extras key value")


def packet(opcode, key=b"", value=b"", extras=b"", cas=0, opaque=0, **lies):
    """A request; lies replace lengths of the header: key_bytes, extras_bytes, body_bytes."""
    code = OPCODES.get(opcode, opcode)
    body = extras + key + value
    return HEADER.pack(lies.get("magic", 0x80), code, lies.get("key_bytes", len(key)),
                       lies.get("extras_bytes", len(extras)), 0, 0,
                       lies.get("body_bytes", len(body)), opaque, cas) + body


def store(opcode, key, value, flags=0, exptime=0, **more):
    return packet(opcode, key, value, struct.pack(">II", flags, exptime), **more)


def count(opcode, key, delta=1, initial=0, exptime=0, **more):
    return packet(opcode, key, b"", struct.pack(">QQI", delta, initial, exptime), **more)


def touch(opcode, key, exptime, **more):
    return packet(opcode, key, b"", struct.pack(">I", exptime), **more)


def take(heard, at=0):
    """(response, where the next one is), or (None, at) where no whole one is there."""
    if len(heard) - at < HEADER.size:
        return None, at
    magic, code, key, extras, kind, status, body, opaque, cas = HEADER.unpack_from(heard, at)
    assert magic == 0x81 and kind == 0 and key + extras <= body, heard[at:at + 40]
    end = at + HEADER.size + body
    if len(heard) < end:
        return None, at
    parts = heard[at + HEADER.size:end]
    return Response(code, status, cas, opaque, parts[:extras], parts[extras:extras + key],
                    parts[extras + key:]), end


def take_all(heard):
    found, at = [], 0
    while at < len(heard):
        response, at = take(heard, at)
        assert response, "half a packet: %r" % heard[at:at + 100]
        found.append(response)
    return found


def number_cas(responses):
    """CAS numbers replaced by the order of their first appearance; 0 stays."""
    order = {0: 0}
    return [r._replace(cas=order.setdefault(r.cas, len(order))) for r in responses]


class Client:
    """One connection that speaks packets."""

    def __init__(self, running):
        self.connection = running.connect()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.connection.close()

    def send(self, data):
        self.connection.send(data)

    def response(self):
        head = self.connection.read(HEADER.size)
        return take(head + self.connection.read(HEADER.unpack(head)[6]))[0]

    def ask(self, request):
        """The one response to a request that has one."""
        self.send(request)
        return self.response()

    def ask_all(self, request):
        """All responses to it, however many: a noop behind it says when there are no more."""
        self.send(request + packet("noop", opaque=0xfeedface))
        found = []
        while True:
            found.append(self.response())
            if found[-1].opaque == 0xfeedface:
                return found[:-1]

    def get(self, key):
        r = self.ask(packet("get", key))
        return r.value if r.status == 0 else None

    def stats(self, group=b""):
        self.send(packet("stat", group))
        found = {}
        while True:
            r = self.response()
            if r.status or not r.key:
                return found if r.status == 0 else None
            found[r.key.decode()] = r.value.decode()

    def is_closed(self):
        """True once the server has closed; nothing more may have been said."""
        return self.connection.rest() == b""


def play(running, stream, cuts=()):
    """All responses to stream, sent in pieces that end at cuts; it must not end the connection."""
    return take_all(running.play(stream + packet("quit", opaque=0xfeedface), cuts))


def play_one_by_one(running, requests):
    with Client(running) as c:
        found = [r for request in requests for r in c.ask_all(request)]
        return found + [c.ask(packet("quit", opaque=0xfeedface))]
