"""Testing one task: each picture exactly once over all ranks, counts reduced, never averaged."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from hlgp_dist.data.augment import to_float
from hlgp_dist.data.batches import evaluation_batches
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.data.transfer import to_device
from hlgp_dist.engine.collectives import reduce_sum
from hlgp_dist.errors import NonFiniteLoss
from hlgp_dist.train.learner import Learner
from hlgp_dist.types import TaskSpec, World


@dataclass(frozen=True)
class Counts:
    """Test pictures of one task: how many, and how many were right in which sense.

    right: the class, among all seen; task_right: the task, by the matching weights or else the predicted class's;
    oracle_right: the class among all seen, under the true task's prompts; within_right: the class among the true
    task's, under its prompts. These two are None unless the oracle was asked for. task_weights: the mean weight that
    each task's prompts got, None where the method gives none.
    """

    total: int
    right: int
    task_right: int
    oracle_right: int | None
    within_right: int | None
    task_weights: tuple[float, ...] | None


class Judged(NamedTuple):
    """verdicts: booleans [5, B], logits not finite, then as in Counts (the oracle's are False where it is not asked
    for); weights: of each task's prompts [B, T], zeros where the method gives none."""

    verdicts: Tensor
    weights: Tensor


@torch.no_grad()
def evaluate_task(
    learner: Learner,
    pictures: Pictures,
    true_task: TaskSpec,
    *,
    world: World,
    device: str,
    batch_size: int,
    loading: Loading,
    oracle: bool,
    is_joint: bool = False,
) -> Counts:
    """Counts over all ranks, after the learner's current task.

    is_joint: that task holds all classes, so the method cannot tell it of which tested task a picture is.

    Raises:
        NonFiniteLoss: on all ranks together, when logits are not finite: their class would mean nothing.
    """
    assert learner.task is not None
    learner.eval()
    sums = torch.zeros(6 + learner.task.index + 1, dtype=torch.float64, device=device)
    for batch in evaluation_batches(pictures, world=world, batch_size=batch_size, loading=loading):
        there = to_device(batch, device)
        assert isinstance(there.images, Tensor)
        counted = there.weights > 0
        images = to_float(there.images, loading.memory)
        verdicts, weights = _judge(learner, images, there.labels, true_task, oracle=oracle, is_joint=is_joint)
        counts = (torch.cat([torch.ones_like(verdicts[:1]), verdicts]) & counted).sum(1)
        sums += torch.cat([counts, torch.where(counted[:, None], weights, 0.0).sum(0)])
    summed = reduce_sum(sums).tolist()
    total, not_finite, right, task_right, oracle_right, within_right = map(int, summed[:6])
    weights_of = summed[6:]
    if not_finite:
        raise NonFiniteLoss(f"logits of {not_finite} of the {total} pictures of task {true_task.index} are not finite")
    assert total == len(pictures), f"{total} of {len(pictures)} test pictures were seen"
    return Counts(
        total,
        right,
        task_right,
        oracle_right if oracle else None,
        within_right if oracle else None,
        tuple(weight / total for weight in weights_of) if any(weights_of) else None,
    )


def _judge(
    learner: Learner, images: Tensor, labels: Tensor, true_task: TaskSpec, *, oracle: bool, is_joint: bool
) -> Judged:
    assert learner.task is not None
    output = learner.predict(images)
    predicted = output.logits.argmax(1)
    given = output.task_weights if not is_joint else None
    if given is not None:
        task_right = given.argmax(1) == true_task.index
    else:
        task_right = (predicted >= true_task.start) & (predicted < true_task.stop)
        given = torch.zeros(len(images), learner.task.index + 1, device=images.device)
    judged = [~output.logits.isfinite().all(1), predicted == labels, task_right]
    if oracle:
        known = output.logits
        if learner.method.takes_task_weights and not is_joint:
            weights = learner.method.known_task(true_task.index, learner.task.index + 1, images.device)
            known = learner.predict(images, weights).logits
        within = known[:, true_task.start : true_task.stop].argmax(1) + true_task.start
        judged += [known.argmax(1) == labels, within == labels]
    else:
        judged += [torch.zeros_like(task_right)] * 2
    return Judged(torch.stack(judged), given.double())
