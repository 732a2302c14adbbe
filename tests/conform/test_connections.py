"""Goal: no client can hurt another one or the server, and the server keeps house.

Method: one server per test, clients that behave badly in one way each, and a neighbour that must
be answered all the while.  When the server stops, its items must add up (see lib/server.py).
"""
import os
import pathlib
import re
import resource
import signal
import socket
import stat
import subprocess
import threading
import time

import pytest

import server

MB = 1 << 20
REFUSAL = b"ERROR Too many open connections\r\n"


def store(key, value):
    return b"set %s 0 0 %d\r\n%s\r\n" % (key, len(value), value)


class Neighbour:
    """A well-behaved client that asks all the time and remembers how long it waited.

    One long wait may be the machine's, which stands still now and then; a server that is held up by
    others makes it wait again and again, or until it gives up.
    """

    def __init__(self, running):
        self.connection = running.connect()
        self.connection.ask(store(b"neighbour", b"1"))
        self.waited_long = []
        self.answers = 0
        self.fault = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._ask)

    def _ask(self):
        try:
            while self.answers == 0 or not self.stopped.wait(0.002):
                start = time.monotonic()
                answer = self.connection.get(b"get neighbour\r\n")
                assert answer == b"VALUE neighbour 0 1\r\n1\r\nEND\r\n", answer
                if time.monotonic() - start > 1:
                    self.waited_long.append(time.monotonic() - start)
                self.answers += 1
        except BaseException as fault:
            self.fault = fault

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exc):
        self.stopped.set()
        self.thread.join()
        self.connection.close()
        if not exc[0]:
            assert not self.fault, self.fault
            assert self.answers > 0
            assert len(self.waited_long) <= 1 and max(self.waited_long, default=0) < 10, \
                "the neighbour waited for %s s" % self.waited_long


def open_files(running):
    return len(os.listdir("/proc/%d/fd" % running.pid))


def connections_now(running):
    """Without the one that asks."""
    return int(running.stats()["curr_connections"]) - 1


def took(work):
    """Seconds."""
    start = time.monotonic()
    work()
    return time.monotonic() - start


def fill(running, count, size):
    with running.connect() as c:
        for i in range(count):
            assert c.ask(store(b"big%d" % i, bytes([65 + i % 26]) * size)) == b"STORED\r\n"


# ---- slow and rude clients ------------------------------------------------------------------

def test_one_byte_a_second(larder):
    running = larder()
    with Neighbour(running), running.connect() as slow:
        for byte in b"mn\r\nget x\r\n":
            slow.send(bytes([byte]))
            time.sleep(1)
        assert slow.read(9) == b"MN\r\nEND\r\n"


def test_a_value_in_drops(larder):
    """A large value that arrives in small pieces over many connections at once."""
    running = larder()
    value = b"v" * 200000
    with Neighbour(running):
        uploads = [running.connect() for _ in range(20)]
        for i, c in enumerate(uploads):
            c.send(b"set drop%d 0 0 %d\r\n" % (i, len(value)))
        for start in range(0, len(value), 4000):
            for c in uploads:
                c.send(value[start:start + 4000])
        for i, c in enumerate(uploads):
            assert c.ask(b"\r\n") == b"STORED\r\n"
            assert c.get(b"get drop%d\r\n" % i).endswith(b"\r\n" + value + b"\r\nEND\r\n")
            c.close()


def test_client_that_never_reads(larder):
    """500 values of 1 MB for a client that does not take them, then does."""
    running = larder("-m", "64")
    fill(running, 20, 1000000)
    keys = b" ".join(b"big%d" % (i % 20) for i in range(500))
    with Neighbour(running), running.connect() as deaf:
        deaf.send(b"get " + keys + b"\r\n")
        time.sleep(2)
        if not server.SANITIZED:
            assert running.status("VmHWM") < 100 * 1024
        before, start = running.cpu_seconds(), time.monotonic()
        time.sleep(1)
        spent = running.cpu_seconds() - before
        assert spent < 0.7 * (time.monotonic() - start), "the server spins on a client that is deaf"
        for i in range(500):
            head = deaf.line()
            assert head == b"VALUE big%d 0 1000000\r\n" % (i % 20), (i, head)
            value = deaf.read(1000002)
            assert value == bytes([65 + i % 20]) * 1000000 + b"\r\n"
        assert deaf.line() == b"END\r\n"


