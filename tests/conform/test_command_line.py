"""The command line of larderd, as an operator meets it: exit codes, messages, files, processes.

Goal: what memcached 1.6.45 refuses is refused with the same words and code; what it accepts is
accepted; help, licence, version and manual are complete; -d, -P, -u and MEMCACHED_PORT_FILENAME do
what start scripts rely on.  The single checks are tested in unit/test_settings.c; here is what
needs a process.

Method: a line that must be accepted is given an address that cannot be parsed as its last word,
which is noticed after everything else (71): so no server needs to run to see that.
"""
import contextlib
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess

import pytest

import server

ROOT = server.ROOT
AS_ROOT = os.geteuid() == 0
USER = ["-u", "root"] if AS_ROOT else []
BARE = pytest.mark.skipif(server.SANITIZED, reason="a sanitizer needs, and forbids, more itself")
STOP_HERE = ["-l", "127.0.0.1:y"]


def run(*args, binary=None, **how):
    """(exit code, stdout, stderr) of a command line that ends by itself."""
    done = subprocess.run([binary or server.LARDERD, *args], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=server.PATIENCE, **how)
    assert not server.SANITIZER_REPORT.search(done.stderr), done.stderr
    return done.returncode, done.stdout, done.stderr


# ---- what is refused ------------------------------------------------------------------------

# Refused by Debian's memcached 1.6.18 in the same way.
REFUSED_BY_BOTH = [
    ["-z"], ["--nosuch"], ["--max", "5"], ["-p"], ["-p", "70000"], ["-c", "0"], ["-t", "0"],
    ["-R", "0"], ["-f", "1"], ["-f", "x"], ["-n", "0"], ["-D", ""], ["-N", "0"], ["-B", "x"],
    ["-t", "4", "-N", "5"], ["-I", "512"], ["-I", "64m"], ["-m", "0"],
    ["-I", "2000m", "-m", "8192"], ["-S", "-B", "ascii"], ["-S", "-U", "5"],
    ["-Y", "f", "-B", "auto"], ["-Z", "-p", "0"], ["-U", "70000"], ["-p", "70000", "-I", "512"],
    ["-o", "nosuch"], ["-o", "nosuch=5"], ["-o", ","], ["-o", "hashpower"], ["-o", "hashpower=11"],
    ["-o", "hashpower=33"], ["-o", "slab_automove=3"], ["-o", "slab_automove_ratio"],
    ["-o", "slab_automove_ratio=2"], ["-o", "slab_automove_window=2"], ["-o", "tail_repair_time=9"],
    ["-o", "hash_algorithm"], ["-o", "hash_algorithm=x"], ["-o", "lru_crawler_sleep=-1"],
    ["-o", "lru_crawler_tocrawl=x"], ["-o", "hot_lru_pct=80"], ["-o", "warm_lru_pct"],
    ["-o", "hot_lru_pct=41"], ["-o", "hot_max_factor=0"], ["-o", "warm_max_factor"],
    ["-o", "temporary_ttl=5,no_lru_maintainer"], ["-o", "idle_timeout"],
    ["-o", "watcher_logbuf_size=x"], ["-o", "worker_logbuf_size"], ["-o", "slab_sizes=10-20"],
    ["-o", "slab_sizes=100-100"], ["-o", "slab_sizes=100-104"], ["-o", "read_buf_mem_limit=x"],
    ["-o", "relaxed_privileges"], ["-o", "ext_path"], ["-o", "ext_path=/x"],
    ["-o", "ext_path=/x:1g:foo"], ["-o", "ext_path=/x:1g", "-U", "5"], ["-o", "ext_threads=x"],
    ["-o", "ext_path=/x:1g,ext_page_size=2"], ["-o", "ext_wbuf_size=1,ext_path=/x:1g", "-I", "2m"],
    ["-o", "ssl_verify_mode=9"], ["-o", "ssl_min_version=x"], ["-o", "ssl_key"],
]


@pytest.mark.parametrize("args", REFUSED_BY_BOTH, ids=" ".join)
def test_refused_as_memcached_refuses(args):
    if not os.access(server.MEMCACHED, os.X_OK):
        pytest.skip("no memcached to compare with")
    code, out, err = run(*args)
    peer_code, peer_out, peer_err = run(*args, binary=server.MEMCACHED)
    assert code in (1, 64)
    assert (code, out) == (peer_code, peer_out)
    ours = err.replace(server.LARDERD, "X").splitlines()
    theirs = peer_err.replace(server.MEMCACHED, "X").splitlines()
    # What is said beyond memcached's words stands behind them, in brackets.
    assert [re.sub(r" \(-[mI] is .*\)$", "", line) for line in ours] == theirs


