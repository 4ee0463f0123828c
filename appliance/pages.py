"""Pages of the documentation whose tables are printed from the code.

Between ``<!-- NAME:begin -->`` and ``<!-- NAME:end -->`` a page holds what ``blocks[NAME]`` makes of the code; the rest
is written by hand and left alone. ``tests/architecture`` compares.
"""

import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Page:
    """A page, and the module that prints its blocks."""

    module: str
    file: str
    """In the repository."""
    blocks: Mapping[str, Callable[[], str]]
    """What stands between the markers of each name."""

    @property
    def command(self) -> str:
        """What brings the page up to date."""
        return f"python -m {self.module} --write {self.file}"

    def rewritten(self, text: str) -> str:
        """Return a page's text with each block as the code has it now; every one must be there, once."""
        for name, block in self.blocks.items():
            begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
            before, _, rest = text.partition(begin)
            _, found, after = rest.partition(end)
            once = found and text.count(begin) == text.count(end) == 1
            assert once, f"the page must have one {begin} and after it one {end}"
            text = f"{before}{begin}\n\n{block()}\n\n{end}{after}"
        return text

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Print the blocks, or write them into a page: the module's command line."""
        parser = ArgumentParser(prog=f"python -m {self.module}", description="Print the code's tables.")
        parser.add_argument("--write", type=Path, metavar="PAGE", help="rewrite the blocks of this page, in place")
        file: Path | None = parser.parse_args(arguments).write
        if file is None:
            sys.stdout.write("\n\n".join(block() for block in self.blocks.values()) + "\n")
            return
        file.write_text(self.rewritten(file.read_text(encoding="utf-8")), encoding="utf-8")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown; what its cells hold is shown as it is."""
    lines = [[cell.replace("|", "\\|").replace("<", "\\<") for cell in line] for line in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
