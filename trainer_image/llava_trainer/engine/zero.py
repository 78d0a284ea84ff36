"""DeepSpeed: its configuration, its engine, and where inside it training state lives; no other module knows it.

One call of `accumulate` per pack and one of `update` per optimizer step. State leaves and enters as fragments under
full parameter names, so that neither the ZeRO stage nor the number of ranks is part of a checkpoint.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch

os.environ.setdefault("DS_ACCELERATOR", "cuda" if torch.cuda.is_available() else "cpu")  # else it guesses, aloud
if os.environ["DS_ACCELERATOR"] == "cpu":
    # Nothing is compiled on a CPU, yet an optimizer of DeepSpeed's that we do not use would load all of inductor.
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")
import deepspeed
from deepspeed.utils import (
    safe_get_local_fp32_param,
    safe_get_local_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)

from llava_contract.v1alpha1.training import DeepspeedSpec, Offload, Precision
from llava_trainer.checkpoint.state import Fragment, ReadSpan, Slot, Span
from llava_trainer.engine.optimizer import make_adamw
from llava_trainer.errors import Unsupported
from llava_trainer.ranks import Ranks, uses_cuda

__all__ = ["ZeroEngine", "ZeroSettings", "open_engine"]

_NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class ZeroSettings:
    """What a training task asks of DeepSpeed; `persistence_threshold`: smaller parameters stay whole at stage 3."""

    deepspeed: DeepspeedSpec
    precision: Precision
    max_grad_norm: float
    weight_decay: float
    persistence_threshold: int = 100_000

    @property
    def stage(self) -> int:
        """The ZeRO stage that runs: below fp32, stage 0 runs as stage 1, which alone keeps fp32 master weights well."""
        half = self.precision is not Precision.FP32
        return max(self.deepspeed.zero_stage, 1) if half else self.deepspeed.zero_stage

    def require_possible(self) -> None:
        """Unsupported for what DeepSpeed cannot run on this machine; the contract has refused what it would ignore."""
        if self.precision is Precision.FP16 and not uses_cuda():
            raise Unsupported("precision fp16 needs a GPU; use bf16 or fp32 on a CPU.")

    def config(self) -> dict[str, Any]:
        """DeepSpeed's own configuration."""
        zero: dict[str, Any] = {"stage": self.stage, "round_robin_gradients": False}
        if self.deepspeed.offload is not Offload.NONE:
            zero["offload_optimizer"] = {"device": "cpu", "pin_memory": uses_cuda()}
        if self.deepspeed.offload is Offload.PARAMETERS:
            zero["offload_param"] = {"device": "cpu", "pin_memory": uses_cuda()}
        if self.stage == 3:
            zero["stage3_param_persistence_threshold"] = self.persistence_threshold
        config: dict[str, Any] = {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,  # how many packs a step has is said step by step
            "gradient_clipping": self.max_grad_norm,
            "zero_optimization": zero,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,  # its own Adam would be compiled for two minutes
            "steps_per_print": _NEVER,
        }
        if self.precision is not Precision.FP32:
            config[self.precision.value] = {"enabled": True}
        if self.stage:
            config["data_types"] = {"grad_accum_dtype": "fp32"}
        return config


def open_engine(model: torch.nn.Module, settings: ZeroSettings, *, ranks: Ranks) -> ZeroEngine:
    """Hand the model to DeepSpeed; afterwards only the engine may be called. Raises Unsupported."""
    settings.require_possible()
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # A faster all-reduce for CPUs that it would compile for a minute and that needs a compiler.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    shapes = {name: tuple(p.shape) for name, p in named.items()}
    adamw = make_adamw(named.values(), weight_decay=settings.weight_decay)
    engine, *_ = deepspeed.initialize(model=model, optimizer=adamw, config=settings.config())
    engine.train()  # transformers gives its models in evaluation mode, without dropout and checkpointing
    return ZeroEngine(engine, settings, named=named, shapes=shapes, ranks=ranks)


