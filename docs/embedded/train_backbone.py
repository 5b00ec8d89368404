"""Trains the embedded ViT to bring two pictures of the same glyph together; it never sees a digit.

The loss is InfoNCE on the CLS feature: of all pictures of the batch, find the other one of your class. It learns from
far fewer pictures than a softmax over the classes did; see README.md.
"""

import argparse
import json
import math
import time
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from augment import augment
from backbone import ARCHITECTURE, DEPTH, MODEL_NAME, build_model, grown, read, save, start_positions
from timm.layers import set_fused_attn
from timm.models import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

STAGES = ((3, 0.40), (6, 0.25), (12, 0.35))  # depth, and its share of the steps
HELD_OUT_CLASSES = 200
HELD_OUT_VIEWS = 4
TEMPERATURE = 0.1
FIRST_STRENGTH = 0.3  # of the augmentation, which is at full strength after a quarter of the steps
WARMUP_STEPS = 30
WEIGHT_DECAY = 0.05


@dataclass(frozen=True)
class Glyphs:
    """Pictures uint8 [N,64,64] sorted by class; class c owns the rows from starts[c] on, counts[c] of them."""

    pictures: Tensor
    starts: Tensor
    counts: Tensor

    def pairs(self, num_classes: int) -> Tensor:
        """Rows [2 * num_classes] of classes drawn without replacement; row i and row i + num_classes share a class."""
        chosen = torch.randperm(len(self.counts))[:num_classes]
        draws = (torch.rand(2, num_classes) * self.counts[chosen]).long()
        return (self.starts[chosen] + draws).flatten()


def load(path: Path) -> tuple[Glyphs, Glyphs]:
    """The training classes, and the held-out ones: the first of the file, which lists classes in random order."""
    with np.load(path) as file:
        pictures, counts = torch.from_numpy(file["pictures"]), torch.from_numpy(np.bincount(file["labels"]))
    starts = counts.cumsum(0) - counts
    cut, row = HELD_OUT_CLASSES, int(starts[HELD_OUT_CLASSES])
    training = Glyphs(pictures[row:], starts[cut:] - row, counts[cut:])
    return training, Glyphs(pictures[:row], starts[:cut], counts[:cut])


