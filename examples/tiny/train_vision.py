"""How the small CLIP tower is trained: matching captions, and naming the facts from every patch of layer -2.

Shape legend: B pictures, P patches, D tower width, C classes, L caption tokens.
"""
# ruff: noqa: N803, N806, N815  a shape is part of the name

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scenes import COLOURS, COUNTS, DIGITS, PLACES, SHAPES, Facts, Scene, draw, rng_of
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPVisionConfig, CLIPVisionModel
from wording import caption

IMAGE_SIDE, PATCH_SIDE = 32, 8
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)  # CLIP's own
CONFIG = CLIPVisionConfig(
    hidden_size=128,
    intermediate_size=384,
    projection_dim=128,
    num_hidden_layers=4,
    num_attention_heads=4,
    image_size=IMAGE_SIDE,
    patch_size=PATCH_SIDE,
)
HEADS = (("digit", "shape", "dots"), (*DIGITS, *SHAPES, *COUNTS), tuple(COLOURS), ("", *PLACES))
CHUNK = 500
CAPTION_TOKENS = 16


@dataclass(frozen=True)
class VisionPlan:
    """How long to train and on how many different pictures."""

    pictures: int = 50_000
    steps: int = 3_000
    batch: int = 512
    peak_rate: float = 1e-3


def targets_of(facts: Facts) -> list[int]:
    """The class of a picture under each of the four heads."""
    return [head.index(value) for head, value in zip(HEADS, _values(facts), strict=True)]


def _values(facts: Facts) -> tuple[str, ...]:
    return facts.kind, facts.subject, facts.colour, facts.place


def shrink(scene: Scene) -> NDArray[np.uint8]:
    """The picture at the tower's size, resized as its image processor does."""
    image = Image.fromarray(scene.pixels_HW3).resize((IMAGE_SIDE, IMAGE_SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image)


def _chunk(number: int) -> tuple[NDArray[np.uint8], NDArray[np.int64], list[str]]:
    rng = rng_of("towers", "vision", number)
    scenes = [draw("towers", rng) for _ in range(CHUNK)]
    pixels_BHW3 = np.stack([shrink(scene) for scene in scenes])
    targets_B4 = np.array([targets_of(scene.facts) for scene in scenes])
    return pixels_BHW3, targets_B4, [caption(scene.facts, rng) for scene in scenes]


class CaptionReader(nn.Module):
    """The text side of the contrastive loss; thrown away after training."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.place = nn.Parameter(torch.zeros(CAPTION_TOKENS, width))
        self.block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.out = nn.Linear(width, width)

    def forward(self, ids_BL: Tensor) -> Tensor:
        """Read captions (B, L; 0 is padding) into vectors (B, D)."""
        padding_BL = ids_BL == 0
        hidden_BLD = self.block(self.embed(ids_BL) + self.place, src_key_padding_mask=padding_BL)
        kept_BL1 = (~padding_BL)[..., None]
        return self.out((hidden_BLD * kept_BL1).sum(1) / kept_BL1.sum(1))


class Pupil(nn.Module):
    """The tower, with what only its training needs: fact heads, a caption reader, a temperature."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.tower = CLIPVisionModel(CONFIG)
        width = CONFIG.hidden_size
        self.heads = nn.ModuleList(nn.Linear(width, len(head)) for head in HEADS)
        self.reader = CaptionReader(vocabulary, width)
        self.look = nn.Linear(width, width)
        self.log_scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, pixels_B3HW: Tensor, targets_B4: Tensor, ids_BL: Tensor) -> tuple[Tensor, Tensor]:
        """The loss, and for each head the share of pictures named rightly (4)."""
        out = self.tower(pixels_B3HW, output_hidden_states=True)
        patches_BPD = out.hidden_states[-2][:, 1:]
        loss = self._match(out.pooler_output, ids_BL)
        shares = []
        for head, target_B in zip(self.heads, targets_B4.unbind(1), strict=True):
            logits_BPC = head(patches_BPD)
            loss = loss + functional.cross_entropy(
                logits_BPC.flatten(0, 1), target_B.repeat_interleave(patches_BPD.shape[1])
            )
            shares.append((logits_BPC.mean(1).argmax(-1) == target_B).float().mean())
        return loss, torch.stack(shares)

    def _match(self, pooled_BD: Tensor, ids_BL: Tensor) -> Tensor:
        """Contrastive loss in which pictures with the same caption are all right answers."""
        image_BD = functional.normalize(self.look(pooled_BD), dim=-1)
        text_BD = functional.normalize(self.reader(ids_BL), dim=-1)
        logits_BB = self.log_scale.exp() * image_BD @ text_BD.T
        same_BB = (ids_BL[:, None] == ids_BL[None]).all(-1).float()
        wanted_BB = same_BB / same_BB.sum(1, keepdim=True)
        return (functional.cross_entropy(logits_BB, wanted_BB) + functional.cross_entropy(logits_BB.T, wanted_BB)) / 2


