"""The pictures that sample answers are about, where a job names them: looked at in prepare, shown in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PIL import Image

from llava_contract.run import Stage, StorageTarget
from llava_trainer.data.images import BadImage, check_image
from llava_trainer.errors import BadData, naming
from llava_trainer.storage import materialise

__all__ = ["open_sample_images"]


def open_sample_images(
    uris: Sequence[str], stage: Stage, *, server: StorageTarget
) -> Iterator[tuple[str, Image.Image]]:
    """Give each URI with its picture; MissingInput or BadData names the field of one that cannot be opened."""
    for number, uri in enumerate(uris):
        with naming(f"spec.{stage}.samples.images[{number}]"):
            file = materialise(uri, server)
            try:
                image = check_image(file).image
            except BadImage as bad:
                raise BadData(f"{uri}: {bad.detail}; name another image.") from bad
        yield uri, image
