"""A checkpoint exists when its manifest does, and counts only while every byte is what the manifest says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from llava_contract.result import CheckpointRef
from llava_trainer.checkpoint.layout import Place, stage_prefix
from llava_trainer.checkpoint.restore import Wanted, find_newest, open_checkpoint, read_weights
from llava_trainer.checkpoint.save import Moment, Saver
from llava_trainer.checkpoint.state import Fragment, Slot, Span
from llava_trainer.errors import CorruptState, MissingInput
from llava_trainer.ranks import Ranks
from llava_trainer.storage import Storage, open_storage

WEIGHTS = {"projector.weight": torch.arange(6.0).view(2, 3), "llm.bias": torch.tensor([7.0])}
SHAPES = {name: tuple(tensor.shape) for name, tensor in WEIGHTS.items()}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(str(tmp_path))


@pytest.fixture
def save(storage: Storage, alone: Ranks) -> Callable[..., CheckpointRef]:
    def save(
        step: int,
        state: list[Fragment] | None = None,
        *,
        attempt: int = 1,
        uid: str = "uid",
        keep_last: int = 9,
        best: CheckpointRef | None = None,
    ) -> CheckpointRef:
        place = Place("finetune", 0, uid, attempt, f"{attempt:08x}")
        saver = Saver(storage, alone, place, keep_last=keep_last, global_batch=4, seed=0)
        ref = saver.save(fragments() if state is None else state, SHAPES, at=Moment(step, 100, 0, step))
        saver.prune(ref, best=best)
        return ref

    return save


def fragments() -> list[Fragment]:
    """Every parameter cut in two where it can be, as two ranks might own it."""
    found = []
    for slot in Slot:
        for name, tensor in WEIGHTS.items():
            flat = tensor.flatten() + list(Slot).index(slot)
            for start, part in zip((0, 2), flat.tensor_split([2]), strict=True):
                if part.numel():
                    found.append(Fragment(Span(slot, name, start, part.numel()), part.clone()))
    return found


def wanted(last: CheckpointRef | None = None, *, before_step: int | None = None) -> Wanted:
    return Wanted("finetune", "uid", last, before_step)


def newest_step(storage: Storage, alone: Ranks, wish: Wanted | None = None) -> int | None:
    found = find_newest(storage, wish or wanted(), ranks=alone)
    return found.manifest.step if found else None


def files(storage: Storage, ref: CheckpointRef, pattern: str) -> list[Path]:
    return sorted(storage.local_path(ref.uri).glob(pattern))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)


def test_weights_come_back_whole(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    read = read_weights(storage, save(5).uri)
    assert {name: tensor.tolist() for name, tensor in read.items()} == {k: v.tolist() for k, v in WEIGHTS.items()}


@pytest.mark.parametrize(("size", "given"), [(0, 0), (4, 0), (4, 3)])
def test_an_empty_or_partial_tensor_fails_the_save(
    storage: Storage, save: Callable[..., CheckpointRef], size: int, given: int
) -> None:
    with pytest.raises(AssertionError, match=r"llm\.lora_A"):
        save(5, [*fragments(), Fragment(Span(Slot.EXP_AVG_SQ, "llm.lora_A", 0, size), torch.zeros(given))])
    assert not any(item.path.endswith("MANIFEST.json") for item in storage.list("checkpoints"))


def test_state_that_no_rank_wrote_fails_the_save(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    with pytest.raises(AssertionError, match="wrote 20 elements of training state, the parameters have 21"):
        save(5, fragments()[:-1])
    assert not any(item.path.endswith("MANIFEST.json") for item in storage.list("checkpoints"))


@pytest.mark.parametrize(("start", "size"), [(0, 6), (1, 2), (3, 3), (2, 0)])
def test_any_span_can_be_read_however_it_was_cut(
    storage: Storage, save: Callable[..., CheckpointRef], start: int, size: int
) -> None:
    read = open_checkpoint(storage, save(5).uri).reader()
    values = read(Span(Slot.EXP_AVG, "projector.weight", start, size))
    assert values.tolist() == [float(i + 1) for i in range(start, start + size)]


def test_a_span_that_was_never_saved_is_corrupt_state(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    read = open_checkpoint(storage, save(5).uri).reader()
    with pytest.raises(CorruptState, match="1 of 2 elements of master llm"):
        read(Span(Slot.MASTER, "llm.bias", 0, 2))


def test_the_newest_is_found(storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef]) -> None:
    save(5)
    save(10)
    assert newest_step(storage, alone) == 10


def test_a_later_attempt_supersedes_an_earlier_one(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef]
) -> None:
    save(10, attempt=1)
    save(7, attempt=2)
    assert newest_step(storage, alone) == 7


@pytest.mark.parametrize("harm", [truncate, flip, Path.unlink])
@pytest.mark.parametrize("pattern", ["weights-*", "optimizer-*"])
def test_a_damaged_newest_falls_back_to_the_one_before(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef], harm: Callable[[Path], None], pattern: str
) -> None:
    save(5)
    harm(files(storage, save(10), pattern)[0])
    found = find_newest(storage, wanted(), ranks=alone)
    assert found is not None
    assert (found.manifest.step, found.rejected) == (5, 1)


def test_a_damaged_manifest_falls_back_to_the_one_before(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef]
) -> None:
    save(5)
    truncate(files(storage, save(10), "MANIFEST.json")[0])
    assert newest_step(storage, alone) == 5


def test_without_a_manifest_there_is_no_checkpoint(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef]
) -> None:
    files(storage, save(5), "MANIFEST.json")[0].unlink()
    assert newest_step(storage, alone) is None


def test_nothing_there_means_step_0(storage: Storage, alone: Ranks) -> None:
    assert newest_step(storage, alone) is None


def test_nothing_there_after_a_commit_is_corrupt_state(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef]
) -> None:
    ref = save(5)
    files(storage, ref, "MANIFEST.json")[0].unlink()
    with pytest.raises(CorruptState, match=r"none of 0 checkpoints verifies; file:.* was committed"):
        newest_step(storage, alone, wanted(ref))


def test_only_damaged_ones_are_corrupt_state_even_if_nobody_knew_of_them(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef]
) -> None:
    flip(files(storage, save(5), "weights-*")[0])
    with pytest.raises(CorruptState, match="none of 1 checkpoints verifies"):
        newest_step(storage, alone)


def test_another_jobs_checkpoints_are_not_ours(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef]
) -> None:
    save(5, uid="other")
    assert newest_step(storage, alone) is None


@pytest.mark.parametrize(("before_step", "found"), [(None, 10), (10, 5), (5, None)])
def test_a_rollback_goes_before_a_step_or_to_nothing(
    storage: Storage, alone: Ranks, save: Callable[..., CheckpointRef], before_step: int | None, found: int | None
) -> None:
    save(5)
    assert newest_step(storage, alone, wanted(save(10), before_step=before_step)) == found


def test_a_missing_checkpoint_is_missing_input(storage: Storage) -> None:
    with pytest.raises(MissingInput, match="no checkpoint there"):
        read_weights(storage, "checkpoints/finetune/step-00000001/uid-a1-00000000")


def test_damaged_weights_are_never_read(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    ref = save(5)
    flip(files(storage, ref, "weights-*")[0])
    with pytest.raises(CorruptState, match="another SHA-256"):
        read_weights(storage, ref.uri)


def test_only_the_newest_few_are_kept(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    for step in (1, 2, 3, 4):
        save(step, keep_last=2)
    assert steps_on_storage(storage) == {3, 4}


def test_the_best_one_is_kept_beside_the_newest_few(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    best = save(1)
    for step in (2, 3, 4):
        save(step, keep_last=2, best=best)
    assert steps_on_storage(storage) == {1, 3, 4}


def test_the_checkpoint_just_committed_is_never_deleted(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    save(9, attempt=1)
    save(3, attempt=2, keep_last=1)
    assert steps_on_storage(storage) == {3}


def test_what_an_attempt_went_back_to_outlives_what_it_made_anew(
    storage: Storage, save: Callable[..., CheckpointRef]
) -> None:
    """A loss that diverges again at the same step must find the earlier checkpoint again."""
    for step in (2, 4):
        save(step, keep_last=2)
    save(4, attempt=2, keep_last=2)
    places = {place for item in storage.list(stage_prefix("finetune")) if (place := Place.parse(item.path))}
    assert {(place.attempt, place.step) for place in places} == {(1, 2), (2, 4)}


def test_half_written_ones_go_when_their_attempt_is_over(storage: Storage, save: Callable[..., CheckpointRef]) -> None:
    for attempt in (1, 2):
        files(storage, save(attempt, attempt=attempt), "MANIFEST.json")[0].unlink()
    save(5, attempt=2)
    assert steps_on_storage(storage) == {2, 5}


def steps_on_storage(storage: Storage) -> set[int]:
    places = (Place.parse(item.path) for item in storage.list(stage_prefix("finetune")))
    return {place.step for place in places if place}
