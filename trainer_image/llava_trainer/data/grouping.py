"""The order in which rows of like length, and of one kind, come together: XTuner's finetune order, to the row.

Rows with images and rows without are cut into groups apart, so that a micro-batch holds one kind; groups are shuffled,
and the longest row comes first of all, so that memory that will not do is missed in the first step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

__all__ = ["grouped_order"]

_GROUPS_IN_ALL: Final = 4
_MAX_BATCHES: Final = 50
Shuffle = Callable[[int], list[int]]


def grouped_order(lengths: Sequence[int], has_image: Sequence[bool], *, global_batch: int, seed: int) -> list[int]:
    """Order all rows; `lengths` count tokens, an image as one. `seed` is that of the stage plus the epoch.

    A group holds whole global batches: at most fifty, and so few that there are about four groups. What is left over of
    either kind comes last, as one group. Source: XTuner's LengthGroupedSampler (random permutations are torch's), with
    its one oddity: where no row has an image, the shortest row of a group comes first.
    """
    size = global_batch * max(1, min(len(lengths) // (_GROUPS_IN_ALL * global_batch), _MAX_BATCHES))
    shuffle = _shuffle(seed)
    kinds = [[row for row, seen in enumerate(has_image) if seen is is_image] for is_image in (True, False)]
    if all(kinds):
        whole: list[list[int]] = []
        rest: list[int] = []
        for rows in kinds:
            *groups, last = _groups(rows, lengths, size=size, shuffle=shuffle)
            whole += groups
            rest += last
        groups = [whole[place] for place in shuffle(len(whole))] + [_longest_first(rest, lengths)]
    else:
        signed = lengths if kinds[0] else [-length for length in lengths]
        groups = _groups(kinds[0] or kinds[1], signed, size=size, shuffle=shuffle)
    longest = max(range(len(groups)), key=lambda place: lengths[groups[place][0]])
    groups[0][0], groups[longest][0] = groups[longest][0], groups[0][0]
    return [row for group in groups for row in group]


def _groups(rows: Sequence[int], lengths: Sequence[int], *, size: int, shuffle: Shuffle) -> list[list[int]]:
    """Draw groups of `size` rows, the longest row of each first; the last one may be smaller."""
    drawn = [rows[place] for place in shuffle(len(rows))]
    cut = [drawn[start : start + size] for start in range(0, len(drawn), size)]
    return [_longest_first(group, lengths) for group in cut]


def _longest_first(rows: Sequence[int], lengths: Sequence[int]) -> list[int]:
    return sorted(rows, key=lambda row: -lengths[row])


def _shuffle(seed: int) -> Shuffle:
    import torch  # noqa: PLC0415  planning a step of packed rows needs none

    generator = torch.Generator().manual_seed(seed)
    return lambda count: torch.randperm(count, generator=generator).tolist()
