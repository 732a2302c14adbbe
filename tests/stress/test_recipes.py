"""Goal: docs/recipes.md keeps its promises, and says nothing that is not so.

Method: the exchanges of the page are played line by line.  Its code is run by many clients at
once against a database that is slow behind every read, so that whoever stores is late; keys are
deleted and evicted meanwhile, clients vanish with a lease in their hands, and processes are killed.
Each check is also run with code that lacks the line which keeps the promise: it must find that.
"""
import collections
import itertools
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

import recipe_page

HERE = pathlib.Path(__file__).parent
PATIENCE = 120      # whoever takes longer hangs


class Database:
    """One row whose content is its version.  Reading it takes a while after it was read."""

    def __init__(self, slow=0.002):
        self.lock = threading.Lock()
        self.version = 1
        self.told = 1           # the newest version whose writer was told that all is done
        self.loads = 0
        self.at_once = self.at_once_max = 0
        self.slow = slow

    def commit(self):
        with self.lock:
            self.version += 1
            return self.version

    def tell(self, version):
        with self.lock:
            self.told = max(self.told, version)

    def load(self):
        with self.lock:
            version = self.version
            self.loads += 1
            self.at_once += 1
            self.at_once_max = max(self.at_once_max, self.at_once)
        time.sleep(random.random() * self.slow)
        with self.lock:
            self.at_once -= 1
        return b"%d" % version


class Clients:
    """Threads, each with a connection of its own; the first fault of any is raised at the end."""

    def __init__(self, running, page):
        self.running, self.page = running, page
        self.threads, self.faults = [], []
        self.stopped = threading.Event()

    def connect(self):
        return self.page.Meta(("127.0.0.1", self.running.port), timeout=PATIENCE,
                              connect_timeout=PATIENCE, no_delay=True)

    def start(self, work, *args):
        def run():
            cache = self.connect()
            try:
                work(cache, *args)
            except BaseException as fault:
                self.faults.append(fault)
                self.stopped.set()
            finally:
                cache.close()

        thread = threading.Thread(target=run)
        thread.start()
        self.threads.append(thread)
        return thread

    def finish(self):
        self.stopped.set()
        for thread in self.threads:
            thread.join()
        if self.faults:
            raise self.faults[0]


@pytest.fixture(autouse=True)
def many_switches():
    """Threads of Python take turns more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    yield
    sys.setswitchinterval(before)


def noticed_at_last(attempt):
    """Whether two meet is a matter of luck, on a machine that is busy: True if they ever do."""
    return any(attempt() for _ in range(20))


# ---- the page -------------------------------------------------------------------------------

@pytest.mark.parametrize("number", range(len(recipe_page.blocks("wire"))))
def test_exchange(larder, number):
    running = larder()
    recipe_page.Exchange(recipe_page.blocks("wire")[number], running.connect).play()


# ---- 1: leases ------------------------------------------------------------------------------

def loads_of_a_herd(running, page, fetch, rounds, clients=8):
    """How often each of the keys was loaded when all clients came at once, and what they got."""
    loads, got = collections.Counter(), collections.defaultdict(set)
    start, lock = threading.Barrier(clients), threading.Lock()

    def come(cache):
        for key in [b"page:%d" % i for i in range(rounds)]:
            def load():
                with lock:
                    loads[key] += 1
                    value = b"load %d of %s" % (loads[key], key)
                time.sleep(0.002)
                return value

            start.wait(PATIENCE)
            value = getattr(page, fetch)(cache, key, load)
            with lock:
                got[key].add(value)

    herd = Clients(running, page)
    for _ in range(clients):
        herd.start(come)
    herd.finish()
    return set(loads.values()), {len(values) for values in got.values()}


@pytest.mark.parametrize("fetch", ["fetch", "fetch_text"])
def test_one_of_a_herd_loads(larder, long, fetch):
    loads, values = loads_of_a_herd(larder(), recipe_page.module(), fetch, 500 if long else 50)
    assert loads == {1} and values == {1}


WITHOUT_LEASE = {
    "fetch": ('N%d" % (key, lease))\n        if "W" in flags:\n            return refill',
              'N%d" % (key, lease))\n        if not value:\n            return refill'),
    "fetch_text": ("elif value == mine:", "elif value.startswith(LEASE):"),
}


@pytest.mark.parametrize("fetch", WITHOUT_LEASE)
def test_a_herd_without_lease_is_noticed(larder, fetch):
    page = recipe_page.module(WITHOUT_LEASE[fetch])
    assert noticed_at_last(lambda: max(loads_of_a_herd(larder(), page, fetch, 5)[0]) > 1)


def test_one_load_for_each_expiry(larder, long):
    """Clients that never pause, a value that lives for a second: it expires and is loaded once."""
    running, page, base = larder(), recipe_page.module(), Database()
    clients = Clients(running, page)

    def ask(cache):
        while not clients.stopped.is_set():
            page.fetch(cache, b"row", base.load, ttl=1)

    for _ in range(6):
        clients.start(ask)
    time.sleep(10.2 if long else 2.2)
    end = time.monotonic() + 20
    while base.loads < 2 and time.monotonic() < end:
        time.sleep(0.1)
    clients.finish()

    def expired():
        return int(running.stats()["items_expired"])

    before = there = None
    with running.connect() as c:
        while before is None or before != expired():    # else it has expired between the two
            before = expired()
            there = c.ask(b"mg row s\r\n") == b"HD s1\r\n"
    # What has expired was loaded once each, and the lease was never lost.
    assert base.loads == before + there >= 2
    assert base.at_once_max == 1


HOLDER = """
import sys, time
sys.path.insert(0, %r)
import recipe_page
page = recipe_page.module()

