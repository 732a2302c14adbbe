"""pymemcache_work.py -- a program that uses a cache through pymemcache and knows what is in it.

Every operation of the client is used; a plain dict says what each answer must be.  The keys
carry the name of the worker: several can work on one server at once.

  tests/clients/pymemcache_work.py PORT SECONDS NAME
"""
import random
import sys
import time

from pymemcache.client.base import Client

KEY_COUNT = 50


class Work:
    def __init__(self, port, name, seed):
        self.client = Client(("127.0.0.1", port), timeout=60, no_delay=True)
        self.random = random.Random(seed)
        self.name = name
        self.model = {}   # key -> bytes
        self.done = 0

    def key(self):
        return "%s-%d" % (self.name, self.random.randrange(KEY_COUNT))

    def some_keys(self):
        return list({self.key() for _ in range(self.random.randint(1, 30))})

    def value(self):
        size = self.random.choice([0, 1, 10, 100, 1000, 10000, 100000])
        return self.random.randbytes(size)

    def expect(self, answer, wanted, what):
        if answer != wanted:
            raise AssertionError("%s: got %.200r, not %.200r" % (what, answer, wanted))

    def work_set(self):
        key, value = self.key(), self.value()
        noreply = self.random.random() < 0.3
        self.expect(self.client.set(key, value, noreply=noreply), True, "set")
        self.model[key] = value

    def work_get(self):
        key = self.key()
        self.expect(self.client.get(key), self.model.get(key), "get " + key)

    def work_set_many(self):
        values = {k: self.value() for k in self.some_keys()}
        self.expect(self.client.set_many(values, noreply=False), [], "set_many")
        self.model.update(values)

    def work_get_many(self):
        keys = self.some_keys()
        wanted = {k: self.model[k] for k in keys if k in self.model}
        self.expect(self.client.get_many(keys), wanted, "get_many")

    def work_delete_many(self):
        keys = self.some_keys()[:3]
        self.client.delete_many(keys, noreply=False)
        for k in keys:
            self.model.pop(k, None)

    def work_delete(self):
        key = self.key()
        there = self.model.pop(key, None) is not None
        self.expect(self.client.delete(key, noreply=False), there, "delete")

    def work_add_replace(self):
        key, value = self.key(), self.value()
        there = key in self.model
        self.expect(self.client.add(key, value, noreply=False), not there, "add")
        if not there:
            self.model[key] = value
        value = self.value()
        self.expect(self.client.replace(key, value, noreply=False), True, "replace")
        self.model[key] = value

    def work_append_prepend(self):
        key, front, back = self.key(), self.random.randbytes(7), self.random.randbytes(70)
        there = key in self.model
        if there and len(self.model[key]) > 500000:
            return
        self.expect(self.client.append(key, back, noreply=False), there, "append")
        self.expect(self.client.prepend(key, front, noreply=False), there, "prepend")
        if there:
            self.model[key] = front + self.model[key] + back

    def work_cas(self):
        key, value = self.key(), self.value()
        seen, cas = self.client.gets(key)
        self.expect(seen, self.model.get(key), "gets")
        if seen is None:
            self.expect(self.client.cas(key, value, b"1", noreply=False), None, "cas of nothing")
            return
        if self.random.random() < 0.5:
            between = self.value()
            self.client.set(key, between, noreply=False)
            self.model[key] = between
            self.expect(self.client.cas(key, value, cas, noreply=False), False, "cas too late")
        else:
            self.expect(self.client.cas(key, value, cas, noreply=False), True, "cas")
            self.expect(self.client.cas(key, b"", cas, noreply=False), False, "cas again")
            self.model[key] = value

    def work_gets_many(self):
        keys = self.some_keys()
        answer = self.client.gets_many(keys)
        wanted = {k: self.model[k] for k in keys if k in self.model}
        self.expect({k: v for k, (v, _) in answer.items()}, wanted, "gets_many")

    def work_counting(self):
        key = self.name + "-number"
        start, up, down = (self.random.getrandbits(n) for n in (40, 20, 41))
        self.client.set(key, b"%d" % start, noreply=False)
        self.expect(self.client.incr(key, up), start + up, "incr")
        self.expect(self.client.decr(key, down), max(0, start + up - down), "decr")
        self.expect(self.client.incr(self.name + "-none", 1), None, "incr of nothing")
        self.client.delete(key, noreply=False)

    def work_touch(self):
        key = self.key()
        there = key in self.model
        self.expect(self.client.touch(key, 1000, noreply=False), there, "touch")
        self.expect(self.get_and_touch(b"gat 2000", key).get(key), self.model.get(key), "gat")
        value, _ = self.get_and_touch(b"gats 0", key).get(key, (None, None))
        self.expect(value, self.model.get(key), "gats")

    def get_and_touch(self, command, key):
        """This client knows no gat, but it answers like get: its own parser reads it."""
        return self.client._fetch_cmd(command, [key], command.startswith(b"gats"))

    def work_expire(self):
        key = self.key()
        self.client.set(key, b"short-lived", expire=-1, noreply=False)
        self.model.pop(key, None)
        self.expect(self.client.get(key), None, "expired")

    def run(self, seconds):
        kinds = [getattr(self, n) for n in dir(self) if n.startswith("work_")]
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.random.choice(kinds)()
            self.done += 1
        for key in self.model:
            self.expect(self.client.get(key), self.model[key], "at the end " + key)
        self.client.close()


def main():
    port, seconds, name = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
    seed = time.time_ns() % 10 ** 9
    print("seed %d" % seed)
    work = Work(port, name, seed)
    work.run(seconds)
    print("%d operations, no error" % work.done)


if __name__ == "__main__":
    main()