def test_many_clients_that_never_read(larder):
    running = larder("-m", "64")
    fill(running, 20, 500000)
    keys = b" ".join(b"big%d" % i for i in range(20))
    with Neighbour(running):
        deaf = [running.connect() for _ in range(50)]
        for c in deaf:
            c.send(b"get " + keys + b"\r\n")
        time.sleep(1)
        if not server.SANITIZED:
            assert running.status("VmHWM") < 100 * 1024
        for c in deaf:
            c.close()
    assert server.wait_until(lambda: connections_now(running) == 0)


def test_deaf_clients_do_not_keep_others_from_reading(larder):
    """Values of all lengths, for who reads, while many others ask for the same and do not."""
    running = larder("-m", "16", "-I", "8m")
    values = {b"v%d" % size: bytes([65 + size % 26]) * size
              for size in (3000, 4500, 20000, 60000, 70000, 1000000)}
    reader = running.connect()
    for key, value in values.items():
        assert reader.ask(store(key, value)) == b"STORED\r\n"

    def read():
        for key, value in list(values.items()) * 3:
            assert reader.get(b"get %s\r\n" % key) == b"VALUE %s 0 %d\r\n%s\r\nEND\r\n" % (
                key, len(value), value)

    alone = took(read)
    with Neighbour(running):
        deaf = [running.connect() for _ in range(100)]
        for i, c in enumerate(deaf):
            c.send(b"get " + b" ".join([list(values)[i % len(values)]] * 400) + b"\r\n")
        assert server.wait_until(lambda: int(running.stats()["conn_memory_bytes"]) > MB)
        assert took(read) < 5 + 20 * alone
        for c in deaf:
            c.reset()
    reader.close()
    assert server.wait_until(lambda: connections_now(running) == 0)


