"""Builder of published trees in miniature: every folder of a layout, and one row for each of them."""

from __future__ import annotations

from pathlib import Path

from llava_contract.run import Stage
from llava_contract.v1alpha1.data import Layout
from llava_trainer.data.layout import published_set
from llava_trainer.errors import MissingInput
from support.rows import image_row, make_image, row, write_rows


def write_tree(root: Path, layout: Layout = Layout.LLAVA, stage: Stage = Stage.FINETUNE) -> Path:
    """Write a stage's part of a tree: a text row, and an image row a folder."""
    wanted = published_set(layout, stage)
    rows = [row("Hi", "Hello.")]
    for number, folder in enumerate(wanted.folders):
        image = make_image(root / folder.path / f"{number}.jpg")
        rows.append(image_row(str(image.relative_to(root / wanted.images))))
    (root / wanted.annotations.path).parent.mkdir(parents=True, exist_ok=True)
    write_rows(root / wanted.annotations.path, rows)
    return root


def fetch(path: str) -> Path:
    """Find a path of this machine, as the storage room does, without its packages."""
    if not Path(path).exists():
        raise MissingInput(path)
    return Path(path)
