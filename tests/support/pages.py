"""What stands in the fenced blocks of the pages, for tests that hold the pages to it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from support.tree import ROOT

DOCS = ROOT / "docs"
_NEEDS_A_FINISHED_RUN = "runs/tiny"


@dataclass(frozen=True)
class Shown:
    """A command of a page, and what stands below it."""

    command: str
    output: str

    @property
    def can_be_repeated(self) -> bool:
        """Whether it needs no job that has run to its end."""
        return _NEEDS_A_FINISHED_RUN not in self.command


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of docs/`page` in a language, in their order."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)


def shown(page: str) -> list[Shown]:
    """Every command of a page: a line after `$ ` with those that it goes on in, by a backslash or up to EOF."""
    commands = (part for block in blocks(page, "console") for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:])
    return [_split(part) for part in commands]


def _split(text: str) -> Shown:
    end = r"^EOF\n" if "<<'EOF'" in text.partition("\n")[0] else r"(?<!\\)\n"
    found = re.search(end, text, flags=re.MULTILINE)
    assert found, f"a command without an end: {text}"
    return Shown(text[: found.end()], text[found.end() :])
