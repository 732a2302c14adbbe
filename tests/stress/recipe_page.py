"""recipe_page.py -- what docs/recipes.md has to be run: code and exchanges.

A block with the info string `python run` or `ruby run` is code; `wire` is an exchange:

  A> mg key v c N30       client A sends this line
  A< VA 0 c1201 W         and hears this one

A number behind c or C that is 1201 to 1299 stands for one that the server chooses: it is learnt
where it is heard first, must be another one than those learnt before, and the same from then on.
"""
import pathlib
import re
import types

PAGE = pathlib.Path(__file__).resolve().parent.parent.parent / "docs/recipes.md"
BLOCK = re.compile(r"^```(\w+(?: run)?)\n(.*?)^```$", re.M | re.S)
STANDS_FOR_ONE = re.compile(rb"(?<=[cC ])12\d\d\b")


def blocks(kind):
    return [text for info, text in BLOCK.findall(PAGE.read_text()) if info == kind]


def module(*changes):
    """The Python of the page, after changes: pairs of (text that must be there once, new text)."""
    source = "\n\n".join(blocks("python run"))
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    made = types.ModuleType("recipes")
    exec(compile(source, str(PAGE), "exec"), made.__dict__)
    return made


class Exchange:
    """Plays one exchange; each letter is a connection."""

    def __init__(self, text, connect):
        self.lines = text.encode().splitlines()
        self.connect = connect
        self.connections = {}
        self.numbers = {}       # as on the page -> as the server has it

    def _learn(self, line, heard):
        """Numbers of the page that stand in line and are not known yet."""
        unknown = [n for n in STANDS_FOR_ONE.findall(line) if n not in self.numbers]
        if not unknown:
            return
        found = re.search(rb"(?:c|\d )(\d+)", heard[heard.index(b" ") + 1:])
        assert len(unknown) == 1 and found, (line, heard)
        assert found.group(1) not in self.numbers.values(), (line, heard)
        self.numbers[unknown[0]] = found.group(1)

    def play(self):
        for line in self.lines:
            who, direction, text = line[:1], line[1:2], line[3:]
            if who not in self.connections:
                self.connections[who] = self.connect()
            if direction == b"<":
                heard = self.connections[who].line()
                self._learn(text, heard)
            text = STANDS_FOR_ONE.sub(lambda m: self.numbers[m.group()], text) + b"\r\n"
            if direction == b">":
                self.connections[who].send(text)
            else:
                assert heard == text, "%r: heard %r" % (line, heard)
        for connection in self.connections.values():
            assert connection.ask(b"mn\r\n") == b"MN\r\n"
            connection.close()
