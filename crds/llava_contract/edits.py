"""Which edits of a job are refused: what a stage was made with stays, once that stage is done.

These rules compare a spec with the one before. Only the API server knows that one, so offline each of them holds.
"""

from __future__ import annotations

from typing import Any, Final

from llava_contract.rule import Rule

__all__ = ["MODEL_STAYS", "RECIPE_STAYS", "STORAGE_STAYS"]

_NOTHING_DONE: Final = (
    "!has(oldSelf.status) || !has(oldSelf.status.stages) || "
    "!oldSelf.status.stages.exists(stage, stage.state == 'Succeeded') || "
)


def _is_not_asked(job: Any) -> bool:  # noqa: ARG001  the signature of a predicate
    return True


def _stays(name: str, cel: str, message: str, path: str) -> Rule:
    return Rule(name, _NOTHING_DONE + cel, _is_not_asked, message, ("spec", *path.split(".")))


STORAGE_STAYS: Final = _stays(
    "storage-stays",
    "self.spec.storage.uri == oldSelf.spec.storage.uri",
    "storage.uri cannot change any more, for what is done lies there; create another job",
    "storage.uri",
)
MODEL_STAYS: Final = _stays(
    "model-stays",
    "self.spec.model == oldSelf.spec.model",
    "model cannot change any more, for a stage is done with it; create another job",
    "model",
)
RECIPE_STAYS: Final = _stays(
    "recipe-stays",
    "(has(self.spec.recipe) ? self.spec.recipe : '') == (has(oldSelf.spec.recipe) ? oldSelf.spec.recipe : '')",
    "recipe cannot change any more, for a stage is done with it; create another job",
    "recipe",
)
