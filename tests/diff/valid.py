#!/usr/bin/python3
"""Sends the same random valid commands to two servers and compares what they answer.

  tests/diff/valid.py --server build/release/larderd [--oracle /usr/bin/memcached]
                      --commands 10000000 [--seed 1] [--only text,meta,binary]
  tests/diff/valid.py --server build/release/larderd --replay build/diff/valid-1-17.json

Classic text, meta and binary commands on several connections, one batch of pipelined commands at a
time, so that the order is defined.  There are few keys, so that everything meets everything.  What
can be answered differently by right is not asked, or not compared: valid_commands.py and
valid_play.py say what and why.

A difference is made smaller and written to a file (--keep says where) that --replay plays again.
The same happens to input that ends the oracle, which is started again then.  A server that has to
wait for its turn tells another time: a difference of times alone counts if it happens again.
The exit status is 1 if there was a difference, and 2 if the oracle has refused a command.
"""
import argparse
import os
import pathlib
import random
import shlex
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(HERE), str(HERE.parent / "lib")]
import server  # noqa: E402
import valid_commands  # noqa: E402
import valid_play  # noqa: E402
import valid_reduce  # noqa: E402

DIALECTS = ("text", "meta", "binary")
# What is compared unless --only says otherwise.
LARDER_SPEAKS = ("text", "meta", "binary")
# Nothing is evicted.
MEMORY = ("-m", "1024")
# Background threads hold items for a while, and then numbers are not changed in place.  With more
# workers than one, so does a worker that has sent a value a moment ago.
ORACLE_OPTIONS = MEMORY + ("-t", "1", "-o", "no_lru_maintainer,no_lru_crawler")
EPISODE_UNITS = 4000
REDUCE_SECONDS = 60
# While a difference is made smaller.
REDUCE_PATIENCE = 2.0
PROGRESS_SECONDS = 10
# Connections from this number on begin an episode, and their replies are not compared.
FIRST_SILENT = 100


class Pair:
    """The oracle and the server under test, started again when they end."""

    def __init__(self, binary, oracle, options=()):
        own = MEMORY if is_larder(binary) else ORACLE_OPTIONS
        self.commands = [(os.path.abspath(oracle), ORACLE_OPTIONS),
                         (os.path.abspath(binary), own + tuple(options))]
        self.running = [None, None]

    def start(self):
        """Returns which of the two had to be started."""
        started = []
        for i, (binary, options) in enumerate(self.commands):
            if self.running[i] is None or not self.running[i].alive():
                self.drop(i)
                self.running[i] = server.Server(binary, *options)
                started.append(i)
        return started

    def drop(self, i):
        """Ends a server that is not asked for its balance any more."""
        if self.running[i] is not None:
            self.running[i].__exit__(Exception)
            self.running[i] = None

    def sides(self, patience=None):
        return [valid_play.Side(s, patience) for s in self.running]

    def stop(self):
        """The balance of items and the reports of sanitizers are checked."""
        for s in reversed(self.running):
            if s is not None:
                s.stop()
        self.running = [None, None]


def is_larder(binary):
    return "larder" in os.path.basename(binary)


class Episode:
    """Some thousand commands on an empty cache."""

    def __init__(self, seed, dialects, units):
        self.rng = random.Random(seed)
        self.commands = valid_commands.Commands(self.rng, set(dialects))
        self.ways = self.commands.connections()
        self.units_left = units
        self.played = []
        self.units = 0

    def play(self, pair):
        """Raises what play_batch raises; what was played is in self.played."""
        oracle, tested = pair.sides()
        try:
            for batch in self.commands.begin():
                self.played.append(batch)
                valid_play.play_batch(oracle, tested, batch, compare=False)
            while self.units_left > 0:
                c = self.commands.choice(range(len(self.ways)))
                count = min(self.commands.batch_size(), self.units_left)
                batch = self.commands.batch(c, self.ways[c], count)
                self.played.append(batch)
                self.units_left -= count
                self.units += count
                valid_play.play_batch(oracle, tested, batch)
                for uid, key in oracle.fresh:
                    self.commands.learn(key, uid)
        finally:
            oracle.close()
            tested.close()


def find_difference(pair, batches, begin):
    """Plays batches on empty caches: the Difference, or None."""
    pair.start()
    oracle, tested = pair.sides(REDUCE_PATIENCE)
    try:
        for batch in begin + batches:
            valid_play.play_batch(oracle, tested, batch,
                                  compare=batch["connection"] < FIRST_SILENT)
    except valid_play.Difference as difference:
        return difference
    except (valid_play.Refused, valid_play.NoAnswer, valid_play.Malformed):
        return None
    finally:
        oracle.close()
        tested.close()
    return None


def split_begin(batches):
    begin = [b for b in batches if b["connection"] >= FIRST_SILENT]
    return begin, [b for b in batches if b["connection"] < FIRST_SILENT]


