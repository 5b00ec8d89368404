"""What a run should come to, in plain torch: no DeepSpeed, no ranks, no accumulation, one loop.

It shares the modules and the data with the package, and nothing of engine, train and launch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.utils import clip_grad_norm_
from torchvision.transforms.v2 import functional as transforms

from hlgp_dist.config import optimizer_options
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.data.augment import to_float
from hlgp_dist.data.crops import crop_boxes, mirrored
from hlgp_dist.data.manifest_reading import read_manifest
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.plan import epoch_order
from hlgp_dist.data.selection import select
from hlgp_dist.data.tasks import split_tasks
from hlgp_dist.data.uniforms import Key
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.models.backbone import build_trunk
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec
from tests.jobs import opened


class Step(NamedTuple):
    """What a global batch gives: its mean loss, and the gradient's norm before clipping."""

    loss: float
    norm: float


def oracle_steps(config: RunConfig, num_tasks: int) -> list[Step]:
    """Every step of the first tasks."""
    torch.set_num_threads(1)
    whole = config.method.kind == "full"
    trunk, _ = build_trunk(config.backbone, precision=config.engine.precision, seed=config.seed, trained=whole)
    whole_stream = config.benchmark.model_copy(update={"max_tasks": None})
    tasks = split_tasks(read_manifest(config.data.path).classes, whole_stream)
    method = build_method(config.method, Setting(trunk.dimensions, tasks, config.seed))
    head = Head(trunk.dimensions.feature_width)
    steps = []
    for task in tasks[:num_tasks]:
        head.begin_task(len(task.classes))
        method.begin_task(task)
        others = [*method.trained(task), *(trunk.parameters() if whole else ())]
        optimizer = _optimizer(config.optimizer, others, list(head.parameters()))
        batches = _batches(config, task, _pictures(config, trunk, task))
        for step, (images, labels) in enumerate(batches):
            cosine = 0.5 * (1.0 + math.cos(math.pi * step / len(batches)))
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * cosine
            output = method(trunk, head, images, task)
            loss = functional.cross_entropy(output.logits[:, task.start : task.stop], labels - task.start)
            if output.penalties is not None:
                loss = loss + output.penalties.mean()
            optimizer.zero_grad()
            loss.backward()
            trained = [*others, *head.parameters()]
            norm = clip_grad_norm_(trained, config.optimizer.max_grad_norm or math.inf)
            optimizer.step()
            steps.append(Step(loss.item(), norm.item()))
        method.eval()
        method.end_task(trunk, None)  # type: ignore[arg-type]
        method.train()
    return steps


def _pictures(config: RunConfig, trunk: Trunk, task: TaskSpec) -> Pictures:
    selection = select(read_manifest(config.data.path), task, "train", 0.0)
    return opened(config.data.path, selection, trunk.input_format.size, config.data.cache_dir or "")


def _batches(config: RunConfig, task: TaskSpec, pictures: Pictures) -> list[tuple[Tensor, Tensor]]:
    """All global batches of a task, whole and augmented, in order."""
    batches = []
    for epoch in range(config.train.epochs):
        key = Key(config.seed, task.index, epoch)
        order = epoch_order(*key, len(pictures))
        for start in range(0, len(order), config.train.global_batch_size):
            samples = order[start : start + config.train.global_batch_size]
            images = [_augmented(config, pictures, sample, key) for sample in samples]
            batches.append((torch.stack(images), torch.from_numpy(pictures.labels[samples])))
    return batches


def _augmented(config: RunConfig, pictures: Pictures, sample: int, key: Key) -> Tensor:
    """Float [3, S, S], by torchvision; only the draws are the package's."""
    augmentation, ids = config.data.augmentation, np.array([sample])
    assert augmentation is not None and augmentation.jitter is None
    image = torch.from_numpy(pictures[sample].copy()).permute(2, 0, 1)
    (box,) = crop_boxes(ids, pictures.shapes[ids], crop_scale=augmentation.crop_scale, key=key).tolist()
    side, mode = pictures.size.size, transforms.InterpolationMode(pictures.size.interpolation)
    image = transforms.resized_crop(image, *box, size=[side, side], interpolation=mode, antialias=True)
    if augmentation.flip and mirrored(ids, key)[0]:
        image = transforms.horizontal_flip(image)
    return to_float(image)


def _optimizer(
    options: optimizer_options.Optimizer, prompts: list[torch.nn.Parameter], head: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    groups = [
        {"params": prompts, "initial_lr": options.prompt_lr},
        {"params": head, "initial_lr": options.head_lr},
    ]
    groups = [group for group in groups if group["params"]]
    match options:
        case optimizer_options.Sgd():
            return torch.optim.SGD(groups, lr=0.0, momentum=options.momentum, weight_decay=options.weight_decay)
        case optimizer_options.AdamW():
            return torch.optim.AdamW(groups, lr=0.0, betas=options.betas, weight_decay=options.weight_decay)
        case _:
            return torch.optim.Adam(groups, lr=0.0, betas=options.betas)
