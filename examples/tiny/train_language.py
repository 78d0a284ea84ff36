"""How the small Llama is trained: on questions about words that stand where a picture will stand.

Shape legend: B rows, T tokens, K pieces mixed into one position, D model width.
"""
# ruff: noqa: N803, N806, N815  a shape is part of the name

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scenes import Facts, imagine, pick, rng_of
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaForCausalLM
from wording import CAPTION_REQUESTS, LETTERS, abilities_of, ask, caption

ROW_TOKENS = 224
PICTURE_TOKENS = 16  # as many positions as the tower has patches
MIX = 3
CHUNK = 1_000
IGNORED = -100


@dataclass(frozen=True)
class LanguagePlan:
    """How long to train and on how many different rows."""

    rows: int = 240_000
    steps: int = 4_000
    batch: int = 256
    peak_rate: float = 1.5e-3


def language_config(tokenizer: Tokenizer) -> LlamaConfig:
    """The shape of the small Llama."""
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=2048,
        rope_theta=10_000.0,
        bos_token_id=tokenizer.token_to_id("<s>"),
        eos_token_id=tokenizer.token_to_id("</s>"),
        pad_token_id=tokenizer.token_to_id("<pad>"),
        tie_word_embeddings=False,
    )


@dataclass
class Row:
    """Positions under construction: up to three mixed pieces each, their weights, and the label."""

    tokenizer: Tokenizer
    pieces_TK: list[tuple[int, ...]] = field(default_factory=list)
    weights_TK: list[tuple[float, ...]] = field(default_factory=list)
    labels_T: list[int] = field(default_factory=list)

    def say(self, text: str) -> None:
        """Add text that is read, not learned."""
        self._add(self.tokenizer.encode(text, add_special_tokens=False).ids, learned=False)

    def mark(self, name: str, *, learned: bool = False) -> None:
        """Add one special piece."""
        self._add([self.tokenizer.token_to_id(name)], learned=learned)

    def answer(self, text: str) -> None:
        """Add text that is learned."""
        self._add(self.tokenizer.encode(text, add_special_tokens=False).ids, learned=True)

    def blend(self, pieces: list[int], weights: list[float]) -> None:
        """Add one position whose embedding is a mixture of pieces."""
        self.pieces_TK.append(tuple(pieces))
        self.weights_TK.append(tuple(weights))
        self.labels_T.append(IGNORED)

    def _add(self, ids: list[int], *, learned: bool) -> None:
        for piece in ids:
            self.blend([piece] * MIX, [1.0] + [0.0] * (MIX - 1))
        if learned:
            self.labels_T[len(self.labels_T) - len(ids) :] = ids


def describe(row: Row, facts: Facts, rng: np.random.Generator) -> None:
    """Put a description where the picture will stand: a caption, words in any order, or mixtures of words."""
    form = rng.random()
    if form < 0.35:
        row.say(caption(facts, rng))
        return
    words = [word for word in (facts.subject, facts.colour, facts.place, *facts.place.split()) if word]
    words += ["dots"] if facts.kind == "dots" else []
    if form < 0.65:
        said = [words[i] for i in rng.integers(len(words), size=int(rng.integers(6, PICTURE_TOKENS)))]
        row.say(" ".join(said + [words[i] for i in rng.permutation(len(words))]))
        return
    pieces = [row.tokenizer.encode(f" {word}", add_special_tokens=False).ids for word in words]
    flat = [ids[-1] for ids in pieces] + [ids[0] for ids in pieces]
    for _ in range(PICTURE_TOKENS):
        chosen = [flat[i] for i in rng.permutation(len(flat))[:MIX]]
        weights = rng.dirichlet([1.0] * MIX)
        row.blend(chosen, list(weights * rng.uniform(1, 2)))


def lesson(facts: Facts, rng: np.random.Generator) -> tuple[str, str]:
    """One question and its answer: mostly a choice by letter, else a word, a caption, or what a letter stands for."""
    form, ability = rng.random(), pick(rng, abilities_of(facts.kind))
    choice = ask(facts, ability, rng)
    if form < 0.65:
        return choice.prompt(), choice.letter
    if form < 0.75:
        return choice.question, ability.answer(facts)
    if form < 0.85:
        return pick(rng, CAPTION_REQUESTS), caption(facts, rng)
    place = int(rng.integers(len(LETTERS)))
    listed = "\n".join(f"{letter}. {text}" for letter, text in zip(LETTERS, choice.options, strict=True))
    if form < 0.95:
        return f"{listed}\nWhich letter stands before {choice.options[place]}?", LETTERS[place]
    return f"{listed}\nWhat stands behind {LETTERS[place]}?", choice.options[place]