class Run:
    """Episodes until enough commands were sent, and what came out of them."""

    def __init__(self, args, say):
        self.args, self.say = args, say
        self.commands = self.by_chance = 0
        self.differences, self.deaths, self.refusals = [], [], []

    def keep(self, kind, number, batches, difference=None, note=None):
        self.args.keep.mkdir(parents=True, exist_ok=True)
        path = self.args.keep / ("valid-%s-%s-%d.json" % (kind, self.args.seed, number))
        head = {"seed": self.args.seed, "episode": number, "only": ",".join(self.args.only)}
        if note:
            head["note"] = note
        valid_reduce.write(path, head, batches, difference)
        return path

    def differ(self, pair, number, episode, difference):
        self.say("episode %d differs: %s; making it smaller" % (number, describe(difference)))
        begin, batches = split_begin(episode.played)
        smaller, found = valid_reduce.reduce_batches(
            batches, lambda b: find_difference(pair, b, begin), self.args.reduce_seconds)
        note = None
        if found is None and valid_play.may_be_chance(difference):
            self.by_chance += 1
            self.say("not again when it was replayed")
            return
        if found is None:
            found, note = difference, "did not happen again when it was replayed"
        path = self.keep("difference", number, begin + smaller, found, note)
        self.differences.append(path)
        self.say("%s: %d units%s\n%s" % (path, sum(len(b["units"]) for b in smaller),
                                         ", " + note if note else "", describe(found)))

    def episode(self, pair, number):
        episode = Episode("%s/%d" % (self.args.seed, number), self.args.only,
                          min(EPISODE_UNITS, self.args.commands - self.commands))
        try:
            episode.play(pair)
        except valid_play.Difference as difference:
            self.differ(pair, number, episode, difference)
        except valid_play.NoAnswer as error:
            self.deaths.append(self.keep("oracle-ended", number, episode.played))
            self.say("the oracle does not answer (%s): %s" % (error.args[0], self.deaths[-1]))
            pair.drop(0)
        except (valid_play.Refused, valid_play.Malformed) as error:
            self.refusals.append(self.keep("refused", number, episode.played, note=str(error)))
            self.say("the generator is wrong: %s: %s" % (error, self.refusals[-1]))
        self.commands += episode.units
        for i in pair.start():
            self.say("%s was started again" % pair.commands[i][0])

    def all(self, pair):
        number, started, told = 0, time.monotonic(), time.monotonic()
        while self.commands < self.args.commands and not self.enough():
            self.episode(pair, number)
            number += 1
            if time.monotonic() - told > PROGRESS_SECONDS:
                told = time.monotonic()
                self.say("%d commands, %d a second, %d differences" % (
                    self.commands, self.commands / (told - started), len(self.differences)))
        return time.monotonic() - started

    def enough(self):
        return (len(self.differences) + len(self.refusals) + len(self.deaths)
                >= self.args.differences)


def describe(difference):
    unit = difference.unit
    return "%s\n  sent    %s\n  oracle  %s\n  server  %s" % (
        difference.why, shorten(unit[0] if unit else None), shorten(difference.theirs),
        shorten(difference.ours))


def shorten(thing):
    text = repr(thing)
    return text if len(text) < 500 else text[:300] + "..." + text[-150:]


def dialects(text):
    found = tuple(text.split(","))
    if not found or set(found) - set(DIALECTS):
        raise argparse.ArgumentTypeError("some of " + ",".join(DIALECTS))
    return found


def arguments(argv):
    parser = argparse.ArgumentParser(description="compare two servers by random valid commands")
    parser.add_argument("--server", required=True, help="the server under test")
    parser.add_argument("--oracle", default=server.MEMCACHED)
    parser.add_argument("--server-options", default=(), type=shlex.split)
    parser.add_argument("--commands", type=int, default=1000000)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--only", type=dialects, default=None,
                        help="text, meta, binary, or some of them with commas")
    parser.add_argument("--keep", type=pathlib.Path, default=ROOT / "build/diff",
                        help="directory of reproducers")
    parser.add_argument("--differences", type=int, default=10, help="stop after so many")
    parser.add_argument("--reduce-seconds", type=float, default=REDUCE_SECONDS)
    parser.add_argument("--replay", type=pathlib.Path, help="play a reproducer")
    args = parser.parse_args(argv)
    args.only = args.only or (LARDER_SPEAKS if is_larder(args.server) else DIALECTS)
    return args


def replay(args, pair):
    begin, batches = split_begin(valid_reduce.read(args.replay))
    difference = find_difference(pair, batches, begin)
    print(describe(difference) if difference else "no difference")
    return 1 if difference else 0


def say(text):
    print(text, flush=True)


def main(argv=None):
    args = arguments(argv)
    pair = Pair(args.server, args.oracle, args.server_options)
    try:
        pair.start()
        if args.replay:
            return replay(args, pair)
        run = Run(args, say)
        seconds = run.all(pair)
        pair.stop()
    finally:
        pair.drop(0)
        pair.drop(1)
    say("valid: %d commands, seed %s, %s: %d differences, %d by chance, %d refused, oracle ended "
        "%d times, %.0f seconds" % (run.commands, args.seed, ",".join(args.only),
                                    len(run.differences), run.by_chance, len(run.refusals), len(run.deaths), seconds))
    return 2 if run.refusals else 1 if run.differences else 0


if __name__ == "__main__":
    sys.exit(main())
