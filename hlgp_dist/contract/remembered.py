"""What a method remembers: all of it in its state, which is saved, and all that tests need counted as stored."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from hlgp_dist.config import method_options
from hlgp_dist.contract.answers import answers
from hlgp_dist.contract.demand import listed, require, require_same, when
from hlgp_dist.contract.rehearsal import Rehearsal, random_pictures
from hlgp_dist.types import TaskSpec

State = dict[str, Tensor]


@torch.no_grad()
def check_answers_of_a_restored(rehearsal: Rehearsal) -> None:
    """The state dict is the whole of what a method knows, inside a task and after it."""
    twin, images = _restored(rehearsal), random_pictures(3)
    for name, answer in answers(rehearsal, images).items():
        require_same(
            answers(twin, images)[name],
            answer,
            f"{name} {when(rehearsal)} of a method that was restored from the state dict (memory belongs into "
            "buffers, made in __init__), and of the method itself",
        )


def state_of_a_restored(rehearsal: Rehearsal, go_on: Callable[[Rehearsal], None]) -> State:
    """What a fresh method comes to that takes over here, by no more than the state; nothing is drawn from torch's
    own generator."""
    twin = _restored(rehearsal)
    with torch.random.fork_rng(devices=[]):
        go_on(twin)
    return twin.state()


def check_same_state(rehearsal: Rehearsal, restored: State, where: str) -> None:
    """It comes to what the method itself comes to: no list of old pictures that training or `end_task` looks at."""
    own = rehearsal.state()
    unlike = [name for name in own if not torch.equal(own[name], restored[name])]
    require(
        not unlike,
        f"{listed(unlike)} {when(rehearsal)} differ between a method that was restored from the state dict {where} "
        "(memory belongs into buffers, made in __init__) and the method itself",
    )


def _restored(rehearsal: Rehearsal) -> Rehearsal:
    twin = Rehearsal.of(rehearsal.options)
    late = sorted(rehearsal.state().keys() ^ twin.state().keys())
    require(not late, f"{listed(late)}: a state dict must hold the same names at all times; make them in __init__")
    twin.resume(rehearsal)
    return twin


@torch.no_grad()
def check_stored(rehearsal: Rehearsal) -> None:
    """`num_stored_parameters` counts all that predictions need: what is not counted may as well be noise."""
    method, now = rehearsal.method, when(rehearsal)
    told, kept = method.num_stored_parameters(), method.kept()
    numbers = sum(tensor.numel() for tensor in kept)
    require(told == numbers, f"num_stored_parameters() is {told:,} {now}, kept() holds {numbers:,} numbers")
    twin, images = _restored(rehearsal), random_pictures(3)
    counted = [_place(tensor) for tensor in kept]
    random = torch.Generator().manual_seed(3)
    own, theirs = method.state_dict(), twin.method.state_dict()
    uncounted = [name for name in own if _place(own[name]) not in counted]
    before = answers(twin, images)
    for name in uncounted:
        _disturb(theirs[name], random)
    left_out = listed(f"method.{name}" for name in uncounted)
    for name, answer in answers(twin, images).items():
        require(torch.equal(answer, before[name]), f"{name} {now} depend on {left_out}, which kept() leaves out")


def _place(tensor: Tensor) -> tuple[int, torch.Size]:
    """The same for two views of all of one tensor."""
    return tensor.data_ptr(), tensor.shape


def _disturb(tensor: Tensor, random: torch.Generator) -> None:
    if tensor.is_floating_point():
        tensor.add_(torch.randn(tensor.shape, generator=random))
    elif tensor.dtype == torch.bool:
        tensor.logical_not_()
    else:
        tensor.add_(1)


def check_nothing_hidden(options: method_options.Method) -> None:
    """No old picture outlives its task but in the state. What follows from the state may be at hand as well, and is no
    larger."""
    rehearsal = Rehearsal.of(options)
    first, *others = rehearsal.tasks
    before = _hidden(rehearsal, [first])
    grown = _hidden(rehearsal, others) - before
    require(
        grown <= sum(tensor.numel() for tensor in rehearsal.state().values()),
        f"from task to task {grown:,} numbers more are kept outside of the state dict; memory belongs into buffers, "
        "which are saved and counted",
    )


def _hidden(rehearsal: Rehearsal, tasks: Iterable[TaskSpec]) -> int:
    """Numbers in all tensors that live after the tasks, but those that a checkpoint holds."""
    for task in tasks:
        rehearsal.learn(task)
        rehearsal.output(random_pictures(5))
    saved = {tensor.data_ptr() for part in rehearsal.learner.saved().values() for tensor in part.state_dict().values()}
    gc.collect()
    living = [thing for thing in gc.get_objects() if type(thing) in (Tensor, nn.Parameter)]
    return sum(tensor.numel() for tensor in living if tensor.data_ptr() not in saved)
