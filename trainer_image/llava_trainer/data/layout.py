"""How the published data lie on a disk: which file of rows and which folders of images, and what each came packed in.

Rows name their images as the archives unpack, but for OCR-VQA: its rows say .jpg for every image, whatever it is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llava_contract.published import CAPTIONS, INSTRUCTIONS, SHAREGPT4V, DataSet
from llava_contract.run import Stage
from llava_contract.v1alpha1.data import Layout
from llava_trainer.data.audit import Source
from llava_trainer.errors import MissingInput

__all__ = ["Part", "PublishedSet", "find_published", "published_set"]


@dataclass(frozen=True, slots=True)
class Part:
    """A file or folder of a tree, from the tree's root, and what people fetch to have it."""

    path: str
    archive: str

    def absent(self, root: str) -> MissingInput:
        """The sentence for a root that does not hold it."""
        return MissingInput(f"{root} holds no {self.path}: fetch {self.archive}, or correct the root.")


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """One file of rows, the folder that its image paths start from, and the folders that they lead to."""

    annotations: Part
    images: str
    folders: tuple[Part, ...]

    def require_folders(self, images: Path, *, root: str) -> None:
        """Raise MissingInput for the first folder that is not below `images`, wherever that was copied to."""
        for folder in self.folders:
            if not (images / folder.path.removeprefix(self.images).lstrip("/")).is_dir():
                raise folder.absent(root)


def published_set(layout: Layout, stage: Stage) -> PublishedSet:
    """What a training stage reads of a layout."""
    return _SETS[layout, stage]


def find_published(layout: Layout, stage: Stage, *, root: str, fetch: Callable[[str], Path]) -> Source:
    """The rows and images of a stage below a path or URI; of the tree nothing else is fetched.

    `fetch` makes a path or URI available on this machine, or raises MissingInput; so does this, naming the archive.
    """
    wanted, root = published_set(layout, stage), root.rstrip("/")

    def found(part: Part, path: str) -> Path:
        try:
            return fetch(f"{root}/{path}")
        except MissingInput as error:
            raise part.absent(root) from error

    annotations = found(wanted.annotations, wanted.annotations.path)
    images = found(wanted.folders[0], wanted.images)
    wanted.require_folders(images, root=root)
    return Source(annotations, images)


def _below_root(data_set: DataSet) -> tuple[str, str]:
    """Recipes name their files from one folder further up."""
    return data_set.annotations.removeprefix("llava_data/"), data_set.images.removeprefix("llava_data/")


def _set(data_set: DataSet, archive: str, folders: dict[str, str]) -> PublishedSet:
    annotations, images = _below_root(data_set)
    parts = (Part(f"{images}/{folder}".rstrip("/"), packed) for folder, packed in folders.items())
    return PublishedSet(Part(annotations, archive), images, tuple(parts))


_MIX: Final = {
    "coco/train2017": "train2017.zip of COCO",
    "gqa/images": "images.zip of GQA",
    "ocr_vqa/images": "the images that OCR-VQA's download script loads",
    "textvqa/train_images": "train_val_images.zip of TextVQA",
    "vg/VG_100K": "images.zip of Visual Genome (part 1)",
    "vg/VG_100K_2": "images2.zip of Visual Genome (part 2)",
}
_OF_CAPTIONS: Final = {
    "coco/train2017": _MIX["coco/train2017"],
    "llava/llava_pretrain/images": "images.zip of LLaVA-Pretrain",
    "sam/images": "the images of SA-1B (000000.tar to 000050.tar)",
}
_SHAREGPT4V_MIX: Final = DataSet(
    "sharegpt4v/sharegpt4v_mix665k_cap23k_coco-ap9k_lcs3k_sam9k_div2k.json", SHAREGPT4V.images
)
_OF_SHAREGPT4V_MIX: Final = {
    **_MIX,
    **_OF_CAPTIONS,
    "share_textvqa/images": "the WebData images of ShareGPT4V",
    "web-celebrity/images": "the WebData images of ShareGPT4V",
    "web-landmark/images": "the WebData images of ShareGPT4V",
    "wikiart/images": "the WebData images of ShareGPT4V",
}
_SETS: Final = {
    (Layout.LLAVA, Stage.PRETRAIN): _set(
        CAPTIONS, "LLaVA-Pretrain (its .json)", {"": "LLaVA-Pretrain and unpack its images.zip"}
    ),
    (Layout.LLAVA, Stage.FINETUNE): _set(INSTRUCTIONS, "LLaVA-Instruct-150K", _MIX),
    (Layout.SHAREGPT4V, Stage.PRETRAIN): _set(SHAREGPT4V, "ShareGPT4V", _OF_CAPTIONS),
    (Layout.SHAREGPT4V, Stage.FINETUNE): _set(_SHAREGPT4V_MIX, "ShareGPT4V", _OF_SHAREGPT4V_MIX),
}
