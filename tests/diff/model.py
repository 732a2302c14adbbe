"""model.py -- a model of memcached 1.6.45 as a connection sees it, too simple to be fast or wrong.

    store = Store()
    c = Connection(store)
    replies, closed = c.feed(b"set a 0 0 1\r\nx\r\nget a\r\n")

Bytes may be fed in any cut.  Several connections share a store.  `dialect="larder"` of the store
chooses larder's answers where docs/protocol.md says that they differ on purpose.

A reply is bytes; where the store has marks (marks.py), CAS numbers and times in it are marks.
What is not modelled: stats (but `reset` and unknown ones), watch, the crawler, slabs, lru,
extstore, SASL, and the authentication file.
"""
from model_binary import Binary
from model_text import Text
from store import Options, Store  # noqa: F401  (of the interface)


class Event:
    """One command as the model understood it, and what it says to it."""
    __slots__ = ("what", "replies", "refused", "held", "renewed", "reshaped", "huge", "longer")

    def __init__(self, what):
        self.what = what        # a line with its end, or a model_binary.Request
        self.replies = []
        self.refused = False    # its data is thrown away
        self.held = False       # a number was counted while others may have held it
        self.renewed = False    # mg or me shows an item that was counted so
        self.reshaped = False   # a number was changed where it stood, and more than the number
        self.longer = False     # a number has got more digits than it had
        self.huge = False       # so was a number of 2^63 and more, below -2^63, or blanks


class Connection:
    def __init__(self, store):
        self.log = []
        self.store = store
        self.input = b""
        self.closed = False
        protocol = store.options.protocol
        self.talk = {"ascii": Text, "binary": Binary}.get(protocol, lambda c: None)(self)
        self.replies = []

    def feed(self, data):
        """(replies, closed) to these bytes."""
        if self.closed:
            return b"", True
        self.input += data
        if self.talk is None and self.input:
            self.talk = Binary(self) if self.input[0] == 0x80 else Text(self)
        if self.talk is not None:
            while not self.closed and self.talk.step():
                pass
        said = b"".join(self.replies)
        self.replies.clear()
        if self.closed:
            self.input = b""
        return said, self.closed

    def begin(self, what):
        self.log.append(Event(what))

    def say(self, reply):
        self.replies.append(reply)
        self.log[-1].replies.append(reply)

    def shown(self, key, holds):
        """The command shows this item; its reply refers to it until it is sent, or has a copy."""
        if holds:
            self.store.held.add(key)
        self.log[-1].renewed = key in self.store.renewed

    def counted(self):
        """The command has called add() of the store."""
        event, store = self.log[-1], self.store
        event.reshaped, event.huge, event.longer = store.reshaped, store.huge, store.longer
        event.held = store.counted_held

    def between_commands(self):
        """Nothing is awaited but the beginning of a command."""
        return not self.closed and not self.input and (
            self.talk is None or self.talk.between_commands())

    def take(self, count):
        taken, self.input = self.input[:count], self.input[count:]
        return taken

    def swallow(self, count):
        """How many of count bytes are still to come when all that is there is thrown away."""
        there = min(count, len(self.input))
        self.input = self.input[there:]
        return count - there