@pytest.mark.parametrize("args, name", [
    (["-Z"], "-Z"), (["-S"], "-S"), (["-Y", "f"], "-Y"), (["-e", "f"], "-e"),
    (["-U", "11211"], "-U"),
    (["-o", "ssl_chain_cert=f"], "-o ssl_chain_cert"), (["-o", "ext_path=/x:1g"], "-o ext_path"),
], ids=str)
def test_features_to_come_end_the_start(args, name):
    code, out, err = run(*args, *STOP_HERE)
    assert (code, out) == (1, "")
    assert re.fullmatch(r"larderd: %s: .+ does not exist in larderd .+ yet; start without it\n"
                        % re.escape(name), err)


@pytest.mark.parametrize("args, message", [
    (["-l", "127.0.0.1:y"], 'Invalid port number: "y"'),
    (["-l", "[::1"], 'Invalid IPV6 address: "[::1"'),
    (["-l", "proto[foo]:x"], 'Invalid protocol name: "foo"'),
], ids=str)
def test_addresses_that_cannot_be_read(args, message):
    code, out, err = run(*args)
    assert (code, out) == (71, "")
    assert err == "failed to listen on one of interface(s) %s: %s\n" % (args[1], message)


# ---- what is accepted -----------------------------------------------------------------------

@pytest.mark.parametrize("args", [
    ["-p", " 11311"], ["-U", "0"], ["-AMFC", "-vv"], ["-m", "100", "-I", "2m"],
    ["--memory-l=100", "--conn-limit", "7"], ["stray", "-t", "2", "words"], ["-t", "65"],
    ["-R", "-1"], ["-b", "x"], ["-a", "0770"], ["-D", "/"], ["-o", ""], ["-o", "modern,"],
    ["-o", "no_modern", "-o", "idle_timeout=5,no_maxconns_fast"], ["-o", "maxconns_fast=7"],
    ["-o", "resp_obj_mem_limit=3"], ["-o", "drop_privileges"], ["-o", "sock_cookie_id=0"],
], ids=" ".join)
def test_accepted(args):
    code, out, err = run(*args, *STOP_HERE)
    assert (code, out) == (71, ""), err


def test_small_items_need_no_slab_chunk(larder):
    with larder("-I", "1k") as s, s.connect() as c:
        assert c.ask(b"set a 0 0 900\r\n%s\r\n" % (b"x" * 900)) == b"STORED\r\n"
        assert c.ask(b"set a 0 0 1025\r\n%s\r\n" % (b"x" * 1025)) == (
            b"SERVER_ERROR object too large for cache\r\n")


def test_what_has_no_effect_is_named_in_one_line(larder):
    with larder("-f", "1.1", "-o", "slab_reassign,hashpower=20", "-W") as s:
        assert s.stderr().count("nothing to tune") == 1
        assert ("larderd: notice: accepted, nothing to tune here: "
                "-f, -W, -o hashpower,slab_reassign\n" in s.stderr())
    with larder("-m", "64") as s:
        assert "notice" not in s.stderr()


# ---- what is printed ------------------------------------------------------------------------

def test_help_fits_a_tall_window():
    code, out, err = run("--help")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert len(lines) <= 50 and max(map(len, lines)) <= 80
    assert run("-h") == (0, out, "")
    assert "(null)" not in out and "\n  -D CHAR  " in out


def test_version():
    code, out, err = run("-V")
    assert (code, err) == (0, "")
    assert re.fullmatch(r"larderd \d+\.\d+\.\d+\nspeaks memcached 1\.6\.45\n", out)


@pytest.mark.parametrize("option", ["-h", "-V", "-i", "--print-man"])
def test_what_cannot_be_written_is_a_failure(option):
    with open("/dev/full", "w") as full:
        done = subprocess.run([server.LARDERD, option], stdout=full, stderr=subprocess.PIPE,
                              text=True, timeout=server.PATIENCE)
    assert (done.returncode, done.stderr) == (
        1, "larderd: cannot write: No space left on device\n")


