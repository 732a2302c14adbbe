"""faulty_proxy.py -- stands between a client and a server and commits a fault.

fault(data) is given what the server has said, piece by piece, and returns what the client hears
instead; None closes the connection.
"""
import socket
import threading

import valid_play


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
            for pump in ((client, peer, bytes), (peer, client, self.fault)):
                threading.Thread(target=self.pump, args=pump, daemon=True).start()

    @staticmethod
    def pump(source, sink, change):
        try:
            while True:
                data = source.recv(1 << 20)
                data = change(data) if data else None
                if data is None:
                    break
                sink.sendall(data)
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
    """What valid.Pair is, with a proxy before the second server."""

    def __init__(self, pair, fault):
        self.pair = pair
        self.commands = pair.commands
        self.proxy = FaultyProxy(pair.running[1], fault)
        self.running = [pair.running[0], self.proxy]

    def start(self):
        return []

    def sides(self, patience=None):
        return [valid_play.Side(s, patience) for s in self.running]
