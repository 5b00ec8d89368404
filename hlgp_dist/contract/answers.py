"""What a method may say of pictures: of each by itself, of seen classes alone, and under an oracle's task weights.

B batch, C classes seen so far, T tasks seen so far.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from hlgp_dist.config.schema import Evaluation
from hlgp_dist.contract.demand import RTOL, listed, require, require_same, when
from hlgp_dist.contract.rehearsal import Rehearsal, random_pictures
from hlgp_dist.methods.base import Output
from hlgp_dist.methods.diagnostics import Diagnostics

BATCHES = (1, 1, 1, 2, 11, 17)
"""Pictures that are shown together."""
AT_ONCE = Evaluation().batch_size
"""As many as a run tests together by default; those of BATCHES are the first among them."""


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
    check_shared(rehearsal)
    if rehearsal.method.takes_task_weights:
        images = random_pictures(5)
        for output in _oracle_outputs(rehearsal, images):
            check_output(output, rehearsal, len(images))


@torch.no_grad()
def check_shared(rehearsal: Rehearsal) -> None:
    """What is below `first_block` is the same in all passes."""
    images, method, depth = random_pictures(5), rehearsal.method, rehearsal.trunk.dimensions.depth
    require(0 <= method.first_block < depth, f"first_block is {method.first_block}, the trunk has 0..{depth - 1}")
    require_same(
        rehearsal.output(images).logits,
        method(rehearsal.trunk, rehearsal.head, images, rehearsal.task).logits,
        f"first_block is {method.first_block}: the logits {when(rehearsal)}, computed once below it, and in each pass",
        RTOL,
    )


def _oracle_outputs(rehearsal: Rehearsal, images: Tensor) -> list[Output]:
    """As if all pictures were known to be of one task, for each seen task."""
    seen, known_task = rehearsal.task.index + 1, rehearsal.method.known_task
    return [rehearsal.output(images, known_task(index, seen, images.device)) for index in range(seen)]


def check_output(output: Output, rehearsal: Rehearsal, count: int) -> None:
    """Finite numbers, and task weights [B, T] that are a distribution; the learner has checked the shapes."""
    now = when(rehearsal)
    for name, tensor in output._asdict().items():
        require(tensor is None or tensor.isfinite().all(), f"{name} {now} are not finite")
    if output.task_weights is not None:
        require((output.task_weights >= 0).all(), f"some task_weights {now} are negative")
        require_same(output.task_weights.sum(1), torch.ones(count), f"task_weights {now} must add up to one", RTOL)


def check_diagnostics(rehearsal: Rehearsal) -> None:
    """What a method tells of its prompts can be drawn, and telling it leaves everything as it was."""
    now, state, random = when(rehearsal), rehearsal.state(), torch.get_rng_state()
    before = {name: tensor.clone() for name, tensor in state.items()}
    told = rehearsal.method.diagnostics()
    require(isinstance(told, Diagnostics), f"diagnostics() must return Diagnostics, not a {type(told).__name__}")
    for name, likeness in told.likenesses.items():
        count = len(likeness.names)
        require(
            likeness.cosines.shape == (count, count),
            f"{name} of {count} prompts {now} must be {[count, count]}, they are {list(likeness.cosines.shape)}",
        )
        require((likeness.cosines.abs() <= 1.0).all(), f"{name} {now} are not all in -1..1")
    after = rehearsal.state()
    changed = [name for name in before if not torch.equal(after[name], before[name])]
    require(not changed, f"diagnostics() changed {listed(changed)} {now}")
    require(torch.equal(torch.get_rng_state(), random), "diagnostics() drew from torch's own generator")


@torch.no_grad()
def check_composition(rehearsal: Rehearsal) -> None:
    """A picture counts, and size, order and neighbours of its batch do not, in training and after it."""
    images = random_pictures(AT_ONCE)
    whole = answers(rehearsal, images)
    logits = whole["logits"]
    require((logits != logits[0]).any(), f"the logits {when(rehearsal)} are the same for every picture")
    few = torch.arange(sum(BATCHES))
    for sizes, order in [(BATCHES, few), (BATCHES, _shuffled(few)), ((AT_ONCE,), _shuffled(torch.arange(AT_ONCE)))]:
        parts = [answers(rehearsal, part) for part in images[order].split(sizes)]
        for name, expected in whole.items():
            require_same(
                torch.cat([part[name] for part in parts]),
                expected[order],
                f"{name} of a picture {when(rehearsal)} depend on the rest of its batch: {len(order)} pictures in "
                f"batches of {', '.join(map(str, sizes))}{'' if order is few else ' and shuffled'}, and among "
                f"{AT_ONCE} at once",
                RTOL,
            )


def _shuffled(order: Tensor) -> Tensor:
    return order[torch.randperm(len(order), generator=torch.Generator().manual_seed(1))]


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