def test_licence_is_the_file():
    assert run("-i") == (0, (ROOT / "LICENSE").read_text(), "")


def test_manual_is_clean():
    code, out, err = run("--print-man")
    assert (code, err) == (0, "")
    assert ".SH NAME\n" in out and ".SH EXIT STATUS\n" in out
    if not shutil.which("groff"):
        pytest.skip("no groff to read it with")
    done = subprocess.run(["groff", "-man", "-Tutf8", "-ww", "-z"], input=out, text=True,
                          capture_output=True, timeout=server.PATIENCE)
    assert (done.returncode, done.stderr) == (0, "")


def test_manual_and_unit_name_one_directory():
    """The pid file needs a directory that the user of -u owns; the unit makes one."""
    unit = (ROOT / "dist/larderd.service").read_text()
    made = re.search(r"^RuntimeDirectory=(.*)$", unit, re.M).group(1)
    named = set(re.findall(r"/run/([^ ]*)/", run("--print-man")[1].split(".SH EXAMPLES")[1]))
    assert named == {made}
    assert "\nLimitMEMLOCK=infinity\n" in unit     # else -k is refused


def test_earlier_options_are_checked_before_version():
    assert run("-c", "0", "-V")[0] == 1
    assert run("-V", "-c", "0")[0] == 0


# ---- stats settings -------------------------------------------------------------------------

def settings_of(s):
    """stats settings as a list of pairs, in order."""
    with s.connect() as c:
        c.send(b"stats settings\r\n")
        text = c.until(b"END\r\n").decode()
    return [tuple(line.split(" ", 2)[1:]) for line in text.splitlines()]


def test_settings_are_shown_as_they_are(larder):
    with larder("-m", "80", "-c", "99", "-t", "3", "-R", "7", "-M", "-F", "-C", "-I", "2m",
                "-D", "/", "-b", "50", "-o", "idle_timeout=33,no_maxconns_fast",
                "-o", "hot_lru_pct=11") as s:
        shown = dict(settings_of(s))
        wanted = {"maxbytes": str(80 << 20), "maxconns": "99", "tcpport": str(s.port),
                  "udpport": "0", "inter": "127.0.0.1", "evictions": "off", "num_threads": "3",
                  "reqs_per_event": "7", "cas_enabled": "no", "flush_enabled": "no",
                  "item_size_max": str(2 << 20), "stat_key_prefix": "/", "detail_enabled": "yes",
                  "tcp_backlog": "50", "idle_timeout": "33", "maxconns_fast": "no",
                  "hot_lru_pct": "11", "domain_socket": "NULL", "memory_file": "(null)",
                  "client_flags_size": "4"}
        assert {name: shown[name] for name in wanted} == wanted


def test_names_are_those_of_memcached(larder, memcached):
    """Those that 1.6.18 has too; newer ones are in unit/test_settings.c."""
    if not os.access(server.MEMCACHED, os.X_OK):
        pytest.skip("no memcached to compare with")
    with larder() as s, memcached() as peer:
        ours = [name for name, _ in settings_of(s)]
        theirs = [name for name, _ in settings_of(peer)]
    assert [name for name in ours if name in theirs] == [name for name in theirs if name in ours]
    assert set(theirs) <= set(ours)


# ---- addresses ------------------------------------------------------------------------------

def test_an_address_that_is_taken():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, out, err = run("-l", "127.0.0.1", "-p", str(taken.getsockname()[1]), *USER)
        assert (code, out) == (71, "")
        assert err == ("failed to listen on one of interface(s) 127.0.0.1: Address already in use "
                       "(port %d)\n" % taken.getsockname()[1])


def test_more_addresses_than_there_can_be():
    many = ",".join("127.0.0.%d" % n for n in range(1, 66))
    code, out, err = run("-l", many, "-p", str(server.free_port()), *USER)
    assert (code, out) == (71, "")
    assert "127.0.0.65: there can be 64 listeners at most" in err


