#!/usr/bin/python3
"""A cache with one fault: what a check must find.

  faulty_server.py MODE [--after N] [--socket PATH]

An in-memory server of the text protocol (get set delete incr, what bench/replay speaks) that does
everything right except once: at the Nth chance that its mode has (default 20), it commits the
fault of that mode.  It says on stdout "ready PORT" when it listens, "fault KEY" when it has done
it, and at its end "connections N writers M": how many connections there were, and how many of
them stored under one key at most.  It ends when its stdin does.
"""
import argparse
import asyncio
import collections
import sys

MODES = {
    "correct": "no fault at all",
    "previous": "a get returns the value that was stored before the last one",
    "torn": "a get returns the last value, its second half from the one before",
    "other-key": "a get returns a value of the same length that belongs to another key",
    "cut": "a get returns all but the last byte of a value, and says so",
    "short-data": "a get announces the whole value and leaves out the last byte",
    "ignore-delete": "a delete is acknowledged and not done",
    "found-deleted": "a delete of what is not there is answered DELETED",
    "error": "a get is answered ERROR",
    "store-error": "a set is answered SERVER_ERROR, and nothing is stored",
    "lose-incr": "an incr is answered right and not done",
    "double-incr": "an incr adds two, and says so",
    "extra-line": "a get is answered, and then once more",
    "hang-up": "a get is answered by closing the connection",
}


class Cache:
    """The items, the fault, and who wrote what."""

    def __init__(self, mode, after):
        self.mode = mode
        self.chances_left = after
        self.values = {}
        self.previous = {}
        self.writers = collections.defaultdict(set)
        self.connections = 0

    def fails_now(self, mode, key):
        """True once: at the last of the chances this mode waits for."""
        if mode != self.mode or self.chances_left == 0:
            return False
        self.chances_left -= 1
        if self.chances_left:
            return False
        print("fault", key.decode(), flush=True)
        return True

    def get(self, key):
        """The answer to a get; None closes the connection."""
        if self.fails_now("error", key):
            return b"ERROR\r\n"
        if self.fails_now("hang-up", key):
            return None
        if key not in self.values:
            return b"END\r\n"
        value = self.wrong_value(key, self.values[key])
        length = len(value)
        if length > 1 and self.fails_now("short-data", key):
            value = value[:-1]
        answer = b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (key, length, value)
        return answer * 2 if self.fails_now("extra-line", key) else answer

    def wrong_value(self, key, value):
        before = self.previous.get(key)
        half = len(value) // 2
        if before is not None and self.fails_now("previous", key):
            return before
        if (before is not None and len(before) == len(value) and before[half:] != value[half:]
                and self.fails_now("torn", key)):
            return value[:half] + before[half:]
        if len(value) > 1 and self.fails_now("cut", key):
            return value[:-1]
        if self.mode == "other-key":
            for other, strange in self.values.items():
                if other != key and len(strange) == len(value) and strange != value:
                    return strange if self.fails_now("other-key", key) else value
        return value

    def set(self, key, value):
        if self.fails_now("store-error", key):
            self.values.pop(key, None)
            return b"SERVER_ERROR out of memory storing object\r\n"
        if key in self.values:
            self.previous[key] = self.values[key]
        self.values[key] = value
        return b"STORED\r\n"

    def delete(self, key):
        if key not in self.values:
            return b"DELETED\r\n" if self.fails_now("found-deleted", key) else b"NOT_FOUND\r\n"
        if not self.fails_now("ignore-delete", key):
            del self.values[key]
            self.previous.pop(key, None)
        return b"DELETED\r\n"

    def incr(self, key, delta):
        if key not in self.values:
            return b"NOT_FOUND\r\n"
        number = int(self.values[key]) + int(delta)
        if self.fails_now("double-incr", key):
            number += int(delta)
        if not self.fails_now("lose-incr", key):
            self.previous[key] = self.values[key]
            self.values[key] = b"%d" % number
        return b"%d\r\n" % number


class Connection(asyncio.Protocol):
    """Splits what arrives into requests, answers all of them in one write."""

    def __init__(self, cache):
        self.cache = cache
        self.heard = b""

    def connection_made(self, transport):
        self.transport = transport
        self.cache.connections += 1

    def data_received(self, data):
        self.heard += data
        answers = []
        while (answer := self.next_answer()) is not None:
            answers.append(answer)
        self.transport.write(b"".join(answers))

    def next_answer(self):
        """Executes the first request; None while it is incomplete."""
        line, end, rest = self.heard.partition(b"\r\n")
        if not end:
            return None
        command, key, *arguments = line.split(b" ")
        if command == b"set":
            length = int(arguments[2])
            if len(rest) < length + 2:
                return None
            value, self.heard = rest[:length], rest[length + 2:]
            self.cache.writers[key].add(self)
            return self.cache.set(key, value)
        self.heard = rest
        if command == b"get":
            answer = self.cache.get(key)
            if answer is None:
                self.transport.abort()
            return answer
        if command == b"delete":
            return self.cache.delete(key)
        if command == b"incr":
            return self.cache.incr(key, arguments[0])
        return b"ERROR\r\n"


async def serve(cache, path):
    loop = asyncio.get_running_loop()
    if path:
        server = await loop.create_unix_server(lambda: Connection(cache), path)
        print("ready", path, flush=True)
    else:
        server = await loop.create_server(lambda: Connection(cache), "127.0.0.1", 0)
        print("ready", server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()
    writers = max(map(len, cache.writers.values()), default=0)
    print("connections", cache.connections, "writers", writers, flush=True)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(f"  {mode:14} {what}" for mode, what in MODES.items()))
    parser.add_argument("mode", choices=MODES, metavar="MODE")
    parser.add_argument("--after", type=int, default=20, help="the chance that is taken")
    parser.add_argument("--socket", help="listen on this unix socket")
    options = parser.parse_args()
    asyncio.run(serve(Cache(options.mode, options.after), options.socket))


if __name__ == "__main__":
    main()