@dataclass(frozen=True)
class Lessons:
    """All pictures with the class under each head and the caption's pieces; the last chunk is held out."""

    pixels_B3HW: Tensor
    targets_B4: Tensor
    ids_BL: Tensor

    def at(self, rows: Tensor | slice, device: str) -> tuple[Tensor, Tensor, Tensor]:
        """Some pictures, normalised, on a device."""
        pixels_B3HW, targets_B4, ids_BL = (x[rows].to(device) for x in (self.pixels_B3HW, self.targets_B4, self.ids_BL))
        mean, std = (torch.tensor(x, device=device).view(1, 3, 1, 1) for x in (MEAN, STD))
        return (pixels_B3HW.float() / 255 - mean) / std, targets_B4, ids_BL


def vision_lessons(tokenizer: Tokenizer, plan: VisionPlan) -> Lessons:
    """Draw the pictures of a plan on all cores; none where nothing is trained."""
    chunks = range(max(2, min(plan.pictures, plan.steps * plan.batch) // CHUNK) if plan.steps else 0)
    if not chunks:
        return Lessons(torch.empty(0), torch.empty(0), torch.empty(0))
    with multiprocessing.Pool() as pool:
        parts = pool.map(_chunk, chunks)
    captions = [text for part in parts for text in part[2]]
    ids = [encoding.ids[:CAPTION_TOKENS] for encoding in tokenizer.encode_batch(captions, add_special_tokens=False)]
    ids_BL = torch.tensor([row + [0] * (CAPTION_TOKENS - len(row)) for row in ids])
    pixels_B3HW = torch.from_numpy(np.concatenate([part[0] for part in parts])).permute(0, 3, 1, 2).contiguous()
    return Lessons(pixels_B3HW, torch.from_numpy(np.concatenate([part[1] for part in parts])), ids_BL)


def _bend(pixels_B3HW: Tensor) -> Tensor:
    """Turn, scale and shear every picture a little, so that few digits look like many."""
    count, device = pixels_B3HW.shape[0], pixels_B3HW.device
    change_B22 = torch.eye(2, device=device) + (torch.rand(count, 2, 2, device=device) - 0.5) * 0.24
    shift_B21 = (torch.rand(count, 2, 1, device=device) - 0.5) * 0.06
    grid = functional.affine_grid(torch.cat([change_B22, shift_B21], -1), list(pixels_B3HW.shape), align_corners=False)
    return functional.grid_sample(pixels_B3HW, grid, padding_mode="border", align_corners=False)


def train_vision(tokenizer: Tokenizer, lessons: Lessons, plan: VisionPlan, *, device: str) -> CLIPVisionModel:
    """Train the tower; prints the loss and the share of facts named rightly on held-out draws."""
    torch.manual_seed(1)
    pupil = Pupil(tokenizer.get_vocab_size()).to(device)
    if not plan.steps:
        return pupil.tower
    seen = len(lessons.ids_BL) - CHUNK
    optimizer = torch.optim.AdamW(pupil.parameters(), lr=plan.peak_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, plan.peak_rate, plan.steps, pct_start=0.05)
    for step in range(plan.steps):
        pixels_B3HW, targets_B4, ids_BL = lessons.at(torch.randint(seen, (plan.batch,)), device)
        loss, shares = pupil(_bend(pixels_B3HW), targets_B4, ids_BL)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(pupil.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 500 == 0 or step == plan.steps - 1:
            with torch.no_grad():
                shares = pupil(*lessons.at(slice(seen, None), device))[1]
            print(
                f"vision step {step} loss {loss.item():.3f} named {[round(x, 3) for x in shares.tolist()]}", flush=True
            )
    return pupil.tower