def test_an_upload_behind_an_almost_full_reply_begins_at_once(larder):
    """Room is made in the reply; nobody waits for memory, of which there is plenty."""
    running = larder("-m", "64", "-t", "1")
    key, value = b"k" * 240, b"v" * 4000
    hit, miss = b"VALUE v 0 4000\r\n%s\r\nEND\r\n" % value, b"NF k%s\r\n" % key
    with running.connect() as c:
        assert c.ask(store(b"v", value)) == b"STORED\r\n"
        for room in (270, 300, 400, 500):
            short = (64 << 10) - room - 15 * len(hit) - 18 * len(miss)
            replies = hit * 15 + b"MN\r\n" * (short // 4) + miss * 18
            c.send(b"get v\r\n" * 15 + b"mn\r\n" * (short // 4) + b"md %s k\r\n" % key * 18
                   + b"set big 0 0 100000\r\n" + b"y" * 1000)
            assert c.read(len(replies)) == replies
            assert c.ask(b"y" * 99000 + b"\r\n") == b"STORED\r\n"
    assert running.stats()["conn_memory_waits"] == "0"


def test_half_uploads_do_not_keep_others_from_storing(larder):
    """Many stop in mid-upload; a whole one is taken at once, and theirs when they go on."""
    running = larder("-m", "64")
    value = b"".join(b"%07d," % i for i in range(125000))
    half = len(value) // 2 + 12345
    writer = running.connect()

    def write():
        for i in range(5):
            assert writer.ask(store(b"whole%d" % i, value)) == b"STORED\r\n"

    alone = took(write)
    with Neighbour(running):
        stopped = [running.connect() for _ in range(100)]
        for i, c in enumerate(stopped):
            c.send(b"set half%d 0 0 %d\r\n" % (i, len(value)) + value[:half])
        assert took(write) < 5 + 20 * alone
        assert int(running.stats()["conn_uploads_set_aside"]) > 0
        hits = 0
        for i, c in enumerate(stopped[:20]):
            c.send(value[half:])
            assert c.ask(b"\r\n") == b"STORED\r\n"
            answer = c.get(b"get half%d\r\n" % i)
            assert answer in (b"END\r\n", b"VALUE half%d 0 %d\r\n%s\r\nEND\r\n" % (
                i, len(value), value))
            hits += answer != b"END\r\n"
        for c in stopped:
            c.close()
    writer.close()
    assert hits > 0
    assert server.wait_until(lambda: connections_now(running) == 0)
    assert server.wait_until(lambda: int(running.stats()["memory_borrowed_bytes"]) < MB)


def test_value_longer_than_uploads_may_hold(larder):
    """It becomes ordinary memory while it arrives: whole when it is there, nothing if it stops."""
    running = larder("-m", "64", "-I", "24m")
    value = b"".join(b"%07d," % i for i in range(2500000))
    with Neighbour(running), running.connect() as c:
        assert c.ask(store(b"long", value)) == b"STORED\r\n"
        assert c.get(b"get long\r\n") == b"VALUE long 0 %d\r\n%s\r\nEND\r\n" % (
            len(value), value)
        assert c.ask(b"delete long\r\n") == b"DELETED\r\n"
        stops = running.connect()
        stops.send(b"set long 0 0 %d\r\n" % len(value) + value[:15000000])
        assert server.wait_until(lambda: int(running.stats()["bytes"]) > 14 * MB)
        stats = running.stats()
        assert int(stats["segments_lent"]) * int(stats["segment_bytes"]) <= 6 * MB
        stops.reset()
        assert server.wait_until(lambda: int(running.stats()["bytes"]) < 1000)
        assert c.get(b"get long\r\n") == b"END\r\n"


def test_value_that_goes_while_it_is_sent(larder):
    """Who reads is given all of it, or nothing: not a part, and then the end of the connection."""
    running = larder("-m", "128", "-I", "8m", "-t", "4")
    value = b"".join(b"%07d," % i for i in range(900000))
    whole = b"VALUE long 0 %d\r\n%s\r\nEND\r\n" % (len(value), value)
    with running.connect() as c, running.connect() as other:
        for _ in range(60):
            assert c.ask(store(b"long", value)) == b"STORED\r\n"
            assert c.get(b"get long\r\n") == whole
            c.send(b"get long\r\n")
            assert other.ask(b"delete long\r\n") == b"DELETED\r\n"
            assert c.values() in (whole, b"END\r\n")
    assert running.stats()["conn_closed_value_gone"] == "0"


def test_pipeline_that_nobody_reads(larder):
    """Thousands of gets in one go: the server may stop reading, not hoard the answers."""
    running = larder("-m", "64")
    fill(running, 1, 100000)
    with Neighbour(running), running.connect() as deaf:
        deaf.socket.settimeout(1)
        sent = 0
        try:
            while sent < 4 * MB:
                sent += deaf.socket.send(b"get big0\r\n" * 1000)
        except TimeoutError:
            pass
        if not server.SANITIZED:
            assert running.status("VmHWM") < 100 * 1024
        deaf.reset()


@pytest.mark.parametrize("size", [10, 3000, 100000, 1000000])
def test_reset_in_mid_upload(larder, size):
    """The half value is dropped, the old one stays, no file and no connection leaks."""
    running = larder("-m", "64")
    with running.connect() as c:
        c.ask(store(b"key", b"old"))
    files = server.wait_until(lambda: connections_now(running) == 0) and open_files(running)
    with Neighbour(running):
        for i in range(100):
            c = running.connect()
            c.send(b"set key 0 0 %d\r\n" % size + b"x" * (size * i // 100))
            c.reset()
    with running.connect() as c:
        assert c.get(b"get key\r\n") == b"VALUE key 0 3\r\nold\r\nEND\r\n"
    assert server.wait_until(lambda: connections_now(running) == 0)
    assert server.wait_until(lambda: open_files(running) <= files)


def test_reset_in_mid_answer(larder):
    running = larder("-m", "64")
    fill(running, 20, 1000000)
    keys = b" ".join(b"big%d" % (i % 20) for i in range(100))
    with Neighbour(running):
        for i in range(30):
            c = running.connect()
            c.send(b"get " + keys + b"\r\n")
            c.read(i * 100000 + 1)
            c.reset()
    assert server.wait_until(lambda: connections_now(running) == 0)


def test_large_answers_do_not_delay_others(larder):
    """Clients that take 500 values of 1 MB each as fast as they can."""
    running = larder("-m", "64", "-t", "1")
    fill(running, 20, 1000000)
    request = b"get " + b" ".join(b"big%d" % (i % 20) for i in range(500)) + b"\r\n"
    total = 500 * (1000000 + 2) + sum(len(b"VALUE big%d 0 1000000\r\n" % (i % 20))
                                      for i in range(500)) + len(b"END\r\n")

    def take(connection):
        connection.send(request)
        left = total
        while left:
            left -= len(connection.socket.recv(min(left, MB)))

    with Neighbour(running):
        clients = [running.connect() for _ in range(2)]
        threads = [threading.Thread(target=take, args=(c,)) for c in clients]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        for c in clients:
            assert c.ask(b"mn\r\n") == b"MN\r\n"
            c.close()


def test_endless_get_line(larder):
    """Without an end such a line would be read for ever; larder takes 1 MiB of it."""
    running = larder()
    with Neighbour(running), running.connect() as c:
        try:
            c.send(b"get " + b"key " * MB)
            heard = c.rest()
        except ConnectionError:
            heard = b""  # closed while we were sending
        assert b"VALUE" not in heard and len(heard) < 100
    assert server.wait_until(lambda: connections_now(running) == 0)


def test_come_and_go(larder):
    """Thousands of short connections leave nothing behind."""
    running = larder()
    assert server.wait_until(lambda: connections_now(running) == 0)    # all that it opens is open
    files = open_files(running)
    for i in range(2000):
        c = running.connect()
        if i % 2:
            c.send(b"get key\r\n")
        (c.reset if i % 3 else c.close)()
    assert server.wait_until(lambda: connections_now(running) == 0)
    assert server.wait_until(lambda: open_files(running) <= files)


# ---- limits ---------------------------------------------------------------------------------

def admit(running):
    """A connection that has been answered: the server may still be busy closing earlier ones."""
    def ask():
        c = running.connect()
        try:
            if c.ask(b"mn\r\n") == b"MN\r\n":
                return c
        except (server.Closed, OSError):
            pass
        c.close()
        return None

    c = server.wait_until(ask)
    assert c, "nobody is admitted"
    return c


def test_connection_limit(larder):
    """-c N admits N; the next hears why and is closed; a place that comes free is given again."""
    running = larder("-c", "10")
    admitted = [admit(running) for _ in range(10)]
    for _ in range(3):
        with running.connect() as refused:
            assert refused.rest() == REFUSAL
    for c in admitted:
        assert c.ask(b"mn\r\n") == b"MN\r\n"
    admitted.pop().close()
    admitted.append(admit(running))
    for c in admitted:
        assert c.ask(b"mn\r\n") == b"MN\r\n"
        c.close()
    admit(running).close()
    assert server.wait_until(lambda: connections_now(running) == 0)
    assert int(running.stats()["rejected_connections"]) >= 3


def test_idle_timeout(larder):
    """Who is silent for longer is closed, who asks now and then is not."""
    running = larder("-o", "idle_timeout=3")
    with running.connect() as idle, running.connect() as busy:
        start = time.monotonic()
        assert idle.ask(b"mn\r\n") == b"MN\r\n"
        closed_after = None
        while closed_after is None and time.monotonic() - start < 12:
            assert busy.ask(b"mn\r\n") == b"MN\r\n"
            if not idle.silent(0.3):
                closed_after = time.monotonic() - start
        assert idle.rest() == b""
        assert closed_after and closed_after >= 3, closed_after
    assert int(running.stats()["idle_kicks"]) == 1


def test_no_idle_timeout_on_unix_sockets(larder):
    running = larder("-o", "idle_timeout=1", unix=True)
    with running.connect() as idle:
        assert idle.silent(4)
        assert idle.ask(b"mn\r\n") == b"MN\r\n"


def test_out_of_files(larder):
    """accept() fails with EMFILE: the others are served, the server does not spin, and who
    waits is admitted when a file comes free."""
    running = larder("-c", "1000")
    with Neighbour(running):
        server.wait_until(lambda: connections_now(running) == 1)
        limit = open_files(running) + 10
        resource.prlimit(running.pid, resource.RLIMIT_NOFILE, (limit, limit))
        clients = [running.connect() for _ in range(40)]
        for c in clients:
            c.send(b"mn\r\n")
        assert server.wait_until(lambda: [c for c in clients if not c.silent(0)])
        time.sleep(1)
        answered = [c for c in clients if not c.silent(0)]
        assert len(answered) <= 15
        before, start = running.cpu_seconds(), time.monotonic()
        time.sleep(2)
        spent = running.cpu_seconds() - before
        assert spent < 0.5 * (time.monotonic() - start), "spinning"
        waiting = [c for c in clients if c not in answered]
        while answered or waiting:
            for c in answered:
                assert c.line() == b"MN\r\n"
                c.close()
            answered = waiting and server.wait_until(
                lambda: [c for c in waiting if not c.silent(0)])
            assert answered or not waiting, "clients wait although files are free"
            waiting = [c for c in waiting if c not in answered]


@pytest.mark.skipif(server.SANITIZED, reason="measures memory")
def test_idle_connections_cost_little(larder):
    """At most 1 KiB of the server's memory each, after all of them have been used."""
    count = 2000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count + 200:
        pytest.skip("only %d files are allowed" % hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count + 200), hard))
    running = larder("-c", str(count + 100))
    with running.connect() as c:
        c.ask(store(b"key", b"v" * 1000))
    before = running.status("VmRSS")
    clients = [running.connect() for _ in range(count)]
    for c in clients:
        assert len(c.get(b"get key\r\n")) == len(b"VALUE key 0 1000\r\n\r\nEND\r\n") + 1000
    grown = running.status("VmRSS") - before
    assert grown <= count, "%d idle connections take %d KiB" % (count, grown)
    for c in clients:
        c.close()
    assert server.wait_until(lambda: connections_now(running) == 0)


# ---- where it listens -----------------------------------------------------------------------

@pytest.mark.parametrize("mask, mode", [(None, 0o700), ("777", 0o777), ("0660", 0o660)])
def test_unix_socket(larder, mask, mode):
    running = larder(*(("-a", mask) if mask else ()), unix=True)
    assert stat.S_IMODE(os.stat(running.unix).st_mode) == mode
    with running.connect() as c:
        assert c.ask(store(b"key", b"1")) == b"STORED\r\n"
        assert c.get(b"get key\r\n") == b"VALUE key 0 1\r\n1\r\nEND\r\n"


def test_unix_socket_left_behind(larder):
    """The socket of a server that was killed does not hinder the next one."""
    running = larder(unix=True)
    running.process.kill()
    running.process.wait()
    assert os.path.exists(running.unix)
    running._start()
    with running.connect() as c:
        assert c.ask(b"mn\r\n") == b"MN\r\n"


def ipv6_works():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


def ask_at(address, port):
    with socket.create_connection((address, port), server.PATIENCE) as s:
        s.sendall(b"mn\r\n")
        return s.recv(100)


@pytest.mark.parametrize("options", [("-l", "127.0.0.1,127.0.0.2"), ("-l", "127.0.0.1;127.0.0.2"),
                                     ("-l", "127.0.0.1", "-l", "127.0.0.2"),
                                     ("-l", "127.0.0.1:{port},127.0.0.2:{port}")], ids=str)
def test_several_addresses(larder, options):
    running = larder(*options, listen=False)
    for address in ("127.0.0.1", "127.0.0.2"):
        assert ask_at(address, running.port) == b"MN\r\n"
    with pytest.raises(OSError):
        ask_at("127.0.0.3", running.port)


@pytest.mark.skipif(not ipv6_works(), reason="no IPv6 here")
@pytest.mark.parametrize("listen", ["127.0.0.1,::1", "127.0.0.1,[::1]:{port}"])
def test_ipv6(larder, listen):
    running = larder("-l", listen, listen=False)
    for address in ("127.0.0.1", "::1"):
        assert ask_at(address, running.port) == b"MN\r\n"


def test_everywhere_is_said_aloud(larder):
    """Without -l every interface is served, as memcached does; a notice says so."""
    running = larder(listen=False)
    assert ask_at("127.0.0.2", running.port) == b"MN\r\n"
    assert re.search(r"all (network )?interfaces", running.stderr()), running.stderr()
    quiet = larder()
    assert not re.search(r"all (network )?interfaces", quiet.stderr()), quiet.stderr()


def test_start_line(larder):
    """One line says version, address, memory and threads."""
    running = larder("-m", "48", "-t", "3")
    server.wait_until(running.stderr)
    lines = [line for line in running.stderr().splitlines() if "larder" in line]
    assert len(lines) == 1, running.stderr()
    for word in ("127.0.0.1:%d" % running.port, "48", "3", r"\d+\.\d+\.\d+"):
        assert re.search(word, lines[0]), (word, lines[0])


def test_nobody_reads_what_is_logged():
    """A pipe that is full holds up neither the workers nor, once it is read again, the end."""
    port = server.free_port()
    command = [server.LARDERD, "-u", "root", "-l", "127.0.0.1", "-p", str(port), "-vv"]
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        try:
            assert server.wait_until(lambda: can_connect(port))
            with socket.create_connection(("127.0.0.1", port), server.PATIENCE) as sock:
                client = server.Connection(sock)
                for _ in range(20):
                    client.send((b"get " + b"k" * 200 + b"\r\n") * 200)
                    assert client.read(5 * 200) == b"END\r\n" * 200
            reader = threading.Thread(target=process.stderr.read)
            reader.start()
            process.send_signal(signal.SIGTERM)
            assert process.wait(server.PATIENCE) == 0
            reader.join()
        finally:
            process.kill()


@pytest.mark.parametrize("level", ["-v", "-vv", "-vvv"])
def test_what_is_logged_of_connections(larder, level):
    """Commands with -vv, connections with -vvv; replies never."""
    running = larder(level, "-o", "idle_timeout=1")
    with running.connect() as idle:
        running.play(store(b"key", b"the value") + b"get key\r\n")
        with running.connect() as gone:
            gone.ask(b"mn\r\n")
        with running.connect() as refused:
            refused.send(b"x" * 3000)
            refused.rest()
        assert idle.rest() == b""
    reasons = ["as it asked", "by its client", "its request was refused", "idle for too long"]

    def told():
        return [("connection closed: " + r in running.stderr()) for r in reasons]

    if level == "-vvv":
        server.wait_until(lambda: all(told()))
    said = running.stderr()
    assert told() == [level == "-vvv"] * 4, said
    assert bool(re.search(r"<\d+ connection opened: tcp:127", said)) == (level == "-vvv")
    assert bool(re.search(r"<\d+ get key\n", said)) == (level != "-v")
    assert "the value" not in said and "VALUE" not in said and "STORED" not in said


@pytest.mark.parametrize("options", [[], ["-v"]])
def test_refused_connections_are_logged(larder, options):
    """With their number, and not one line for each."""
    running = larder("-c", "1", "-o", "maxconns_fast", *options)
    start = time.monotonic()
    with admit(running):
        for rounds in (1, 50, 1):
            for _ in range(rounds):
                with running.connect() as other:
                    assert other.rest() == REFUSAL
            time.sleep(1.1 if rounds == 50 else 0)
    seconds, said = time.monotonic() - start, running.stderr()
    found = [int(n) for n in re.findall(r"connections refused: (\d+), [01] are open", said)]
    if options:
        assert found[0] == 1 and sum(found) >= 52 and len(found) <= seconds + 2
        assert re.search(r"connections refused: \d+, 1 are open", said)
    else:
        assert found == []


def can_connect(port):
    try:
        socket.create_connection(("127.0.0.1", port), server.PATIENCE).close()
        return True
    except OSError:
        return False


def test_port_in_use(larder):
    """Says which address and why, and exits with memcached's status."""
    running = larder()
    command = [server.LARDERD, "-u", "root", "-l", "127.0.0.1", "-p", str(running.port)]
    again = subprocess.run(command, capture_output=True, text=True, timeout=server.PATIENCE)
    assert again.returncode == 71
    assert "Address already in use" in again.stderr
    assert "127.0.0.1" in again.stderr


# ---- files, signals, background -------------------------------------------------------------

def test_port_file(larder):
    """With an ephemeral port the file is the only way to learn it."""
    running = larder(ephemeral=True)
    assert running.port > 0
    assert pathlib.Path(running.port_file).read_text() == "TCP INET: %d\n" % running.port
    assert not os.path.exists(running.port_file + ".lck")


def test_pid_file(larder):
    """Written also in the foreground."""
    running = larder("-P", "{dir}/pid")
    path = pathlib.Path(running.dir, "pid")
    assert server.wait_until(path.exists)
    assert path.read_text() == "%d\n" % running.pid
    assert os.listdir(running.dir).count("pid.tmp") == 0


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGUSR1"])
def test_signals_that_end(larder, name):
    running = larder()
    with running.connect() as c, running.connect() as upload:
        c.ask(store(b"key", b"1"))
        upload.send(b"set key 0 0 100000\r\nhalf")
        running.process.send_signal(getattr(signal, name))
        status = running.process.wait(server.PATIENCE)
    said = running.stderr()
    assert running.wait() == status == 0
    assert ("Gracefully stopping" in said) == (name == "SIGUSR1")


@pytest.mark.parametrize("name", ["SIGHUP", "SIGPIPE"])
def test_signals_that_do_not(larder, name):
    running = larder()
    running.process.send_signal(getattr(signal, name))
    time.sleep(0.2)
    with running.connect() as c:
        assert c.ask(b"mn\r\n") == b"MN\r\n"


def test_shutdown_command(larder):
    running = larder("-A")
    with running.connect() as c:
        c.send(b"shutdown\r\n")
        assert c.rest() == b""
    assert running.wait() == 0


def alive(pid):
    try:
        return pathlib.Path("/proc/%d/stat" % pid).read_text().split()[2] != "Z"
    except OSError:
        return False


def test_daemon(tmp_path):
    """-d returns when the server is in the background: in its own session, in /, with its pid
    in the file, which goes when it ends."""
    pid_file = tmp_path / "pid"
    port = server.free_port()
    command = [server.LARDERD, "-d", "-P", str(pid_file), "-l", "127.0.0.1", "-p", str(port)]
    if os.getuid() == 0:
        command += ["-u", "root"]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, timeout=server.PATIENCE)
    assert result.returncode == 0
    assert server.wait_until(pid_file.exists)
    pid = int(pid_file.read_text())
    try:
        def answers():
            try:
                return ask_at("127.0.0.1", port) == b"MN\r\n"
            except OSError:
                return False

        assert server.wait_until(answers)
        assert os.getsid(pid) == pid != os.getsid(0)
        assert os.readlink("/proc/%d/cwd" % pid) == "/"
        assert {os.readlink("/proc/%d/fd/%d" % (pid, fd)) for fd in range(3)} == {"/dev/null"}
        os.kill(pid, signal.SIGTERM)
        assert server.wait_until(lambda: not alive(pid))
        assert not pid_file.exists()
    finally:
        if alive(pid):
            os.kill(pid, signal.SIGKILL)
