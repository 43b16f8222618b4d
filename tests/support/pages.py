"""The Python in Markdown pages: which blocks there are, and what they need.

Comments that GitHub and Sphinx do not show say how a block is run:

    <!-- needs: sklearn, torch -->   packages that the next block imports, beyond NumPy; on the
                                     first lines of a page, those of all its blocks
    <!-- setup                       run before the next block; the page does not show it
    model = {"weights": [1.0]}
    -->
    <!-- not run: why -->            the next block is only compiled
"""

import ast
import re
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec

_PART = re.compile(
    r"^ *<!-- needs: (?P<needs>[^>]*?) -->$"
    r"|^<!-- setup\n(?P<setup>.*?)^-->$"
    r"|^ *<!-- not run: (?P<not_run>[^>]+?) -->$"
    r"|^(?P<indent> *)```(?P<language>\w*)\n(?P<block>.*?)^ *```$",
    re.M | re.S,
)
HEAD_LINES = 2  # of a page: what stands there holds for the whole
BASE = {"fastpersist", "numpy", *sys.stdlib_module_names}


@dataclass
class Block:
    """Python of one fence or setup; `line` is its first one's, from 1."""

    source: str
    line: int
    is_run: bool = True
    needs: set[str] = field(default_factory=set)

    @property
    def is_possible(self):
        return all(find_spec(name) is not None for name in self.needs)

    def padded(self):
        """The source with its lines where they stand in the page."""
        return "\n" * (self.line - 1) + self.source


def _outdented(text, n):
    return "".join(line[n:] if line[:n].isspace() else line for line in text.splitlines(True))


def blocks_of(text):
    """Every block of a page, in order."""
    found, of_page, needs, is_run = [], set(), set(), True
    for part in _PART.finditer(text):
        line = text.count("\n", 0, part.start()) + 1
        if part["needs"] is not None:
            names = {name.strip() for name in part["needs"].split(",")}
            if line <= HEAD_LINES:
                of_page |= names
            else:
                needs |= names
        elif part["setup"] is not None:
            found.append(Block(part["setup"], line + 1, needs=of_page | needs))
        elif part["not_run"] is not None:
            is_run = False
        else:
            if part["language"] == "python":
                source = _outdented(part["block"], len(part["indent"]))
                found.append(Block(source, line + 1, is_run, of_page | needs))
            needs, is_run = set(), True
    return found


def imports_of(block):
    """Packages, by the name that is imported."""
    names = set()
    for node in ast.walk(ast.parse(block.source)):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module.partition(".")[0])
    return names