class ZeroEngine:
    """A model in training; every method is called by every rank at the same time."""

    def __init__(
        self,
        engine: Any,
        settings: ZeroSettings,
        *,
        named: dict[str, torch.nn.Parameter],
        shapes: dict[str, tuple[int, ...]],
        ranks: Ranks,
    ) -> None:
        self._engine, self._settings, self._named, self._ranks = engine, settings, named, ranks
        self.shapes = shapes
        self._num_updates = 0

    def accumulate(self, batch: object, *, scale: float, is_last: bool) -> torch.Tensor:
        """Run one pack forward and backward; give the loss of each label, [L]. Gradients are those of `scale` times
        their sum, averaged over ranks once `is_last` has been seen."""
        self._engine.set_gradient_accumulation_boundary(is_last)
        loss_L: torch.Tensor = self._engine(batch)  # noqa: N806
        self._engine.backward(loss_L.sum() * scale, scale_wrt_gas=False)
        return loss_L.detach()

    @contextmanager
    def resting(self) -> Iterator[None]:
        """Compute without gradients and without dropout inside; every rank does."""
        self._engine.eval()
        try:
            with torch.no_grad():
                yield
        finally:
            self._engine.train()

    def losses(self, batch: object) -> torch.Tensor:
        """The loss of each label of one pack, [L]; inside `resting`."""
        loss_L: torch.Tensor = self._engine(batch)  # noqa: N806
        return loss_L

    def update(self, learning_rate: float) -> float:
        """Clip, step and clear; give the gradients' global norm from before the clipping.

        It is 0 where gradients overflowed in fp16: the weights stay, and the next step tries a smaller loss scale.
        """
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        norm = self._plain_norm() if self._settings.stage == 0 else None
        self._engine.step()
        self._num_updates += 1
        if self._settings.precision is Precision.FP16 and self._engine.optimizer.overflow:
            return 0.0
        return float(self._engine.get_global_grad_norm() if norm is None else norm)

    def _plain_norm(self) -> float:
        # Stage 0 has no norm to ask for; gradients are already averaged and equal on every rank.
        squares = [p.grad.float().square().sum() for p in self._named.values() if p.grad is not None]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    def fragments(self) -> Iterator[Fragment]:
        """This rank's share of the training state: all weights first, then the moments."""
        pieces = list(self._owned())
        if self._settings.stage == 0:  # every rank holds everything: each saves its part of the parameters
            pieces = pieces[self._ranks.rank :: self._ranks.world_size]
        for slot in Slot:
            for name, start, size in pieces:
                values_N = self._values(name, slot)[:size]  # noqa: N806
                yield Fragment(Span(slot, name, start, size), values_N.detach().float().cpu().contiguous().clone())

    def restore(self, read: ReadSpan, *, num_updates: int) -> None:
        """Take over the state after `num_updates` optimizer steps, each rank the part that it owns now."""
        self._num_updates = num_updates
        self._prepare_states(num_updates)
        for name, start, size in self._owned():
            for slot in Slot:
                self._fill(name, slot, read(Span(slot, name, start, size)))
        for name, shape in self.shapes.items():
            self._fill_working_copy(name, read, size=torch.Size(shape).numel())

    def _owned(self) -> Iterator[tuple[str, int, int]]:
        """(name, start, size) of what this rank updates."""
        for name, p in self._named.items():
            size = torch.Size(self.shapes[name]).numel()
            if self._settings.stage == 3:
                share = p.ds_tensor.numel()
                start = self._ranks.rank * share
                if start < size:
                    yield name, start, min(share, size - start)
            elif self._settings.stage > 0:
                if p._hp_mapping is not None:
                    yield name, p._hp_mapping.lp_fragment_address.start, p._hp_mapping.lp_fragment_address.numel
            else:
                yield name, 0, size

    def _values(self, name: str, slot: Slot) -> torch.Tensor:
        p = self._named[name]
        if self._settings.stage == 3:
            found = safe_get_local_fp32_param(p) if slot is Slot.MASTER else safe_get_local_optimizer_state(p, slot)
            return found.flatten()
        if self._settings.stage > 0:
            return p._hp_mapping.get_hp_fragment(None if slot is Slot.MASTER else slot.value)
        if slot is Slot.MASTER:
            return p.data.flatten()
        state = self._engine.optimizer.state.get(p, {})
        return state[slot].flatten() if slot in state else torch.zeros(p.numel())

    def _prepare_states(self, num_updates: int) -> None:
        """AdamW makes its state at its first step; make it now, so that there is something to write into."""
        wrapped = self._engine.optimizer
        inner = wrapped if self._settings.stage == 0 else wrapped.optimizer
        flats = (
            wrapped.fp32_partitioned_groups_flat
            if self._settings.stage == 3
            else [p for group in inner.param_groups for p in group["params"]]
        )
        for flat in flats:
            inner.state[flat] = {
                "step": torch.tensor(float(num_updates)),
                "exp_avg": torch.zeros_like(flat, dtype=torch.float32),
                "exp_avg_sq": torch.zeros_like(flat, dtype=torch.float32),
            }
        if self._settings.stage in (1, 2):
            wrapped._lazy_init_hp_params_optimizer_state()

    def _fill(self, name: str, slot: Slot, values_N: torch.Tensor) -> None:  # noqa: N803
        p = self._named[name]
        if self._settings.stage == 3:
            padded_N = torch.zeros(p.ds_tensor.numel())  # noqa: N806
            padded_N[: values_N.numel()] = values_N
            if slot is Slot.MASTER:
                safe_set_local_fp32_param(p, padded_N)
            else:
                safe_set_local_optimizer_state(p, padded_N, slot.value)
        elif self._settings.stage > 0 or slot is Slot.MASTER:
            self._values(name, slot).data.copy_(values_N)
        else:
            self._engine.optimizer.state[p][slot.value].view(-1).copy_(values_N)

    def _fill_working_copy(self, name: str, read: ReadSpan, *, size: int) -> None:
        """Write the weights that forward uses: whole below stage 3, this rank's part at stage 3."""
        p = self._named[name]
        with torch.no_grad():
            if self._settings.stage < 3:
                p.data.view(-1).copy_(read(Span(Slot.MASTER, name, 0, size)))
                return
            share = p.ds_tensor.numel()
            start = min(self._ranks.rank * share, size)
            mine = read(Span(Slot.MASTER, name, start, min(share, size - start)))
            p.ds_tensor.data.view(-1)[: mine.numel()].copy_(mine)
