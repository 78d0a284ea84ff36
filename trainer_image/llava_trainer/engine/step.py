"""What one optimizer step is: every pack forward and backward, one update, and one small sum over all ranks.

The loss is the sum over labels divided by the number of labels of the whole step, on all ranks, known from the plan.
"""

from __future__ import annotations

import hashlib
import math
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist

from llava_trainer.data.batch import Batch
from llava_trainer.engine.zero import ZeroEngine
from llava_trainer.errors import Diverged
from llava_trainer.ranks import Ranks, gather_texts, peak_memory_bytes

__all__ = ["Agreed", "StepInput", "StepReport", "blamed", "by_source", "means", "run_step"]

_NAMED_ROWS = 20


@dataclass(frozen=True)
class StepInput:
    """This rank's part of one step; `num_labels` and `num_packs` (per rank) are the same on every rank."""

    step: int
    batches: Iterable[Batch]
    num_packs: int
    num_labels: int
    learning_rate: float
    seed: int
    num_sources: int = 1
    """K: how many sources the labels of batches tell apart."""


@dataclass(frozen=True, slots=True)
class Agreed:
    """What ranks bring up at a step's end so that all of them do the same: a signal that came, a save that is due."""

    signal: int = 0
    is_save_due: bool = False


@dataclass(frozen=True, slots=True)
class StepReport:
    """What a step measured, equal on every rank but for `rows`; loss: mean over all labels.

    source_losses: the same over the labels of each source, None where the step had none; empty for a single source.
    memory_bytes: the most that any rank has held. rows: those of this rank's packs.
    """

    step: int
    loss: float
    learning_rate: float
    grad_norm: float
    num_labels: int
    agreed: Agreed
    source_losses: tuple[float | None, ...] = ()
    memory_bytes: int = 0
    rows: tuple[str, ...] = ()


def run_step(engine: ZeroEngine, given: StepInput, *, ranks: Ranks, wish: Agreed) -> StepReport:
    """Do one optimizer step on every rank; Diverged, naming the rows, when loss or gradients are not finite.

    Random numbers depend on seed, step and rank only, so a resumed run draws what the undisturbed one would have.
    """
    torch.manual_seed(_mix(given.seed, given.step, ranks.rank))
    scale = ranks.world_size / max(1, given.num_labels)
    sums: list[tuple[torch.Tensor, tuple[str, ...]]] = []
    shares: list[torch.Tensor] = []
    for index, batch in enumerate(given.batches):
        loss_L = engine.accumulate(batch, scale=scale, is_last=index == given.num_packs - 1)  # noqa: N806
        sums.append((loss_L.sum(), batch.source_S))
        if given.num_sources > 1:
            shares.append(by_source(loss_L, batch.label_sources_L, given.num_sources))
    assert len(sums) == given.num_packs, f"step {given.step}: {len(sums)} packs, {given.num_packs} planned"
    grad_norm = engine.update(given.learning_rate)
    loss_sum = torch.stack([loss for loss, _ in sums]).double().sum()
    measured = torch.cat([loss_sum.reshape(1), *([torch.stack(shares).sum(0)] if shares else [])])
    told = _sum_over_ranks(measured, wish, ranks=ranks)
    total, *shared = told.sums
    loss = total / max(1, given.num_labels)
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise _not_a_number(given.step, sums, loss=loss, grad_norm=grad_norm)
    return StepReport(
        step=given.step,
        loss=loss,
        learning_rate=given.learning_rate,
        grad_norm=grad_norm,
        num_labels=given.num_labels,
        agreed=told.agreed,
        source_losses=means(shared),
        memory_bytes=told.memory_bytes,
        rows=tuple(row for _, rows in sums for row in rows),
    )


def by_source(loss_L: torch.Tensor, sources_L: torch.Tensor, num_sources: int) -> torch.Tensor:  # noqa: N803
    """Summed loss of each of K sources, then how many labels each has: float64 [2K]."""
    is_of_LK = sources_L[:, None] == torch.arange(num_sources, device=sources_L.device)  # noqa: N806
    return torch.cat([(is_of_LK * loss_L.double()[:, None]).sum(0), is_of_LK.sum(0).double()])


def means(shares: Sequence[float]) -> tuple[float | None, ...]:
    """Mean loss of each of K sources from what `by_source` gave, summed up: None where there was no label."""
    half = len(shares) // 2
    return tuple(loss / count if count else None for loss, count in zip(shares[:half], shares[half:], strict=True))


@dataclass(frozen=True, slots=True)
class _Told:
    """What all ranks know after a step."""

    sums: list[float]
    agreed: Agreed
    memory_bytes: int


def _sum_over_ranks(measured: torch.Tensor, wish: Agreed, *, ranks: Ranks) -> _Told:
    """One all-reduce carries what was measured, the wishes, and a place for each rank's memory.

    SIGTERM outranks Ctrl-C.
    """
    wishes = [wish.signal == signal.SIGTERM, wish.signal == signal.SIGINT, wish.is_save_due]
    memory = [0] * ranks.world_size
    memory[ranks.rank] = peak_memory_bytes()
    parts = [measured, *(torch.tensor(part, dtype=torch.float64, device=measured.device) for part in (wishes, memory))]
    total = torch.cat(parts)
    dist.all_reduce(total)
    sums, agreed, held = (part.tolist() for part in total.split([len(part) for part in parts]))
    terminated, interrupted, save = agreed
    number = signal.SIGTERM if terminated else signal.SIGINT if interrupted else 0
    return _Told(sums, Agreed(int(number), save > 0), int(max(held)))


def _not_a_number(
    step: int, sums: list[tuple[torch.Tensor, tuple[str, ...]]], *, loss: float, grad_norm: float
) -> Diverged:
    """Name the rows of the packs whose loss is not finite, or of all packs when only gradients are not."""
    bad = [sources for loss_sum, sources in sums if not torch.isfinite(loss_sum)]
    everyone = bad or ([sources for _, sources in sums] if math.isfinite(loss) else [])
    rows = blamed([row for sources in everyone for row in sources])
    return Diverged(
        f"Step {step + 1}: loss {loss}, gradient norm {grad_norm}. Rows of the batch: {rows}. Look at these rows, or "
        "lower the learning rate."
    )


def blamed(rows: Sequence[str]) -> str:
    """Name the first of all ranks' rows, for a sentence; every rank calls it at the same time."""
    named = [row for text in gather_texts("\n".join(rows)) for row in text.splitlines()]
    more = f" and {len(named) - _NAMED_ROWS} more" if len(named) > _NAMED_ROWS else ""
    return f"{', '.join(named[:_NAMED_ROWS]) or 'unknown'}{more}"


def _mix(*parts: int) -> int:
    """One seed from several numbers, without overlaps between neighbours."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8]) >> 1
