"""meta_wire.py -- what the scenarios that speak meta have in common: a connection, and keys."""
import base64
import socket

import kit


class Wire:
    """Bytes out, lines and blocks in; every wait is bounded."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), kit.PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        """One line, without its end: that must be CR LF."""
        line = self.file.readline()
        if not line:
            raise kit.Wrong("the server has closed the connection")
        if not line.endswith(b"\r\n"):
            raise kit.Wrong("a line ends with %r" % line[-4:])
        return line[:-2]

    def block(self, size):
        """A value and the CR LF behind it."""
        data = self.file.read(size + 2)
        if len(data) != size + 2 or not data.endswith(b"\r\n"):
            raise kit.Wrong("a value of %d bytes ends with %r" % (size, data[-4:]))
        return data[:-2]

    def close(self):
        self.file.close()
        self.socket.close()


def to_base64(key):
    return base64.b64encode(key).decode()


def from_base64(text):
    return base64.b64decode(text, validate=True)
