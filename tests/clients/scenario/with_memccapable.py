"""libmemcached's own list of what a server must be able to do:
with_memccapable.py PORT text|binary"""
import re
import shutil
import subprocess
import sys

import kit
from kit import Wrong, expect

LETTER = {"text": "-a", "binary": "-b"}
WORD = {"text": "ascii", "binary": "binary"}
TESTS = 27      # of each protocol
# They ask for an answer that memcached gave up after 1.6.18: `delete key 10` was an error once,
# now additional words are ignored.
MAY_FAIL = {"ascii delete", "ascii delete noreply"}


class Steps:
    def __init__(self, port, protocol):
        self._port, self._protocol = port, protocol

    def in_sync(self):
        pass

    def memccapable(self):
        argv = ["memccapable", "-h", "127.0.0.1", "-p", self._port, LETTER[self._protocol]]
        said = subprocess.run(argv, capture_output=True, text=True).stdout
        # Every test is named, "[pass]" is behind those that did; "[FAIL]" goes to stderr.
        name = r"(%s \w+(?: \w+)*) {2,}" % WORD[self._protocol]
        tried, passed = set(re.findall(name, said)), set(re.findall(name + r"\[pass\]", said))
        failed = tried - passed
        expect(len(tried), TESTS, "number of tests")
        if failed and failed != MAY_FAIL:
            raise Wrong("failed: %s" % ", ".join(sorted(failed)))


if not shutil.which("memccapable"):
    kit.not_installed("memccapable")
kit.run("memccapable", "-", Steps(*sys.argv[1:]), {})
