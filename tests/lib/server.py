"""server.py -- starts servers for tests, talks to them, and stops them.

A server started here listens on a free port of 127.0.0.1 (or on a unix socket) in a directory
of its own, and is stopped by its own pid.  Stopping is a test as well: the server must still be
there, must have written no sanitizer report, must exit with 0, and the sum of its items must be
right to the last one:

    items_stored = curr_items + items_replaced + items_deleted + items_expired
                 + items_evicted + items_flushed

The environment says what is tested: LARDERD (the server), MEMCACHED (the peer), BENCH_DIR (the
programs of bench/).
"""
import collections
import os
import pathlib
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import packets

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
LARDERD = os.environ.get("LARDERD", str(ROOT / "build/release/larderd"))
SANITIZED = bool(re.search(r"/(clang-)?[amt]san/", LARDERD))
MEMCACHED = os.environ.get("MEMCACHED", "/usr/bin/memcached")
BENCH_DIR = os.environ.get("BENCH_DIR", str(ROOT / "build/release/bench"))

# A reply that has not come by then does not come.  Generous: sanitizer builds are slow, and the
# machine may be busy.
PATIENCE = 60.0
SANITIZER_REPORT = re.compile(
    r"ERROR: \w+Sanitizer|WARNING: \w+Sanitizer|runtime error:|must be true:")
REFUSAL = "ERROR Too many open connections"
PLACES_OF_AN_ITEM = ("curr_items", "items_replaced", "items_deleted", "items_expired",
                     "items_evicted", "items_flushed")


# Sockets that keep ports for us: they are bound, but nobody can connect to them.
_kept = collections.deque()
KEPT_MAX = 64


def free_port():
    """A TCP port that nobody uses; for a while the system gives it to nobody else.

    A server can have it nevertheless: it asks for it by number, and with SO_REUSEADDR.
    """
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", 0))
    _kept.append(s)
    if len(_kept) > KEPT_MAX:
        _kept.popleft().close()
    return s.getsockname()[1]


def wait_until(what, seconds=PATIENCE, pause=0.02):
    """Calls what() until it returns something true; returns that, or the last answer."""
    end = time.monotonic() + seconds
    while True:
        answer = what()
        if answer or time.monotonic() > end:
            return answer
        time.sleep(pause)


def number_cas(heard):
    """Replaces CAS numbers by the order of their first appearance: in that two servers agree."""
    order = {}

    def number(match):
        return b"%s #%d\r\n" % (match.group(1), order.setdefault(match.group(2), len(order) + 1))

    return re.sub(rb"(VALUE \S+ \d+ \d+) (\d+)\r\n", number, heard)


class Closed(Exception):
    """The server closed the connection before the whole reply was there."""


