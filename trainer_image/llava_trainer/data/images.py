"""How an image file becomes the square of pixels that the vision tower was trained on, and how a file fails to be one.

The arithmetic is that of CLIP's original preprocessing on Pillow, bit for bit. H = W = size, C = 3.
"""
# ruff: noqa: N803  (shape suffixes)

from __future__ import annotations

import hashlib
import json
import stat
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from PIL import Image, UnidentifiedImageError

from llava_trainer.data.conversation import Oddity
from llava_trainer.data.record import Reason
from llava_trainer.errors import BadData, MissingInput

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "CLIP_336", "BadImage", "ImageSettings", "OpenedImage", "check_image", "find_image", "image_warnings",
    "inspect_image", "open_image", "pixels", "prepare",
]  # fmt: skip

# What Pillow's plugins raise on damaged bytes.
_DAMAGED: Final = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, ArithmeticError, AttributeError, AssertionError,
    RuntimeError, struct.error, zlib.error,
)  # fmt: skip


_OCR_VQA_ENDINGS: Final = (".gif", ".png", ".jpeg", ".JPG", ".JPEG", ".GIF", ".PNG", ".bmp", ".webp")


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """What a tower wants: side of the square in pixels, mean and standard deviation a channel (of values in 0..1).

    stretches: whether an image that is no square is pulled into one, as SigLIP's processor does, and nothing cut off.
    """

    size: int
    shortest_edge: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    rescale_factor: float
    resample: int
    pad_to_square: bool
    stretches: bool = False

    @classmethod
    def from_folder(cls, folder: Path, *, pad_to_square: bool) -> ImageSettings:
        """Read the tower's preprocessor_config.json; MissingInput without it, BadData when it is no CLIP-like one."""
        path = Path(folder) / "preprocessor_config.json"
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
            edge, crop = _side(config["size"]), _side(config.get("crop_size", config["size"]))
            settings = cls(
                size=crop,
                shortest_edge=edge,
                mean=_three(config["image_mean"]),
                std=_three(config["image_std"]),
                rescale_factor=float(config.get("rescale_factor", 1 / 255)),
                resample=int(config.get("resample", 3)),
                pad_to_square=pad_to_square,
                stretches=_stretches(config),
            )
        except FileNotFoundError as error:
            raise MissingInput(
                f"{path}: not there; give the folder of a vision tower with its preprocessor."
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadData(f"{path}: cannot be read ({error!r}); save the tower's image processor again.") from error
        if not (0 < crop <= edge and all(settings.std)):
            raise BadData(
                f"{path}: crops {crop} pixels out of a shortest edge of {edge}; correct the two sizes or image_std."
            )
        return settings

    @property
    def fill(self) -> tuple[int, int, int]:
        """Colour of the border that makes an image square: the mean, as RGB in 0..255, rounded down."""
        red, green, blue = (int(value * 255) for value in self.mean)
        return red, green, blue

    @property
    def digest(self) -> str:
        """SHA-256 of what decides the prepared uint8 pixels; mean and std enter only through the border's colour."""
        deciding = {"version": 1, "size": self.size, "edge": self.shortest_edge, "resample": self.resample}
        if self.stretches:
            deciding["stretches"] = True
        border = self.fill if self.pad_to_square else None
        return hashlib.sha256(json.dumps([deciding, border], sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The settings as plain values, for a manifest."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> ImageSettings:
        """Inverse of `to_json`."""
        return cls(**{**value, "mean": _three(value["mean"]), "std": _three(value["std"])})


def _stretches(config: dict[str, Any]) -> bool:
    """Whether a processor asks for a height and a width and crops nothing."""
    crops = config.get("do_center_crop", "crop_size" in config)
    return not crops and isinstance(config["size"], dict) and "height" in config["size"]


def _three(values: Any) -> tuple[float, float, float]:
    red, green, blue = map(float, values)
    return red, green, blue


# The common tower's settings (CLIP-L/14-336), for those who look at rows before a tower is chosen.
CLIP_336: Final = ImageSettings(
    size=336,
    shortest_edge=336,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    rescale_factor=1 / 255,
    resample=Image.Resampling.BICUBIC,
    pad_to_square=True,
)


def _side(size: Any) -> int:
    """Side of a square, from 336, {"shortest_edge": 336} or {"height": 336, "width": 336}."""
    if isinstance(size, int):
        return size
    if "shortest_edge" in size:
        return int(size["shortest_edge"])
    if size["height"] != size["width"]:
        raise ValueError(f"size {size} is no square")
    return int(size["height"])


class BadImage(Exception):
    """One file cannot be used as an image; becomes a BadRow, which names file and row."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@dataclass(frozen=True, slots=True)
class OpenedImage:
    """A decoded file as 8-bit RGB, and what was unusual about it."""

    image: Image.Image
    oddities: tuple[Oddity, ...]


@contextmanager
def image_warnings() -> Iterator[None]:
    """Make Pillow's bomb warning an error and silence its other remarks, mostly on metadata.

    Enter it once around the threads that open images: warning filters belong to the whole process.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def open_image(path: Path) -> OpenedImage:
    """Decode the first frame of a file to RGB; BadImage says why it cannot be. For one thread."""
    with image_warnings():
        return check_image(path)


def check_image(path: Path) -> OpenedImage:
    """`open_image` for threads, inside `image_warnings`."""
    with _opened(path) as (image, oddities):
        image.load()
        return OpenedImage(_to_rgb(image), oddities)


def inspect_image(path: Path) -> tuple[Oddity, ...]:
    """Find what `check_image` finds and keep no pixel; a JPEG is read whole and drawn at an eighth of its size."""
    with _opened(path) as (image, oddities):
        image.draft(None, (1, 1))
        image.load()
        return oddities


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Image.Image, tuple[Oddity, ...]]]:
    """An image whose pixels are still to be decoded; whatever goes wrong inside becomes a BadImage."""
    named, path = path, find_image(path)
    try:
        _refuse_odd_file(path)
        with Image.open(path) as image:
            yield image, (Oddity.ENDING_MENDED,) * (path != named) + _oddities(image)
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise BadImage(
            Reason.DECOMPRESSION_BOMB, f"image {path} has more than {Image.MAX_IMAGE_PIXELS:,} pixels"
        ) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BadImage(Reason.IMAGE_MISSING, f"image {path} is missing") from error
    except IsADirectoryError as error:
        raise BadImage(Reason.NOT_AN_IMAGE, f"image {path} is a folder") from error
    except PermissionError as error:
        raise BadImage(Reason.IMAGE_UNREADABLE, f"image {path} may not be read") from error
    except UnidentifiedImageError as error:
        raise BadImage(Reason.NOT_AN_IMAGE, f"{path} is {_first_look(path)}, not an image") from error
    except _DAMAGED as error:
        raise BadImage(Reason.IMAGE_TRUNCATED, f"image {path} is truncated or damaged ({error})") from error


def find_image(path: Path) -> Path:
    """Where the image of a row lies: as the row says, or below ocr_vqa under the ending that it was loaded with.

    OCR-VQA's rows say .jpg for every image, and its download keeps the endings of the shops that it loads from.
    """
    if path.suffix != ".jpg" or "ocr_vqa" not in path.parts or path.exists():
        return path
    others = (path.with_suffix(ending) for ending in _OCR_VQA_ENDINGS)
    return next((other for other in others if other.is_file()), path)


def _refuse_odd_file(path: Path) -> None:
    """Opening a pipe would wait for a writer for ever, so what a path leads to is looked at first."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        raise
    except OSError as error:
        raise BadImage(Reason.NOT_AN_IMAGE, f"image {path} cannot be opened ({error.strerror})") from error
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise BadImage(Reason.NOT_AN_IMAGE, f"image {path} is a pipe, socket or device")


def _first_look(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        return "an empty file"
    return (
        "a web page"
        if start.lstrip().lower().startswith((b"<!doctype", b"<html"))
        else f"{path.stat().st_size:,} bytes"
    )


def _oddities(image: Image.Image) -> tuple[Oddity, ...]:
    is_deep = image.mode.startswith(("I", "F")) or any("16" in str(tile[3]) for tile in getattr(image, "tile", ()))
    odd = {
        Oddity.CMYK_IMAGE: image.mode == "CMYK",
        Oddity.SIXTEEN_BIT_IMAGE: is_deep,
        Oddity.PALETTE_IMAGE: image.mode in ("P", "PA"),
        Oddity.TRANSPARENT_IMAGE: image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info,
    }
    return tuple(name for name, is_so in odd.items() if is_so)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Alpha is dropped, not blended; of 16 bits the upper 8 are kept, as Pillow itself does for 16-bit colour."""
    if image.mode.startswith(("I", "F")):
        image = _to_eight_bits(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Pillow's own conversion would clip at 255 and turn a 16-bit photograph white.

    Modes I and F have no depth of their own: values up to 255 are taken as 8 bits, all others as 16.
    """
    wide = image.convert("I") if image.mode.startswith("I") else image
    largest = wide.getextrema()[1]
    if not image.mode.startswith("I;16") and isinstance(largest, int | float) and largest <= 255:
        return wide.convert("L")
    return wide.point(lambda value: value * (1 / 256)).convert("L")


def prepare(image: Image.Image, settings: ImageSettings) -> Image.Image:
    """Make an RGB image of size x size: border if asked for, shortest edge to size, centre crop.

    BadImage when the image is so long and narrow that the work would need as much memory as a decompression bomb.
    """
    image = image if image.mode == "RGB" else _to_rgb(image)
    width, height = image.size
    _refuse_ribbon(width, height, settings)
    if settings.pad_to_square and width != height:
        side = max(width, height)
        square = Image.new("RGB", (side, side), settings.fill)
        square.paste(image, ((side - width) // 2, (side - height) // 2))
        image, width, height = square, side, side
    edge = settings.shortest_edge
    if settings.stretches:
        return image.resize((edge, edge), resample=Image.Resampling(settings.resample))
    new_size = (edge, int(edge * height / width)) if width <= height else (int(edge * width / height), edge)
    image = image.resize(new_size, resample=Image.Resampling(settings.resample))
    left, top = (new_size[0] - settings.size) // 2, (new_size[1] - settings.size) // 2
    return image.crop((left, top, left + settings.size, top + settings.size))


def _refuse_ribbon(width: int, height: int, settings: ImageSettings) -> None:
    longest, shortest = max(width, height), min(width, height)
    area = longest**2 if settings.pad_to_square else settings.shortest_edge**2 * longest // shortest
    if area > (Image.MAX_IMAGE_PIXELS or area):
        raise BadImage(Reason.DECOMPRESSION_BOMB, f"an image of {width} x {height} would need {area:,} pixels of work")


def pixels(images_IHWC: NDArray[np.uint8], settings: ImageSettings) -> NDArray[np.float32]:
    """Normalise prepared uint8 images [..., H, W, C] to float32 [..., C, H, W].

    The scale is applied in float64 and rounded to float32, then mean and std in float32: CLIP's order of rounding.
    There are only 256 values a channel, so it is done once for each of them.
    """
    import numpy as np  # noqa: PLC0415  (audit and preview run without numpy)

    scaled = (np.arange(256, dtype=np.float64) * settings.rescale_factor).astype(np.float32)
    out = np.empty((*images_IHWC.shape[:-3], 3, *images_IHWC.shape[-3:-1]), dtype=np.float32)
    for channel, (mean, std) in enumerate(zip(settings.mean, settings.std, strict=True)):
        table = (scaled - np.float32(mean)) / np.float32(std)
        np.take(table, images_IHWC[..., channel], out=out[..., channel, :, :], mode="clip")
    return out