def load():
    print("won", flush=True)
    time.sleep(100)

page.fetch(page.Meta(("127.0.0.1", int(sys.argv[1]))), b"row", load, lease=1)
""" % str(HERE)


def test_a_killed_winner_delays_the_others_only(larder):
    running, page, base = larder(), recipe_page.module(), Database()
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(running.port)],
                              stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"won\n"
        clients, got = Clients(running, page), []
        for _ in range(6):
            clients.start(lambda cache: got.append(
                page.fetch(cache, b"row", base.load, lease=30, patience=20)))
        holder.send_signal(signal.SIGKILL)
        assert holder.wait(PATIENCE) == -signal.SIGKILL
        clients.finish()
    finally:
        if holder.poll() is None:
            holder.kill()
        holder.communicate()
    assert got == [b"1"] * 6 and base.loads == 1
    assert running.stats()["items_expired"] == "1"


def evict(connection, key):
    """Fills the memory until the key has gone; over the connection, that is by the thread, that
    has stored it: what a thread is still filling is not evicted."""
    for i in range(200):
        connection.send(b"".join(b"ms fill%d:%d 2000 q\r\n%s\r\n" % (i, j, b"x" * 2000)
                                 for j in range(500)))
        if connection.ask(b"mg %s u\r\n" % key) == b"EN\r\n":
            return
    raise AssertionError("%s was never evicted" % key)


def test_an_evicted_lease_is_void(larder):
    """The next miss wins another one; the number of the first one stores nothing."""
    running = larder("-m", "8")
    for later in (False, True):
        with running.connect() as c:
            number = c.ask(b"mg row c N0\r\n").split()[1]
            evict(c, b"row")
            if later:
                assert c.ask(b"mg row N0 s\r\n") == b"HD s0 W\r\n"
            assert c.ask(b"ms row 3 C%s\r\nold\r\n" % number[1:]) == (
                b"EX\r\n" if later else b"NF\r\n")
    assert int(running.stats()["items_evicted"]) >= 2


def test_a_load_that_fails_gives_the_lease_back(larder):
    running, page = larder(), recipe_page.module()
    cache = Clients(running, page).connect()
    with pytest.raises(ZeroDivisionError):
        page.fetch(cache, b"row", lambda: 1 // 0)
    assert page.fetch(cache, b"row", lambda: b"new", patience=5) == b"new"
    cache.close()


# ---- 2: stale while one revalidates ---------------------------------------------------------

def revalidations(running, page, before, rounds, clients=6):
    """-> revalidations of each key, and what the clients were given while one was under way.

    However slow the clients are, nothing expires meanwhile.
    """
    asked, got = collections.Counter(), set()
    lock, start = threading.Lock(), threading.Barrier(clients)
    setup = Clients(running, page).connect()
    for i in range(rounds):
        setup.meta(b"ms page:%d 3 T5000" % i, b"old")
        before(setup, b"page:%d" % i)
    setup.close()

    def come(cache):
        for i in range(rounds):
            won = []
            start.wait(PATIENCE)
            value, fresh = page.fetch_stale(cache, b"page:%d" % i, lambda: b"loaded",
                                            lambda key, token: won.append((key, token)),
                                            refresh=6000)
            with lock:
                got.add((value, fresh))
                asked[i] += len(won)
            start.wait(PATIENCE)
            for key, token in won:
                page.refill(cache, key, token, lambda: b"new", 60000)
            start.wait(PATIENCE)
            assert page.fetch_stale(cache, b"page:%d" % i, None, lambda *_: None) == (b"new", True)

    herd = Clients(running, page)
    for _ in range(clients):
        herd.start(come)
    herd.finish()
    return {asked[i] for i in range(rounds)}, got


@pytest.mark.parametrize("why", ["about to expire", "invalidated"])
def test_one_revalidates_and_nobody_waits(larder, long, why):
    page = recipe_page.module()

    def before(cache, key):
        if why == "invalidated":
            page.invalidate(cache, key, grace=5000)

    won, got = revalidations(larder(), page, before, 500 if long else 50)
    assert won == {1}
    assert got == {(b"old", why != "invalidated")}


def test_revalidation_by_all_is_noticed(larder):
    page = recipe_page.module(('            if "W" in flags:\n                later',
                               '            if flags:\n                later'))

    def attempt():
        won, _ = revalidations(larder(), page, page.invalidate, 5)
        return max(won) > 1

    assert noticed_at_last(attempt)


def test_who_revalidates_and_dies_leaves_the_old_value_for_a_while(larder):
    """It is served until its time is over, then a lease is given; never later."""
    running, page = larder(), recipe_page.module()
    cache, won = Clients(running, page).connect(), []
    grace = 2       # the last second of it may be over at once
    while not won:
        start = time.monotonic()
        cache.meta(b"ms row 3 T600", b"old")
        page.invalidate(cache, b"row", grace)
        value = page.fetch_stale(cache, b"row", lambda: b"old", lambda *w: won.append(w))
        assert value == (b"old", False) or time.monotonic() - start > grace - 1
    end = time.monotonic() + 20
    while time.monotonic() < end:
        value, fresh = page.fetch_stale(cache, b"row", lambda: b"new", lambda *w: won.append(w))
        if value == b"new":
            break
        assert (value, fresh) == (b"old", False)
    assert value == b"new" and fresh and len(won) == 1
    page.refill(cache, *won[0], lambda: b"late", 600)
    assert page.fetch_stale(cache, b"row", None, None) == (b"new", True)
    cache.close()


# ---- 3: compare and swap --------------------------------------------------------------------

def one_more(value):
    return b"%d" % (int(value or 0) + 1)


def pylibmc_client(running):
    import pylibmc
    return pylibmc.Client(["127.0.0.1:%d" % running.port], behaviors={"cas": True})


def count_together(running, page, rounds, clients=6):
    """Counts with all kinds of clients; -> (sum of changes that were told done, number found)."""
    def count(cache, number):
        if number % 3 == 2:
            other = pylibmc_client(running)
            for _ in range(rounds):
                page.update_pylibmc(other, "n", one_more)
            other.disconnect_all()
        else:
            for _ in range(rounds):
                (page.update, page.update_meta)[number % 3](cache, b"n", one_more)

    counting = Clients(running, page)
    for i in range(clients):
        counting.start(count, i)
    counting.finish()
    with running.connect() as c:
        return rounds * clients, int(c.get(b"get n\r\n").split()[4])


def test_no_change_is_lost(larder, long):
    told, found = count_together(larder(), recipe_page.module(), 2000 if long else 100)
    assert found == told


@pytest.mark.parametrize("change", [
    ("stored = cache.cas(key, new, token, ttl)", "stored = cache.set(key, new, ttl)"),
    ('b"C" + flags["c"] if flags', 'b"MS" if flags'),
    ("else client.cas(key, new, token, ttl)", "else client.set(key, new, ttl)"),
], ids=["text", "meta", "pylibmc"])
def test_a_lost_change_is_noticed(larder, change):
    def attempt():
        told, found = count_together(larder(), recipe_page.module(change), 100)
        return found < told

    assert noticed_at_last(attempt)


COUNTER = """
import sys
sys.path.insert(0, %r)
import recipe_page
page = recipe_page.module()
cache = page.Meta(("127.0.0.1", int(sys.argv[1])), no_delay=True)
while True:
    page.update(cache, b"n", lambda value: b"%%d" %% (int(value or 0) + 1))
    print("done", flush=True)