class Connection:
    """A client that says and hears bytes.  Every wait is bounded by PATIENCE."""

    def __init__(self, sock):
        self.socket = sock
        self.socket.settimeout(PATIENCE)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = b""

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self.socket.close()

    def reset(self):
        """Closes with RST, as a client does that crashes."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def _hear(self):
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        if not data:
            raise Closed(self.heard[:200])
        self.heard += data

    def _take(self, count):
        taken, self.heard = self.heard[:count], self.heard[count:]
        return taken

    def read(self, count):
        """Exactly count bytes."""
        pieces, have = [], 0
        while have < count:
            if not self.heard:
                self._hear()
            pieces.append(self._take(count - have))
            have += len(pieces[-1])
        return b"".join(pieces)

    def line(self):
        """One line with its end."""
        while b"\n" not in self.heard:
            self._hear()
        return self._take(self.heard.index(b"\n") + 1)

    def values(self):
        """The reply to a get: everything up to END, or the line of an error."""
        reply = b""
        while True:
            line = self.line()
            reply += line
            if not line.startswith(b"VALUE "):
                return reply
            reply += self.read(int(line.split()[3]) + 2)

    def until(self, end):
        """All that is heard before end, which must be the last that is said."""
        while not self.heard.endswith(end):
            self._hear()
        return self._take(len(self.heard))[:-len(end)]

    def rest(self):
        """Everything until the server closes."""
        try:
            while True:
                self._hear()
        except Closed:
            return self._take(len(self.heard))

    def silent(self, seconds=0.05):
        """True if nothing is heard for that long and the connection is open."""
        if self.heard:
            return False
        return not select.select([self.socket], [], [], seconds)[0]

    def ask(self, request):
        """One line for a request that is answered by one line."""
        self.send(request)
        return self.line()

    def get(self, request):
        self.send(request)
        return self.values()

    def play(self, stream, cuts=()):
        """Sends stream and then quit, in pieces that end at cuts; returns all that is heard."""
        stream += b"quit\r\n"
        edges = [0, *sorted(cuts), len(stream)]
        pieces = [stream[a:b] for a, b in zip(edges, edges[1:]) if b > a]
        heard = [self.heard]
        self.heard = b""
        self.socket.setblocking(False)
        end = time.monotonic() + PATIENCE
        while True:
            readable, writable, _ = select.select(
                [self.socket], [self.socket] if pieces else [], [], end - time.monotonic())
            if readable:
                try:
                    data = self.socket.recv(1 << 20)
                except ConnectionResetError:
                    data = b""
                if not data:
                    return b"".join(heard)
                heard.append(data)
                end = time.monotonic() + PATIENCE
            elif writable:
                try:
                    sent = self.socket.send(pieces[0])
                except OSError:
                    sent = len(pieces[0])  # closed: the rest of the replies is still read
                pieces[0] = pieces[0][sent:]
                if not pieces[0]:
                    pieces.pop(0)
                    if pieces:
                        time.sleep(0.0005)  # so that the server sees the cut
            else:
                raise TimeoutError("no end after %r" % b"".join(heard)[-200:])


class Server:
    """One running server.  Use it in a with statement, or call stop()."""

    def __init__(self, binary, *options, env=None, unix=False, files_max=None, listen=True,
                 files=None, ephemeral=False, before=None):
        """
        options   the command line, after port, address and user; {dir} is the directory
        unix      listens on the unix socket {dir}/socket instead of TCP
        files_max RLIMIT_NOFILE of the server
        listen    False: the options say where to listen; connect() uses {port} all the same
        files     {name: text} to be written into the directory before the start
        ephemeral lets the system choose the port and learns it from MEMCACHED_PORT_FILENAME
        before    is called in the process that becomes the server
        """
        self.binary = str(binary)
        self.dir = tempfile.mkdtemp(prefix="larder-test.")
        os.chmod(self.dir, 0o755)
        self.unix = os.path.join(self.dir, "socket") if unix else None
        for name, text in (files or {}).items():
            pathlib.Path(self.dir, name).write_text(text)
        self.options = [o.replace("{dir}", self.dir) for o in options]
        self.env = dict(os.environ, **(env or {}))
        self.port_file = os.path.join(self.dir, "ports") if ephemeral else None
        if ephemeral:
            self.env["MEMCACHED_PORT_FILENAME"] = self.port_file
        self.files_max = files_max
        self.before = before
        self.listen = listen
        self.process = None
        self._start()

    def _command(self):
        command = [self.binary]
        if self.unix:
            command += ["-s", self.unix]
        else:
            command += ["-p", "-1" if self.port_file else str(self.port)] 
            command += ["-l", "127.0.0.1"] if self.listen else []
        if os.getuid() == 0:
            command += ["-u", "root"]
        return command + [o.replace("{port}", str(self.port)) for o in self.options]

    def _prepare(self):
        if self.files_max:
            resource.setrlimit(resource.RLIMIT_NOFILE, (self.files_max, self.files_max))
        if self.before:
            self.before()

    def _start(self):
        for _ in range(5):
            self.port = free_port()
            with open(os.path.join(self.dir, "stderr"), "wb") as err:
                self.process = subprocess.Popen(
                    self._command(), stdin=subprocess.DEVNULL, stdout=err, stderr=err,
                    cwd=self.dir, env=self.env,
                    preexec_fn=self._prepare if self.files_max or self.before else None)
            if wait_until(self._is_up):
                if self.process.poll() is None:
                    return
            said = self.stderr()
            self._kill()
            if "Address already in use" not in said:  # else: somebody took the port meanwhile
                break
        shutil.rmtree(self.dir, ignore_errors=True)
        raise RuntimeError("%s does not start: %s" % (" ".join(self._command()), said))

    def _is_up(self):
        if self.process.poll() is not None:
            return True
        try:
            if self.port_file:
                text = pathlib.Path(self.port_file).read_text()
                self.port = int(re.match(r"TCP INET: (\d+)\n", text).group(1))
            self.connect().close()
            return True
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, kind, *rest):
        if kind is None:
            self.stop()
        else:
            self._clear()

    @property
    def pid(self):
        return self.process.pid

    def alive(self):
        return self.process.poll() is None

    def stderr(self):
        """All that the server has written to stdout and stderr."""
        with open(os.path.join(self.dir, "stderr"), errors="replace") as f:
            return f.read()

    def connect(self):
        if self.unix:
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(PATIENCE)
            try:
                sock.connect(self.unix)
            except OSError:
                sock.close()
                raise
            return Connection(sock)
        return Connection(socket.create_connection(("127.0.0.1", self.port), PATIENCE))

    def play(self, stream, cuts=()):
        """Plays stream on a new connection: see Connection.play."""
        with self.connect() as c:
            return c.play(stream, cuts)

    def stats(self, kind=""):
        """The answer to `stats`, as a dict of texts."""
        if ("-B", "binary") in zip(self.options, self.options[1:]) and self.listen:
            with packets.Client(self) as c:
                return c.stats(kind.encode())
        with self.connect() as c:
            c.send(b"stats" + (b" " + kind.encode() if kind else b"") + b"\r\n")
            found = {}
            while True:
                line = c.line().decode("latin1").rstrip("\r\n")
                if line == "END":
                    return found
                if line == REFUSAL:
                    raise Closed(line)
                word, name, value = (line + " ").split(" ", 2)
                assert word == "STAT", line
                found[name] = value.rstrip(" ")

    def status(self, field):
        """A number of /proc/PID/status, as VmRSS."""
        with open("/proc/%d/status" % self.pid) as f:
            return int(re.search(r"^%s:\s+(\d+)" % field, f.read(), re.M).group(1))

    def cpu_seconds(self):
        """Processor time used so far."""
        with open("/proc/%d/stat" % self.pid) as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def check_accounting(self):
        """Every item ever stored must be somewhere.  The peer does not count like this."""
        def balance():
            now = self.stats()
            if "larder_version" not in now:
                return {}
            return {name: int(now[name]) for name in ("items_stored", *PLACES_OF_AN_ITEM)}

        def holds():
            try:
                b = balance()
            except (Closed, OSError):
                return False  # refused, because the server has not closed others yet
            return not b or b["items_stored"] == sum(b[p] for p in PLACES_OF_AN_ITEM)

        # A connection that has just been closed may still be at work.
        assert wait_until(holds), "items do not add up: %s" % balance()

    def stop(self, accounting=True):
        """Ends the server and checks all that the head of this file promises."""
        try:
            if accounting and self.alive():
                self.check_accounting()
            assert self.alive(), "the server has gone (%s): %s" % (
                self.process.returncode, self.stderr()[-4000:])
            self.process.send_signal(signal.SIGTERM)
            status = self.process.wait(PATIENCE)
            self.check_reports()
            assert status == 0, "exit status %s: %s" % (status, self.stderr()[-4000:])
        finally:
            self._clear()

    def wait(self):
        """Waits for a server that ends by itself; returns its exit status."""
        try:
            status = self.process.wait(PATIENCE)
            self.check_reports()
            return status
        finally:
            self._clear()

    def check_reports(self):
        said = self.stderr()
        assert not SANITIZER_REPORT.search(said), said[-8000:]

    def _kill(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def _clear(self):
        self._kill()
        shutil.rmtree(self.dir, ignore_errors=True)