def info_nce(features: Tensor) -> Tensor:
    """Features [2P,D], halves matched by position -> mean cross-entropy of picking the partner."""
    unit = F.normalize(features)
    similarity = (unit @ unit.T / TEMPERATURE).fill_diagonal_(-math.inf)
    rows = torch.arange(len(unit))
    return F.cross_entropy(similarity, rows.roll(len(unit) // 2))


@torch.inference_mode()
def held_out_accuracy(model: nn.Module, glyphs: Glyphs) -> float:
    """Nearest class mean over classes never trained on: means from views of one font, queries in the other fonts."""
    state = torch.get_rng_state()
    torch.manual_seed(1)
    rows = torch.arange(len(glyphs.pictures)).repeat_interleave(HELD_OUT_VIEWS)
    with torch.autocast("cpu", torch.bfloat16):
        features = torch.cat([model(augment(glyphs.pictures[part])).float() for part in rows.split(256)])
    torch.set_rng_state(state)
    labels = torch.arange(len(glyphs.counts)).repeat_interleave(glyphs.counts)[rows]
    is_support, unit = rows == glyphs.starts[labels], F.normalize(features)
    means = torch.zeros(len(glyphs.counts), unit.shape[1]).index_add_(0, labels[is_support], unit[is_support])
    nearest = (unit[~is_support] @ F.normalize(means).T).argmax(dim=1)
    return (nearest == labels[~is_support]).float().mean().item()


def build_optimizers(model: VisionTransformer, args: argparse.Namespace) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, Adam for the rest."""
    matrices = [parameter for parameter in model.blocks.parameters() if parameter.ndim == 2]
    owned = {id(parameter) for parameter in matrices}
    rest = [parameter for parameter in model.parameters() if id(parameter) not in owned]
    return [
        torch.optim.Muon(matrices, lr=args.muon_lr, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=args.adam_lr, weight_decay=0, betas=(0.9, 0.98)),
    ]


def plan_stages(total: int) -> list[tuple[int, range]]:
    """Each stage's depth and global steps, which together cover all of `total`."""
    ends = [int(share * total) for share in accumulate(share for _, share in STAGES[:-1])] + [total]
    return [(depth, range(*steps)) for (depth, _), steps in zip(STAGES, pairwise([0, *ends]), strict=True)]


def rate(step: int, stage_step: int, total: int) -> float:
    """Factor of the learning rates: one cosine over all stages, times a warm-up at the start of each."""
    return min(1.0, (stage_step + 1) / WARMUP_STEPS) * 0.5 * (1 + math.cos(math.pi * step / total))


def train_stage(model: VisionTransformer, glyphs: Glyphs, steps: range, args: argparse.Namespace) -> None:
    """Trains all parameters for the given global steps."""
    optimizers = build_optimizers(model, args)
    peaks = [optimizer.param_groups[0]["lr"] for optimizer in optimizers]
    for step in steps:
        factor = rate(step, step - steps.start, args.steps)
        for optimizer, peak in zip(optimizers, peaks, strict=True):
            optimizer.param_groups[0]["lr"] = peak * factor
            optimizer.zero_grad()
        strength = min(1.0, FIRST_STRENGTH + (1 - FIRST_STRENGTH) * 4 * step / args.steps)
        with torch.autocast("cpu", torch.bfloat16):
            features = model(augment(glyphs.pictures[glyphs.pairs(args.pairs)], strength))
        loss = info_nce(features.float())
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
        if (step + 1) % args.report_every == 0:
            print(f"step {step + 1} depth {len(model.blocks)} loss {loss.item():.3f}", flush=True)


def describe(glyphs: Glyphs, accuracy: float, args: argparse.Namespace) -> dict[str, str]:
    """The metadata of the file; measure_digits.py adds what it measures."""
    return {
        "architecture": json.dumps({"name": MODEL_NAME, **ARCHITECTURE, "depth": DEPTH}),
        "input": "RGB, 32x32, pixels in [0,1] normalised by mean 0.5 and std 0.5",
        "recipe": f"docs/embedded: {len(glyphs.counts)} glyph classes, {args.steps} steps of {args.pairs} pairs",
        "classes": "letters of many scripts; no digit and no glyph that looks like one",
        "license": "Apache-2.0",
        "held_out_glyph_nearest_mean_accuracy": f"{accuracy:.4f} ({HELD_OUT_CLASSES} classes, means from one font)",
    }


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("glyphs", type=Path, help="the .npz of render_glyphs.py")
    parser.add_argument("out", type=Path, help="the .safetensors to write, after each stage")
    parser.add_argument("--last-stage", action="store_true", help="go on from `out`, which the second stage left")
    parser.add_argument("--steps", type=int, default=2400)
    parser.add_argument("--pairs", type=int, default=64)
    parser.add_argument("--muon-lr", type=float, default=4e-3)
    parser.add_argument("--adam-lr", type=float, default=2e-3)
    parser.add_argument("--report-every", type=int, default=100)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    set_fused_attn(False)  # on a CPU the fused kernel's backward pass takes a third of the step
    glyphs, held = load(args.glyphs)
    stages, start = plan_stages(args.steps), time.monotonic()
    if args.last_stage:
        stages, model = stages[-1:], read(args.out)
    else:
        model = build_model(stages[0][0])
        start_positions(model)
    for depth, steps in stages:
        model = grown(model, depth)
        for block in model.blocks:
            block.compile()
        train_stage(model.train(), glyphs, steps, args)
        accuracy = held_out_accuracy(model.eval(), held)
        print(f"depth {depth}: held-out {accuracy:.4f}, {time.monotonic() - start:.0f} s so far", flush=True)
        save(args.out, grown(model, DEPTH), describe(glyphs, accuracy, args))


if __name__ == "__main__":
    main()