""" % str(HERE)


def test_a_killed_counter_loses_nothing_that_was_told(larder, long):
    """Processes are killed at any point: each may have done one more than it could tell."""
    running, page, told, killed = larder(), recipe_page.module(), 0, 0
    for _ in range(20 if long else 3):
        child = subprocess.Popen([sys.executable, "-c", COUNTER, str(running.port)],
                                 stdout=subprocess.PIPE)
        try:
            assert child.stdout.readline() == b"done\n"
            told += 1
            counting = Clients(running, page)
            mine = 50

            def count(cache):
                for _ in range(mine):
                    page.update(cache, b"n", one_more)

            counting.start(count)
            time.sleep(random.random() * 0.02)
            child.kill()
            counting.finish()
        finally:
            child.kill()
            rest, _ = child.communicate()
        told += rest.count(b"done\n") + mine
        killed += 1
    with running.connect() as c:
        found = int(c.get(b"get n\r\n").split()[4])
    assert told <= found <= told + killed


RUBY = """
require 'dalli'
%s
client = Dalli::Client.new("127.0.0.1:" + ARGV[0])
100.times { update(client, "n") { |value| (value || 0) + 1 } }
print client.get("n") || "nothing"
"""


def test_dalli_counts(larder):
    """Three processes at once; Dalli keeps numbers in a form of its own."""
    ruby = shutil.which("ruby")
    if not ruby or subprocess.run([ruby, "-e", "require 'dalli'"], capture_output=True).returncode:
        pytest.skip("no Dalli: dist/setup clients installs it")
    running = larder()
    source = RUBY % "\n".join(recipe_page.blocks("ruby run"))
    started = [subprocess.Popen([ruby, "-e", source, str(running.port)], stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE) for _ in range(3)]
    try:
        said = [process.communicate(timeout=PATIENCE) for process in started]
    finally:
        for process in started:
            if process.poll() is None:
                process.kill()
                process.communicate()
    assert [process.returncode for process in started] == [0, 0, 0], said
    assert max(int(out) for out, _ in said) == 300


# ---- 4 and 5: nobody is given an older version than was told --------------------------------

def fill_without_end(connections, stopped):
    """Everything is evicted soon: by all threads of the server, each evicts what it has filled.
    A row that is asked for often outlives all that; but when the limit is lowered, the oldest goes
    whatever it is, and as all that is stored here is asked for, that is not always the same."""
    value = b"x" * 2000
    for limit in itertools.cycle((16, 8)):
        if stopped.is_set():
            break
        assert connections[0].ask(b"cache_memlimit %d\r\n" % limit) == b"OK\r\n"
        for c in connections:
            keys = [random.randrange(30000) for _ in range(200)]
            c.send(b"".join(b"ms fill%d 2000 q\r\n%s\r\nmg fill%d\r\n" % (key, value, key)
                            for key in keys) + b"mn\r\n")
        for c in connections:
            answers = c.until(b"MN\r\n").split()
            assert set(answers) <= {b"HD", b"EN"}


LEASE_BY_META = b"mg row v c N1\r\n"
LEASE_BY_TEXT = b"add row 0 1 8\r\n\0lease ?\r\n"


def read_and_write(running, page, kind, commits, evicting=False):
    """Writers commit and tell; keys are deleted, or evicted while writers wait longer.
    -> (what readers were given that was older than what was told, loads from the database)"""
    write, read = READERS[kind](page)
    take_lease = LEASE_BY_TEXT if "text" in kind else LEASE_BY_META
    base, clients, older = Database(), Clients(running, page), []
    reads = collections.Counter()

    def write_all(cache):
        for _ in range(commits):
            version = base.commit()
            time.sleep(random.random() * 0.002)
            write(cache, version)
            base.tell(version)
            time.sleep(random.random() * (0.08 if evicting else 0.004))

    def read_all(cache):
        while not clients.stopped.is_set():
            told = base.told
            version, fresh = read(cache, base)
            reads[fresh] += 1
            if fresh and version < told:
                older.append((version, told))

    def delete(cache):
        while not clients.stopped.wait(0.003):
            cache.meta(b"md row")

    def vanish(_):
        """Takes leases, and is gone."""
        while not clients.stopped.wait(0.01):
            c = running.connect()
            c.send(take_lease)
            if random.random() < 0.5:
                c.line()
            c.reset()

    def fill(_):
        connections = [running.connect() for _ in range(8)]
        fill_without_end(connections, clients.stopped)
        for c in connections:
            c.close()

    writers = [clients.start(write_all) for _ in range(2)]
    for _ in range(4):
        clients.start(read_all)
    for work in (fill if evicting else delete, vanish):
        clients.start(work)
    for writer in writers:
        writer.join()
    clients.finish()
    assert reads[True] > commits / 2, reads
    return older, base.loads


def versions_of(page):
    def write(cache, version):
        page.write_through(cache, b"row", b"%d" % version, page.VERSIONS + version)

    def read(cache, base):
        def load():
            value = base.load()
            return value, page.VERSIONS + int(value)

        return int(page.read(cache, b"row", load, lease=1)), True

    return write, read


def deleting(page, fetch):
    def write(cache, _):
        cache.delete(b"row", noreply=False)

    def read(cache, base):
        return int(getattr(page, fetch)(cache, b"row", base.load, lease=1)), True

    return write, read


def marking(page):
    """Whoever shall revalidate does so at once, over the same connection."""
    def write(cache, _):
        page.invalidate(cache, b"row", grace=2)

    def read(cache, base):
        def later(key, token):
            page.refill(cache, key, token, base.load, 600)

        value, fresh = page.fetch_stale(cache, b"row", base.load, later, lease=1)
        return int(value), fresh

    return write, read


READERS = {
    "versions": versions_of,
    "delete": lambda page: deleting(page, "fetch"),
    "delete, text": lambda page: deleting(page, "fetch_text"),
    "stale": marking,
}


@pytest.mark.parametrize("evicting", [False, True], ids=["", "evicting"])
@pytest.mark.parametrize("kind", READERS)
def test_nothing_older_than_told(larder, long, kind, evicting):
    page = recipe_page.module()
    commits = (30 if evicting else 250) * (16 if long else 1)
    must_load = 4 if evicting and kind == "versions" else 0    # there nothing else takes the row
    loads = 0
    for _ in range(8):
        older, more = read_and_write(larder("-m", "8", "-t", "4"), page, kind, commits, evicting)
        assert older == []
        loads += more
        if loads >= must_load:
            break
    else:
        pytest.fail("the row was hardly ever evicted: %d loads" % loads)


# The line that keeps the promise -> what a program would write that does not know it.
# A format that takes the number and sends another flag: "F0%.0s" sends F0.
STORED_BY_REFILL = ('C%s T%d" % (key, len(value), token', 'F0%.0s T%d" % (key, len(value), token')
CARELESS = {
    "versions": ('C%s E%d T%d" % (key, len(value), flags["c"]',
                 'F0%.0s E%d T%d" % (key, len(value), flags["c"]'),
    "delete": STORED_BY_REFILL,
    "delete, text": ("cache.cas(key, value, token, ttl)\n            return",
                     "cache.set(key, value, ttl, noreply=False)\n            return"),
    "stale": STORED_BY_REFILL,
}


@pytest.mark.parametrize("kind", CARELESS)
def test_an_older_one_is_noticed(larder, kind):
    page = recipe_page.module(CARELESS[kind])
    assert noticed_at_last(lambda: read_and_write(larder("-m", "8"), page, kind, 250)[0])


# What write_through could do instead, and how an older row comes back then.
CARELESS_WRITERS = {
    "stores on a miss": (
        'if not flags or int(flags["c"]) >= version:\n            return ',
        'if not flags:\n'
        '            cache.meta(b"ms %s %d ME E%d" % (key, len(value), version), value)\n'
        '            return\n'
        '        if int(flags["c"]) >= version:\n            return '),
    "stores over a lease": ("if int(there) < VERSIONS:", "if False:"),
    "leaves a lease alone": ("            status, _, _ = cache.meta(b\"md %s C%s\" % (key, there))",
                             "            return"),
    "compares nothing": (
        'C%s E%d T%d" % (\n                key, len(value), there, version, ttl)',
        'F0%.0s E%d T%d" % (\n                key, len(value), there, version, ttl)'),
}


@pytest.mark.parametrize("how", CARELESS_WRITERS)
def test_a_writer_that_is_careless_is_noticed(larder, how):
    page = recipe_page.module(CARELESS_WRITERS[how])
    assert noticed_at_last(lambda: read_and_write(larder("-m", "8"), page, "versions", 500)[0])
