"""faulty_proxy.py -- stands between a client and a server and commits a fault.

fault(reply) is given what the server has said, reply by reply, however it came: a line, a line with
the value that it announces, or a packet.  It returns what the client hears instead; None closes the
connection.
"""
import re
import socket
import struct
import threading

import valid_play

ANNOUNCED = re.compile(rb"(?:VALUE \S+ \d+|VA) (\d+)")


def end_of_reply(heard, at):
    """Where the reply ends that begins at `at`; None if it is not there yet."""
    if heard[at:at + 1] == b"\x81":
        if len(heard) < at + 24:
            return None
        end = at + 24 + struct.unpack_from(">I", heard, at + 8)[0]
    else:
        end = heard.find(b"\n", at) + 1
        if end == 0:
            return None
        announced = ANNOUNCED.match(heard, at)
        if announced:
            end += int(announced.group(1)) + 2
    return end if end <= len(heard) else None


def take_replies(heard):
    """Whole replies, which are removed from the front of heard."""
    found, at = [], 0
    while at < len(heard):
        end = end_of_reply(heard, at)
        if end is None:
            break
        found.append(bytes(heard[at:end]))
        at = end
    del heard[:at]
    return found


class FaultyProxy:
    """Listens on a free port; used as a server by what only asks for `port` and `alive()`."""

    def __init__(self, behind, fault):
        self.behind, self.fault = behind, fault
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            peer = socket.create_connection(("127.0.0.1", self.behind.port))
            self.sockets += [client, peer]
            for pump, way in ((self.ask, (client, peer)), (self.answer, (peer, client))):
                threading.Thread(target=self.pump, args=(pump, *way), daemon=True).start()

    @staticmethod
    def ask(client, peer):
        while data := client.recv(1 << 20):
            peer.sendall(data)

    def answer(self, peer, client):
        heard = bytearray()
        while data := peer.recv(1 << 20):
            heard += data
            said = []
            for reply in take_replies(heard):
                said.append(self.fault(reply))
                if said[-1] is None:
                    break
            client.sendall(b"".join(filter(None, said)))
            if said and said[-1] is None:
                return
        client.sendall(heard)

    @staticmethod
    def pump(pump, source, sink):
        try:
            pump(source, sink)
        except OSError:
            pass
        for s in (source, sink):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def alive(self):
        return True

    def close(self):
        self.listener.close()
        for s in self.sockets:
            s.close()


class FaultyPair:
    """What valid.Pair is, with a proxy before the second server, which may be waited for less."""

    def __init__(self, pair, fault, patience=None):
        self.pair = pair
        self.commands = pair.commands
        self.patience = patience
        self.proxy = FaultyProxy(pair.running[1], fault)
        self.running = [pair.running[0], self.proxy]

    def start(self):
        return []

    def sides(self, patience=None):
        return [valid_play.Side(self.running[0], patience),
                valid_play.Side(self.proxy, self.patience or patience)]