@BARE
def test_more_memory_than_the_machine_has():
    """The address is taken: it ends by itself."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >> 20
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = ["-l", "127.0.0.1", "-p", str(taken.getsockname()[1]), *USER]
        notice = "larderd: notice: -m %d is more than the %d MB of this machine\n"
        assert notice % (machine + 1, machine) in run("-m", str(machine + 1), *line)[2]
        assert "of this machine" not in run("-m", "64", *line)[2]


def test_more_memory_than_there_can_be():
    code, out, err = run("-m", "10000000", "-p", "0", *USER)
    assert (code, out) == (71, "")
    most = re.search(r"items: -m 10000000 is more than (\d+) MB, the largest cache\n", err)
    assert 0 < int(most.group(1)) < 10000000


@BARE
def test_less_address_space_than_needed():
    little = lambda: resource.setrlimit(resource.RLIMIT_AS, (256 << 20,) * 2)
    code, out, err = run("-m", "512", "-t", "1", "-p", "0", *USER, preexec_fn=little)
    assert code == 71
    assert err.endswith("memory for items: Cannot allocate memory: more than 512 MB of address "
                        "space are needed (see ulimit -v)\n")


@BARE
def test_memory_that_the_system_refuses(larder):
    """What it gives is the limit then: sets go on, and the log tells of it."""
    little = lambda: resource.setrlimit(resource.RLIMIT_DATA, (24 << 20,) * 2)
    told = lambda: re.search(r"the system gives no more than (\d+) MiB", s.stderr())
    s = larder("-m", "64", "-t", "1", before=little)
    with s.connect() as c:
        for i in range(40000):
            c.send(b"set %d 0 0 1000 noreply\r\n%s\r\n" % (i, b"x" * 1000))
        assert c.ask(b"get 39999\r\n").startswith(b"VALUE")
    assert server.wait_until(told)
    assert int(told().group(1)) == int(s.stats()["limit_maxbytes"]) >> 20 < 24
    assert int(s.stats()["evictions"]) > 0


@BARE
@pytest.mark.skipif(not AS_ROOT, reason="root alone begins with all rights")
def test_memory_that_may_not_be_locked(larder):
    none = lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    with larder("-k", "-u", "nobody", before=none) as s:
        assert server.wait_until(lambda: "(see ulimit -l, in a unit LimitMEMLOCK)" in s.stderr())


def test_an_address_of_another_machine():
    code, out, err = run("-l", "192.0.2.1", "-p", "-1", *USER)
    assert (code, out) == (71, "")
    assert "192.0.2.1" in err and "Cannot assign requested address" in err


def test_a_socket_in_no_folder(tmp_path):
    code, out, err = run("-s", str(tmp_path / "no" / "socket"), *USER)
    assert (code, out) == (71, "")
    assert "failed to listen on UNIX socket" in err and "No such file or directory" in err


def test_a_socket_that_is_served_is_not_taken(larder):
    with larder(unix=True) as s:
        code, out, err = run("-s", s.unix, *USER)
        assert (code, out) == (71, "")
        assert err == "failed to listen on UNIX socket %s: Address already in use\n" % s.unix
        with s.connect() as c:
            assert c.ask(b"version\r\n") == b"VERSION 1.6.45\r\n"


def test_a_socket_with_a_full_backlog_is_not_taken(tmp_path):
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as taken, socket.socket(socket.AF_UNIX) as waits:
        taken.bind(path)
        taken.listen(0)
        waits.connect(path)
        assert run("-s", path, *USER)[0] == 71


def test_a_socket_left_behind_is_replaced(larder):
    with socket.socket(socket.AF_UNIX) as old:
        with larder(unix=True, before=lambda: old.bind("socket")) as s, s.connect() as c:
            assert c.ask(b"version\r\n") == b"VERSION 1.6.45\r\n"


def test_port_file_tells_the_ports(larder):
    with larder(ephemeral=True) as s:
        text = pathlib.Path(s.port_file).read_text()
        assert text == "TCP INET: %d\n" % s.port
        assert not os.path.exists(s.port_file + ".lck")
        assert dict(settings_of(s))["tcpport"]


def test_two_lists_of_addresses(larder):
    with larder("-l", "127.0.0.2,127.0.0.1", "-l", "127.0.0.2") as s:
        for host in ("127.0.0.1", "127.0.0.2"):
            with server.Connection(socket.create_connection((host, s.port))) as c:
                assert c.ask(b"version\r\n") == b"VERSION 1.6.45\r\n"


def test_many_listeners_are_counted(larder):
    with larder("-l", ",".join("127.0.0.%d" % n for n in range(2, 41))) as s:
        hello = server.wait_until(lambda: re.search(r" serves (.*) with \d+ MiB", s.stderr()))
        names, more = re.fullmatch(r"(.*) and (\d+) more", hello.group(1)).groups()
        names = names.split(", ")
        assert all(re.fullmatch(r"tcp:127\.0\.0\.\d+:%d" % s.port, name) for name in names)
        assert len(names) + int(more) == 40


def test_mode_of_the_unix_socket(larder):
    with larder("-a", "0750", unix=True) as s:
        assert os.stat(s.unix).st_mode & 0o777 == 0o750


# ---- the process ----------------------------------------------------------------------------

@pytest.mark.skipif(not AS_ROOT, reason="only root may become somebody else")
def test_root_must_say_who_to_become(larder):
    assert run("-p", "-1", "-l", "127.0.0.1")[0::2] == (
        64, "must add '-u root' to start as root, or '-u nobody' to run as somebody else\n")
    code, out, err = run("-p", "-1", "-l", "127.0.0.1", "-u", "no-such-user-here")
    assert (code, err) == (67, "can't find the user no-such-user-here to switch to\n")
    with larder("-u", "nobody") as s:   # the last -u counts
        status = pathlib.Path("/proc/%d/status" % s.pid).read_text()
        assert re.search(r"^Uid:(\s+65534){4}$", status, re.M)
        assert re.search(r"^Gid:(\s+65534){4}$", status, re.M)
        assert re.search(r"^Groups:\s*$", status, re.M)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], ids=str)
def test_signals_end_it_normally(larder, number):
    s = larder()
    s.process.send_signal(number)
    assert s.wait() == 0


def test_pid_file_without_daemon_stays(larder, tmp_path):
    tmp_path.chmod(0o755)
    path = tmp_path / "pid"
    with larder("-P", str(path)) as s:
        assert server.wait_until(path.exists)
        assert path.read_text() == "%d\n" % s.pid
        assert "WARNING" not in s.stderr()
    assert path.exists()
    path.write_text("%d\n" % os.getpid())
    with larder("-P", str(path)) as s:
        assert server.wait_until(lambda: path.read_text() == "%d\n" % s.pid)
        assert ("WARNING: The pid file contained the following (running) pid: %d\n" % os.getpid()
                in s.stderr())


@pytest.mark.skipif(not AS_ROOT, reason="only root may become somebody else")
def test_pid_file_is_written_by_the_user(larder):
    nobody = ["-u", "nobody", "-P", "{dir}/pid"]
    with larder(*nobody) as s:
        assert server.wait_until(lambda: "Could not open the pid file" in s.stderr())
    with larder(*nobody, before=lambda: os.chown(".", 65534, 65534)) as s:
        assert server.wait_until(pathlib.Path(s.dir, "pid").exists)


def gone(pid):
    """True when a process has ended, whether or not somebody has asked for its exit code."""
    try:
        text = pathlib.Path("/proc/%d/stat" % pid).read_text()
    except OSError:
        return True
    return text.rsplit(")", 1)[1].split()[0] == "Z"


@contextlib.contextmanager
def daemon(tmp_path, *args, **how):
    """(pid, port, stderr of the command) of a server in the background, which is ended here."""
    path, ports = tmp_path / "pid", tmp_path / "ports"
    env = dict(os.environ, MEMCACHED_PORT_FILENAME=str(ports))
    code, out, err = run("-d", "-P", str(path), "-p", "-1", "-l", "127.0.0.1", *USER, *args,
                         env=env, **how)
    assert (code, out) == (0, ""), err
    pid = int(path.read_text())
    try:
        yield pid, int(ports.read_text().split()[2]), err
    finally:
        os.kill(pid, signal.SIGTERM)
        ended = server.wait_until(lambda: gone(pid))
        if not ended:
            os.kill(pid, signal.SIGKILL)
    assert ended


def assert_serves(port):
    with server.Connection(socket.create_connection(("127.0.0.1", port))) as c:
        assert c.ask(b"version\r\n") == b"VERSION 1.6.45\r\n"


def streams_of(pid):
    return [os.readlink("/proc/%d/fd/%d" % (pid, n)) for n in range(3)]


def test_daemon_serves_when_the_command_returns(tmp_path):
    with daemon(tmp_path) as (pid, port, _):
        assert_serves(port)
        assert os.readlink("/proc/%d/cwd" % pid) == "/"
        assert streams_of(pid) == ["/dev/null"] * 3
        assert os.getsid(pid) == pid
    assert not (tmp_path / "pid").exists()


def test_a_daemon_that_serves_nobody_says_so(tmp_path):
    code, out, err = run("-d", "-P", str(tmp_path / "pid"), "-p", "abc", *USER)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    assert (code, out) == (0, "")
    assert "larderd: notice: -p abc: read as 0\n" in err
    assert " serves nobody (no TCP port, no socket) " in err


def test_pid_file_of_another_daemon_stays(tmp_path):
    path = tmp_path / "pid"
    with daemon(tmp_path):
        path.write_text("%d\n" % os.getpid())
    assert path.read_text() == "%d\n" % os.getpid()


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_daemon_without_streams_serves(tmp_path, closed):
    """What is opened in the place of a stream would be replaced by /dev/null."""
    with daemon(tmp_path, preexec_fn=lambda: [os.close(n) for n in closed]) as (pid, port, _):
        assert_serves(port)
        assert streams_of(pid) == ["/dev/null"] * 3


def test_closed_streams_are_no_place_for_sockets(larder):
    """In the foreground a line of the log would go to whatever took the place of stderr."""
    with larder(before=lambda: os.closerange(0, 3)) as s, s.connect() as c:
        assert c.ask(b"version\r\n") == b"VERSION 1.6.45\r\n"
        assert streams_of(s.pid) == ["/dev/null"] * 3


@pytest.mark.skipif(not AS_ROOT, reason="nobody else has a user without processes")
def test_daemon_that_may_not_fork_says_so(tmp_path):
    """One process is allowed to a user who has it."""
    none = lambda: resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
    code, out, err = run("-d", "-u", "nobody", "-p", "-1", "-l", "127.0.0.1", preexec_fn=none,
                         env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"))
    assert (code, out) == (71, "")
    assert err.endswith("cannot go into the background: Resource temporarily unavailable\n")


def test_daemon_that_cannot_start_says_so(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        code, out, err = run("-d", "-P", str(tmp_path / "pid"), "-l", "127.0.0.1",
                             "-p", str(taken.getsockname()[1]), *USER)
    assert (code, out) == (71, "")
    assert "Address already in use" in err
    assert not (tmp_path / "pid").exists()


def test_locked_memory_is_no_condition(larder):
    with larder("-k") as s, s.connect() as c:
        assert c.ask(b"version\r\n") == b"VERSION 1.6.45\r\n"


# ---- what the documents say of it ---------------------------------------------------------------

DOCS = server.ROOT / "docs"


@pytest.mark.parametrize("options, status", [
    (["-t", "0"], 1), (["--nosuch"], 1), (["-S"], 1), (["-p", "70000"], 64), (["-B", "foo"], 64),
    (["-m", "8", "-I", "512m"], 64), (["-u", "no-such-user"], 67),
    (["-u", "root", "-l", "127.0.0.1:99999999"], 71)])
def test_the_manual_knows_the_exit_status(options, status):
    manual = (DOCS / "larderd.1").read_text().replace("\\-", "-")
    section = manual.split(".SH EXIT STATUS")[1].split(".SH")[0]
    explained = dict(re.findall(r"\\fB(\d+)\\fR\n(.*)", section))
    assert subprocess.run([server.LARDERD, *options], capture_output=True,
                          timeout=server.PATIENCE).returncode == status
    if options[0] in ("-t", "-p", "-B", "-I"):
        assert " ".join(options[-2:]) in explained[str(status)]


@pytest.mark.parametrize("mb", [16, 64])
def test_the_most_threads_are_those_of_the_document(larder, mb):
    """`-t` in the table of differences: two for each MB, less two."""
    assert "at most two for each MB of `-m`, less two" in (DOCS / "protocol.md").read_text()
    running = larder("-m", str(mb), "-t", "1000")
    assert running.stats()["threads"] == str(2 * mb - 2)


def test_every_protocol_of_a_listener_is_in_the_manual():
    manual = (DOCS / "larderd.1").read_text()
    for name in ("ascii", "binary", "negotiating"):
        assert "proto[%s]:" % name in manual
        code, _, said = run(*USER, "-l", "proto[%s]:127.0.0.1" % name, *STOP_HERE)
        assert code == 71 and 'Invalid port number: "y"' in said