def converse(row: Row, rng: np.random.Generator) -> None:
    """Four questions about one description, in the vicuna template: BOS each turn, EOS after answers."""
    facts = imagine(rng)
    for turn in range(4):
        question, answer = lesson(facts, rng)
        row.mark("<s>")
        if turn:
            row.say(f"USER: {question} ASSISTANT:")
        else:
            row.say("USER: ")
            describe(row, facts, rng)
            row.say(f"\n{question} ASSISTANT:")
        row.answer(answer)
        row.mark("</s>", learned=True)
        row.say("\n")


@dataclass(frozen=True)
class Lessons:
    """All rows: mixed pieces, their weights, labels; the last chunk is held out."""

    pieces_BTK: Tensor
    weights_BTK: Tensor
    labels_BT: Tensor

    def at(self, rows: Tensor | slice, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Some rows, on a device."""
        return tuple(part[rows].to(device) for part in (self.pieces_BTK, self.weights_BTK, self.labels_BT))


Chunk = tuple[NDArray[np.int16], NDArray[np.float16], NDArray[np.int16]]


def _chunk(number: int, tokenizer_text: str) -> Chunk:
    tokenizer, rng = Tokenizer.from_str(tokenizer_text), rng_of("towers", "language", number)
    pieces_BTK = np.zeros((CHUNK, ROW_TOKENS, MIX), np.int16)
    weights_BTK = np.zeros((CHUNK, ROW_TOKENS, MIX), np.float16)
    labels_BT = np.full((CHUNK, ROW_TOKENS), IGNORED, np.int16)
    for i in range(CHUNK):
        row = Row(tokenizer)
        converse(row, rng)
        length = min(len(row.labels_T), ROW_TOKENS)
        pieces_BTK[i, :length] = row.pieces_TK[:length]
        weights_BTK[i, :length] = row.weights_TK[:length]
        labels_BT[i, :length] = row.labels_T[:length]
    return pieces_BTK, weights_BTK, labels_BT


def language_lessons(tokenizer: Tokenizer, plan: LanguagePlan) -> Lessons:
    """Make the rows of a plan on all cores; none where nothing is trained."""
    chunks = range(max(2, min(plan.rows, plan.steps * plan.batch) // CHUNK) if plan.steps else 0)
    if not chunks:
        return Lessons(torch.empty(0), torch.empty(0), torch.empty(0))
    with multiprocessing.Pool() as pool:
        parts = pool.starmap(_chunk, [(number, tokenizer.to_str()) for number in chunks], chunksize=1)
    pieces, weights, labels = (torch.from_numpy(np.concatenate(column)) for column in zip(*parts, strict=True))
    return Lessons(pieces, weights, labels)


def _logits_at_labels(
    model: LlamaForCausalLM, pieces_BTK: Tensor, weights_BTK: Tensor, labels_BT: Tensor
) -> tuple[Tensor, Tensor]:
    """Logits and targets where there is something to learn; the last position of a row predicts nothing."""
    table = model.get_input_embeddings().weight
    embeds_BTD = table[pieces_BTK[..., 0].long()] * weights_BTK[..., :1]
    for k in range(1, MIX):
        embeds_BTD = embeds_BTD + table[pieces_BTK[..., k].long()] * weights_BTK[..., k : k + 1]
    hidden_BTD = model.model(inputs_embeds=embeds_BTD, use_cache=False).last_hidden_state
    target_BT = labels_BT[:, 1:].long()
    kept_BT = target_BT != IGNORED
    return model.lm_head(hidden_BTD[:, :-1][kept_BT]), target_BT[kept_BT]


def _letter_share(logits: Tensor, targets: Tensor, letters: Tensor) -> float:
    asked = torch.isin(targets, letters)
    return (logits.argmax(-1) == targets)[asked].float().mean().item()


def train_language(tokenizer: Tokenizer, lessons: Lessons, plan: LanguagePlan, *, device: str) -> LlamaForCausalLM:
    """Train the Llama on answers only; prints the loss and the share of letters that are right on unseen rows."""
    torch.manual_seed(2)
    model = LlamaForCausalLM(language_config(tokenizer)).to(device)
    if not plan.steps:
        return model
    seen = len(lessons.labels_BT) - CHUNK
    letters = torch.tensor([tokenizer.token_to_id(letter) for letter in LETTERS], device=device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=plan.peak_rate, betas=(0.9, 0.98), weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.peak_rate, plan.steps, pct_start=0.05)
    for step in range(plan.steps):
        rows = torch.randint(seen, (plan.batch,))
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits, targets = _logits_at_labels(model, *lessons.at(rows, device))
            loss = functional.cross_entropy(logits.float(), targets)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == plan.steps - 1:
            with torch.no_grad():
                share = _letter_share(*_logits_at_labels(model, *lessons.at(slice(seen, None), device)), letters)
            print(f"language step {step} loss {loss.item():.4f} letters {share:.4f}", flush=True)
    return model
