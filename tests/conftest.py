"""Fixtures of all Python tests: see lib/server.py for what a started server promises."""
import faulthandler
import os
import pathlib
import signal
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
import server  # noqa: E402

LIMIT_SECONDS = int(os.environ.get("TEST_LIMIT_SECONDS", "120"))


def _starter(binary):
    started = []

    def start(*options, **how):
        s = server.Server(binary, *options, **how)
        started.append(s)
        return s

    return start, started


def _stop_all(started):
    """Stops what the test has left running; every server is stopped, the first fault is told."""
    faults = []
    for s in started:
        if not os.path.isdir(s.dir):
            continue  # the test has stopped it
        try:
            s.stop()
        except Exception as fault:
            faults.append(fault)
    if faults:
        raise faults[0]


@pytest.fixture
def larder():
    """Starts larderd: larder("-m", "32"), larder(unix=True)."""
    start, started = _starter(server.LARDERD)
    yield start
    _stop_all(started)


@pytest.fixture
def memcached():
    """Starts the peer."""
    start, started = _starter(server.MEMCACHED)
    yield start
    _stop_all(started)


@pytest.fixture
def long():
    """True in `make test-long`."""
    return bool(os.environ.get("LARDER_TEST_LONG"))


@pytest.fixture(autouse=True)
def time_limit(request):
    """A test that hangs fails and leaves the stacks of its threads."""
    marker = request.node.get_closest_marker("limit")
    seconds = max(marker.args[0] if marker else 0, LIMIT_SECONDS)

    def too_long(*_):
        faulthandler.dump_traceback(file=sys.__stderr__)
        raise TimeoutError("the test took longer than %d seconds" % seconds)

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(seconds)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def pytest_configure(config):
    config.addinivalue_line("markers", "limit(seconds): a longer time limit of this test")
