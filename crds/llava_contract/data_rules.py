"""Which combinations of a data source's fields are refused; like rules.py, each rule as CEL and as a predicate."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from llava_contract.rule import Rule

if TYPE_CHECKING:
    from llava_contract.v1alpha1.data import DataSource


def _has_one_origin(source: DataSource) -> bool:
    return (source.annotations is None) != (source.layout is None)


ROWS_OR_LAYOUT: Final = Rule(
    "rows-or-layout",
    "has(self.annotations) != has(self.layout)",
    _has_one_origin,
    "write either annotations (with images), or layout with root for data as published",
    ("annotations",),
)


def _has_layout_and_root(source: DataSource) -> bool:
    return (source.layout is None) == (source.root is None)


LAYOUT_NEEDS_ROOT: Final = Rule(
    "layout-needs-root",
    "has(self.layout) == has(self.root)",
    _has_layout_and_root,
    "layout and root belong together: root is the folder in which the published data lie",
    ("root",),
)


def _leaves_images_to_the_layout(source: DataSource) -> bool:
    return source.images is None or source.layout is None


LAYOUT_FINDS_IMAGES: Final = Rule(
    "layout-finds-images",
    "!has(self.images) || !has(self.layout)",
    _leaves_images_to_the_layout,
    "a layout finds its images below root; write images with annotations only",
    ("images",),
)
