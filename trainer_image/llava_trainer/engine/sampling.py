"""What the model in training answers to prompts that never change, about images that never change.

Every rank asks and answers the same, because under ZeRO-3 each holds a part of every layer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llava_contract.v1alpha1.watching import SamplesSpec
from llava_trainer.data.question import question_ids, stop_ids
from llava_trainer.data.template import PromptTemplate
from llava_trainer.data.tokenizer import Tokenizer
from llava_trainer.engine.zero import ZeroEngine
from llava_trainer.tracking.told_answers import ToldAnswer, ToldAnswers

if TYPE_CHECKING:
    from llava_trainer.model.llava import Llava

__all__ = ["Sampler"]

_LOG = logging.getLogger(__name__)
_TOGETHER = 8
"""Prompts that are answered at once, however many there are: training has most of the memory."""
_SHOWN = 120
"""Characters of an answer in the log; the report has all."""


@dataclass(frozen=True)
class Sampler:
    """Asks when it is due."""

    spec: SamplesSpec
    pixels: Mapping[str, torch.Tensor]
    """Normalised images by the name that the report shows, each [C, H, W]."""
    template: PromptTemplate
    tokenizer: Tokenizer
    model: Llava
    engine: ZeroEngine
    answers: ToldAnswers
    save_every_steps: int

    def is_due(self, done_steps: int, total_steps: int) -> bool:
        """Whether the model has to be asked after so many steps, and has not been."""
        by_count = any(done_steps % steps == 0 for steps in (self.spec.every_steps, self.save_every_steps))
        return (by_count or done_steps == total_steps) and not self.answers.has(done_steps)

    def ask(self, done_steps: int) -> list[ToldAnswer]:
        """Ask each prompt about each image; every rank calls it at the same time."""
        from llava_trainer.model.generate import Prompt, Stopping, answer  # noqa: PLC0415  (after import_heavy)

        asked = [(text, name) for name in self.pixels for text in self.spec.prompts]
        prompts = [
            Prompt(question_ids(f"<image>\n{text}", self.template, self.tokenizer), (name,)) for text, name in asked
        ]
        stopping = Stopping(stop_ids(self.template, self.tokenizer), self.spec.max_new_tokens)
        with self.engine.resting(), self.model.llm.answering():
            told = dict(answer(self.model, prompts, read_images=self._read, stopping=stopping, batch_size=_TOGETHER))
        rows = [
            ToldAnswer(done_steps, *asked[n], self.tokenizer.decode(told[n], skip_special_tokens=True).strip())
            for n in range(len(asked))
        ]
        for row in rows:
            self.answers.add(row)
            _LOG.info("after step %d: %s  ->  %s", done_steps, row.prompt, row.answer[:_SHOWN])
        return rows

    def _read(self, names: Sequence[str]) -> torch.Tensor:
        return torch.stack([self.pixels[name] for name in names])
