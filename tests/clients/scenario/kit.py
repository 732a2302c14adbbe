"""kit.py -- the frame of a client's scenario in Python.

A scenario is a class; its methods are the steps, run in the order of the class's text.  A step
that raises has failed.  After each step the client asks for something it has just stored: an
answer too many or too few of the step is noticed there.

What a scenario prints is read by run_clients.py:

  client NAME VERSION     first, when the client is there; without it exit status 77
  ok STEP
  not ok STEP REASON
  - STEP WHY              the client has no such operation, or the server is too old for it
  end                     last
"""
import random
import sys
import time

NOT_INSTALLED = 77
# A reply that has not come by then does not come.
PATIENCE = 60
TINY = b"\0\1\xff\r\nEND\r\nVALUE x 0 1\r\n"
ALL_BYTES = bytes(range(256)) + TINY
LARGE = random.Random(1).randbytes((1 << 20) - 1024)    # just below the limit of one item
TOO_LARGE = random.Random(2).randbytes(2 << 20)
WIDE = 500                                              # keys of one wide multi-get


class Wrong(Exception):
    """An answer that the client's user would not have got from memcached."""


class Lacking(Exception):
    """The server is too old for the step: not a failure."""


def expect(got, wanted, what):
    if got != wanted or type(got) is not type(wanted):
        raise Wrong("%s: got %.80r, not %.80r" % (what, got, wanted))


def expect_error(kinds, call, what):
    """call() must raise one of kinds."""
    try:
        got = call()
    except kinds:
        return
    raise Wrong("%s: no error, but %.80r" % (what, got))


def expect_soon(call, wanted, what):
    """call() must come to answer wanted: time passes, memcached counts it in seconds."""
    end = time.monotonic() + PATIENCE
    while True:
        got = call()
        if got == wanted:
            return
        if time.monotonic() > end:
            raise Wrong("%s: still %.80r after %d seconds" % (what, got, PATIENCE))
        time.sleep(0.05)


def not_installed(why):
    print(why, file=sys.stderr)
    sys.exit(NOT_INSTALLED)


def one_line(error):
    return " ".join(("%s: %s" % (type(error).__name__, error)).split())[:300]


def run(name, version, steps, lacks):
    """steps: the scenario, with in_sync().  lacks: {step: why}."""
    print("client %s %s" % (name, version), flush=True)
    for step in vars(type(steps)):
        if step.startswith("_") or step == "in_sync" or step in lacks:
            continue
        try:
            getattr(steps, step)()
            steps.in_sync()
            print("ok " + step, flush=True)
        except Lacking as why:
            print("- %s %s" % (step, why), flush=True)
        except Exception as error:
            print("not ok %s %s" % (step, one_line(error)), flush=True)
    for step, why in lacks.items():
        print("- %s %s" % (step, why))
    print("end", flush=True)
