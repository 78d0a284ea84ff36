"""How rows are shown as the model will see them: ids and labels as JSON, text, or a page with the loss in colour."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from llava_trainer.data.audit import Seen, Source, examine
from llava_trainer.data.images import CLIP_336, BadImage, check_image, prepare
from llava_trainer.data.record import BadRow
from llava_trainer.data.sample import IGNORE, IMAGE, Dropped, Sample, Wording, tokenise
from llava_trainer.data.tokenizer import Tokenizer

__all__ = ["PreviewRow", "as_html", "as_text", "preview_rows"]


@dataclass(frozen=True, slots=True)
class PreviewRow:
    """One row: what the model sees of it, or in `dropped` why it sees nothing. `pictures` are JPEG bytes."""

    source: str
    row: int
    id: str | None
    input_ids: tuple[int, ...] = ()
    labels: tuple[int, ...] = ()
    dropped: str | None = None
    pictures: tuple[bytes, ...] = ()

    def to_json(self) -> str:
        """One line: row, id, input_ids (image -200), labels (masked -100), dropped (null, or the reason)."""
        value = {"row": self.row, "id": self.id, "input_ids": self.input_ids, "labels": self.labels}
        return json.dumps({**value, "dropped": self.dropped}, ensure_ascii=False)


def preview_rows(
    source: Source, wording: Wording, *, limit: int | None = None, with_images: bool = True
) -> Iterator[PreviewRow]:
    """Give the first `limit` rows, or all; a bad row comes as one that is dropped. Without images no file is opened.

    Pictures are shown padded to a square of 336 pixels, as finetuning sees them with the common tower.
    """
    pictures: dict[str, bytes] = {}
    for examined in islice(examine([source], _picture if with_images else None), limit):
        pictures.update(examined.new_images)
        row = examined.finding
        if isinstance(row, BadRow):
            yield PreviewRow(row.source, row.row, row.id, dropped=str(row))
            continue
        sample = tokenise(row, wording)
        match sample:
            case Dropped():
                yield PreviewRow(row.source, row.row, row.id, dropped=sample.reason.value)
            case Sample():
                shown = tuple(pictures[name] for name in sample.images if name in pictures)
                yield PreviewRow(row.source, row.row, row.id, sample.input_ids, sample.labels, pictures=shown)


def _picture(path: Path) -> Seen:
    try:
        opened = check_image(path)
        buffer = io.BytesIO()
        prepare(opened.image, CLIP_336).save(buffer, "JPEG", quality=88)
        return Seen(oddities=opened.oddities, rgb=buffer.getvalue())
    except BadImage as bad:
        return Seen(bad=(bad.reason, bad.detail))


def as_text(row: PreviewRow, tokenizer: Tokenizer) -> str:
    """One row for a terminal: its number, then the text with what is in the loss between [ and ]."""
    title = f"{row.source} row {row.row:,}" + (f" (id {row.id})" if row.id else "")
    if row.dropped:
        return f"{title}: dropped, {row.dropped}"
    num_labels = sum(label != IGNORE for label in row.labels)
    runs = "".join(f"[{text}]" if learnt else text for text, learnt in _runs(row, tokenizer))
    return f"{title}: {len(row.input_ids):,} tokens, {num_labels:,} in the loss\n{runs}"


def _runs(row: PreviewRow, tokenizer: Tokenizer) -> Iterator[tuple[str, bool]]:
    """Neighbouring tokens with the same mask, as text."""
    text, was_learnt = "", False
    for piece, label in zip(_texts(row, tokenizer), row.labels, strict=True):
        if (label != IGNORE) != was_learnt and text:
            yield text, was_learnt
            text = ""
        was_learnt = label != IGNORE
        text += piece
    if text:
        yield text, was_learnt


def _texts(row: PreviewRow, tokenizer: Tokenizer) -> list[str]:
    """The text that each token adds; an image is `<image>`."""
    texts: list[str] = []
    start = 0
    for end, token in enumerate((*row.input_ids, IMAGE)):
        if token == IMAGE:
            texts += [*tokenizer.texts(row.input_ids[start:end]), "<image>"]
            start = end + 1
    return texts[:-1]


_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.6 system-ui, sans-serif; margin: 2em auto; max-width: 62em; padding: 0 1em; color: #222; }}
section {{ border-top: 1px solid #ccc; padding: 1em 0; overflow: auto; }}
h2 {{ font-size: 1em; margin: 0 0 .5em; }}
img {{ float: right; width: 168px; margin-left: 1em; border: 1px solid #ccc; }}
p {{ font-family: ui-monospace, monospace; white-space: pre-wrap; overflow-wrap: anywhere; margin: 0; }}
.masked {{ color: #777; background: #f2f2f2; }}
.learnt {{ color: #063; background: #c9f0d3; }}
.image {{ color: #fff; background: #46c; }}
.dropped {{ color: #a00; }}
span {{ border-right: 1px solid #fff; }}
</style></head><body>
<h1>{title}</h1>
<p><span class="learnt">in the loss</span> <span class="masked">not in the loss</span> <span
class="image">image</span></p> {rows} </body></html>
"""


def as_html(rows: Iterable[PreviewRow], tokenizer: Tokenizer, *, title: str) -> str:
    """One page without any outside address: a section a row, each token coloured by whether it is in the loss."""
    return _PAGE.format(title=html.escape(title), rows="\n".join(_section(row, tokenizer) for row in rows))


def _section(row: PreviewRow, tokenizer: Tokenizer) -> str:
    name = html.escape(f"{row.source} row {row.row:,}" + (f", id {row.id}" if row.id else ""))
    if row.dropped:
        return f'<section><h2>{name}</h2><p class="dropped">dropped: {html.escape(row.dropped)}</p></section>'
    images = "".join(
        f'<img alt="image {i}" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
        for i, picture in enumerate(row.pictures, start=1)
    )
    num_labels = sum(label != IGNORE for label in row.labels)
    tokens = "".join(
        f'<span class="{_style(token, label)}" title="{token}">{_visible(text)}</span>'
        for token, label, text in zip(row.input_ids, row.labels, _texts(row, tokenizer), strict=True)
    )
    heading = f"{name}: {len(row.input_ids):,} tokens, {num_labels:,} in the loss"
    return f"<section>{images}<h2>{heading}</h2><p>{tokens}</p></section>"


def _style(token: int, label: int) -> str:
    if token == IMAGE:
        return "image"
    return "masked" if label == IGNORE else "learnt"


def _visible(text: str) -> str:
    return html.escape(text).replace("\n", "\u21b5\n")
