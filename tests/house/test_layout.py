"""Where files may stand and what they may be called."""

from __future__ import annotations

import ast
import re
import sys

from support.tree import PACKAGES, ROOT, python_files, tracked_files

OURS = python_files(*PACKAGES)
VAGUE = re.compile(r"(utils?|helpers?|common|managers?|misc)$")
# Paths of a developer's machine; a config of a container or a test's own tmp_path never needs them.
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:root|work|home/\w+)/")


def test_every_module_says_what_it_knows() -> None:
    assert [str(path) for path in OURS if not ast.get_docstring(ast.parse(path.read_text()))] == []


def test_operator_folder_never_shadows_the_standard_library() -> None:
    assert not (ROOT / "operator/__init__.py").exists()


def test_tests_are_no_package() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_no_module_takes_a_standard_library_name() -> None:
    folders = {"storage"}  # packages of ours are always imported by their full name
    names = {path.stem for path in OURS} - {"__init__", "__main__"} - folders
    assert sorted(names & sys.stdlib_module_names) == []


def test_no_module_has_a_vague_name() -> None:
    assert [str(path) for path in OURS if VAGUE.search(path.stem)] == []


def test_no_file_names_a_path_of_somebodys_machine() -> None:
    texts = {path: path.read_text(errors="ignore") for path in tracked_files() if path.suffix in TEXT_SUFFIXES}
    assert [str(path.relative_to(ROOT)) for path, text in texts.items() if MACHINE_PATH.search(text)] == []


TEXT_SUFFIXES = {".py", ".md", ".yaml", ".toml", ".sh", ".json", ".cfg", ""}


def test_every_dependency_says_why() -> None:
    lines = (ROOT / "pyproject.toml").read_text().splitlines()
    start = lines.index("dependencies = [")
    listed = [line for line in lines[start:] if re.match(r'\s+"[\w.-]+(\[\w+\])?[><=]', line)]
    well_known = ("mypy", "ruff", "pre-commit")
    assert [line for line in listed if "#" not in line and not line.strip(' "').startswith(well_known)] == []


def test_readme_tree_is_true() -> None:
    readme = (ROOT / "README.md").read_text()
    tree = re.search(r"<!-- tree -->\n+```[a-z]*\n(.*?)```", readme, re.S)
    assert tree, "README.md has no tree between <!-- tree --> and its code block"
    assert [path for path in tree_paths(tree[1]) if not (ROOT / path).exists()] == []


def tree_paths(tree: str) -> list[str]:
    """Read an indented tree: a name that ends in / opens a folder, what stands deeper belongs to it."""
    folders: list[tuple[int, str]] = []
    paths = []
    for line in tree.splitlines():
        words = line.split()
        if not words:
            continue
        depth = len(line) - len(line.lstrip())
        folders = [folder for folder in folders if folder[0] < depth]
        parent = folders[-1][1] if folders else ""
        paths.append(parent + words[0])
        if words[0].endswith("/"):
            folders.append((depth, parent + words[0]))
    return paths
