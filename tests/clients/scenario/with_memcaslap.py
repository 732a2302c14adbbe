"""libmemcached's load generator, every value that comes back verified:
with_memcaslap.py PORT text|binary"""
import re
import shutil
import subprocess
import sys

import kit
from kit import Wrong, expect

LOAD = ("-T", "2", "-c", "16", "-w", "1k", "-x", "100000", "-v", "1.0", "-b")


class Steps:
    def __init__(self, port, protocol):
        self._argv = ["memcaslap", "-s", "127.0.0.1:" + port, *LOAD]
        self._argv += ["-B"] if protocol == "binary" else []

    def in_sync(self):
        pass

    def memcaslap(self):
        self._run()

    def memcaslap_multi_get(self):
        self._run("-d", "20")

    def _run(self, *more):
        done = subprocess.run([*self._argv, *more], capture_output=True, text=True)
        numbers = {name: int(n) for name, n in re.findall(r"^(\w+): (\d+)$", done.stdout, re.M)}
        if not numbers.get("cmd_get") or not numbers.get("cmd_set"):
            raise Wrong("nothing done: " + (done.stdout + done.stderr)[-200:])
        expect(numbers["verify_failed"], 0, "wrong values")
        # A miss is not a wrong value, but nothing is evicted here.
        expect(numbers["verify_misses"], 0, "missing values")
        expect(done.returncode, 0, "exit status")


if not shutil.which("memcaslap"):
    kit.not_installed("memcaslap")
kit.run("memcaslap", "-", Steps(*sys.argv[1:]), {})
