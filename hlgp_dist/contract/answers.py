"""What a method may say of pictures: of each by itself, of seen classes alone, and under an oracle's task weights.

B batch, C classes seen so far, T tasks seen so far.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from hlgp_dist.contract.demand import RTOL, require, require_same, when
from hlgp_dist.contract.rehearsal import Rehearsal, random_pictures
from hlgp_dist.methods.base import Output

BATCHES = (1, 1, 1, 2, 11, 17)
"""Pictures that are shown together; beside them all are shown at once."""


@torch.no_grad()
def check_wherever_training_leads(rehearsal: Rehearsal) -> None:
    """Take a method through the tasks with noise in place of training.

    Steps towards few pictures may hide a neighbour's part: keys that are pulled to every query are soon all chosen.
    """
    for task in rehearsal.tasks:
        rehearsal.begin(task)
        rehearsal.scatter()
        check_composition(rehearsal)
        rehearsal.end()
        check_composition(rehearsal)
    if rehearsal.method.takes_task_weights:
        logits = [output.logits for output in _oracle_outputs(rehearsal, random_pictures(5))]
        require(
            any(not torch.equal(one, other) for one, other in pairwise(logits)),
            "takes_task_weights is True, and the logits are the same whichever task the given weights name, so "
            "oracle_task_accuracy would be no oracle's",
        )


def check_predictions(rehearsal: Rehearsal) -> None:
    """After a task, and under an oracle's task weights too."""
    check_composition(rehearsal)
    if rehearsal.method.takes_task_weights:
        images = random_pictures(5)
        for output in _oracle_outputs(rehearsal, images):
            check_output(output, rehearsal, len(images))


def _oracle_outputs(rehearsal: Rehearsal, images: Tensor) -> list[Output]:
    """As if all pictures were known to be of one task, for each seen task."""
    seen, known_task = rehearsal.task.index + 1, rehearsal.method.known_task
    return [rehearsal.output(images, known_task(index, seen, images.device)) for index in range(seen)]


def check_output(output: Output, rehearsal: Rehearsal, count: int) -> None:
    """Logits [B, C] of the seen classes alone, task weights [B, T] that are a distribution, penalties [B]."""
    task, now = rehearsal.task, when(rehearsal)
    shapes = {"logits": (count, task.stop), "task_weights": (count, task.index + 1), "penalties": (count,)}
    for name, tensor in output._asdict().items():
        if tensor is None:
            continue
        require(
            tensor.shape == shapes[name],
            f"{name} of {count} pictures {now} must be {list(shapes[name])}, they are {list(tensor.shape)}",
        )
        require(tensor.isfinite().all(), f"{name} {now} are not finite")
    if output.task_weights is not None:
        require((output.task_weights >= 0).all(), f"some task_weights {now} are negative")
        require_same(output.task_weights.sum(1), torch.ones(count), f"task_weights {now} must add up to one", RTOL)


@torch.no_grad()
def check_composition(rehearsal: Rehearsal) -> None:
    """A picture counts, and size, order and neighbours of its batch do not, in training and after it."""
    count = sum(BATCHES)
    images = random_pictures(count)
    straight, shuffled = torch.arange(count), torch.randperm(count, generator=torch.Generator().manual_seed(1))
    whole = answers(rehearsal, images)
    logits = whole["logits"]
    require((logits != logits[0]).any(), f"the logits {when(rehearsal)} are the same for every picture")
    for sizes, order in [(BATCHES, straight), (BATCHES, shuffled), ((count,), shuffled)]:
        parts = [answers(rehearsal, part) for part in images[order].split(sizes)]
        for name, expected in whole.items():
            found = torch.cat([part[name] for part in parts])[order.argsort()]
            require_same(
                found,
                expected,
                f"{name} of a picture {when(rehearsal)} depend on the rest of its batch: {count} pictures in batches "
                f"of {', '.join(map(str, sizes))}{' and shuffled' if order is shuffled else ''}, and all at once",
                RTOL,
            )


def answers(rehearsal: Rehearsal, images: Tensor) -> dict[str, Tensor]:
    """All that a method says of pictures, [B, ...] each."""
    output = rehearsal.output(images)
    check_output(output, rehearsal, len(images))
    found = {name: tensor for name, tensor in output._asdict().items() if tensor is not None}
    if rehearsal.learner.training or not rehearsal.method.has_gradients:
        return found
    features = rehearsal.method.features(rehearsal.trunk, images, rehearsal.task.index)
    shape = (len(images), rehearsal.trunk.dimensions.feature_width)
    require(features.shape == shape, f"features() must be {list(shape)}, they are {list(features.shape)}")
    return found | {"features": features}
