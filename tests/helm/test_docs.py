"""The commands that the pages show: values that the chart knows, files that are there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import pairwise

import pytest

from support.charts import CHART, helm
from support.tree import ROOT

PAGES = (ROOT / "docs" / "install.md", CHART / "README.md", ROOT / "README.md")


def commands() -> Iterator[list[str]]:
    for page in PAGES:
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), flags=re.DOTALL):
            for line in block.replace("\\\n", " ").splitlines():
                yield shlex.split(line, comments=True)


INSTALLS = [words for words in commands() if words[:2] == ["helm", "install"]]


def test_the_pages_show_how_to_install() -> None:
    assert len(INSTALLS) >= 4


@pytest.mark.parametrize("words", INSTALLS, ids=" ".join)
def test_an_installation_that_is_shown_can_be_rendered(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    rest = [word for word in words[2:] if word != "--create-namespace"]
    done = helm("template", *rest, "--kube-version", "1.34.0")
    assert done.returncode == 0, done.stderr


def test_every_file_that_a_command_names_is_there() -> None:
    named = [word for words in commands() for option, word in pairwise(words) if option == "-f"]
    files = [word for word in named if word != "-"]
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []
