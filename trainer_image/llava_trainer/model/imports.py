"""Which optional packages the libraries of a training process would import at start although nothing here uses them.

Measured: transformers' generation imports scikit-learn for assisted decoding and scipy for object detection (4 to 6 s),
peft imports bitsandbytes to estimate errors of quantised layers (3 to 4 s). Both work where these are absent.
"""

# ruff: noqa: PLC0415  (importing is what this module does)

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import cast

__all__ = ["import_libraries"]

_NEVER_USED = ("sklearn", "scipy")
_ONLY_TO_QUANTISE = "bitsandbytes"


def import_libraries(*, adapters: bool, quantised: bool) -> None:
    """Import what building a model takes, up front, so that a stage can tell import from work.

    adapters: peft too; quantised: bitsandbytes too.
    """
    hidden = _NEVER_USED if quantised else (*_NEVER_USED, _ONLY_TO_QUANTISE)
    with _hiding(*hidden):
        import transformers.models.clip.modeling_clip
        import transformers.models.llama.modeling_llama  # noqa: F401  (its imports are those of every LLM family)

        if adapters:
            import peft  # noqa: F401
    if quantised:
        import bitsandbytes  # noqa: F401


@contextmanager
def _hiding(*packages: str) -> Iterator[None]:
    """Make packages look absent; one that is imported already stays."""
    absent = [name for name in packages if name not in sys.modules]
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules.update(dict.fromkeys(absent))
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
