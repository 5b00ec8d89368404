"""What a run relies on in every method; a plug-in that keeps it works in runs, searches and reports.

    check_method(Options(kind="one_prompt"))

B batch, C classes seen so far, T tasks seen so far.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from hlgp_dist.config import method_options
from hlgp_dist.errors import ConfigError, Failure
from hlgp_dist.methods.base import Output, Setting
from hlgp_dist.methods.build import build_method
from hlgp_dist.train.rehearsal import TASKS, Batch, Rehearsal, random_pictures, tiny_trunk

RTOL = 1e-5
"""Of the largest value: fp32 in batches of another size."""
GRADIENT_RTOL = 1e-4
"""A gradient passes the blocks twice, and is small where its terms cancel."""


class ContractBroken(Failure, AssertionError):
    """The message says what a method did, what it must do, and by how much they differ."""


def check_method(options: method_options.Method) -> None:
    """Take the method through three unequal tasks on a small random trunk.

    Raises:
        ContractBroken: at the first thing that is not as it must be.
    """
    _check_building(options)
    rehearsal = _rehearsal(options)
    for task in rehearsal.tasks:
        rehearsal.begin(task)
        if rehearsal.method.has_gradients:
            _check_training(rehearsal)
        rehearsal.end()
        _check_memory(rehearsal)
        _check_predictions(rehearsal)
    _check_state(rehearsal)
    _check_draws(options)


def _rehearsal(options: method_options.Method) -> Rehearsal:
    return Rehearsal(tiny_trunk(trained=options.trains_trunk), TASKS, options)


def _check_building(options: method_options.Method) -> None:
    """Without weights, as the checks before a run do."""
    dimensions = tiny_trunk().dimensions
    try:
        with torch.device("meta"):
            build_method(options, Setting(dimensions, TASKS, seed=0))
    except ConfigError as error:
        raise ContractBroken(str(error)) from error
    except Exception as error:  # whatever foreign code may raise
        raise ContractBroken(
            "the method cannot be built on the meta device, where it is checked before a run "
            f"({type(error).__name__}: {error})"
        ) from error


def _check_training(rehearsal: Rehearsal) -> None:
    """One task from its beginning to its last step."""
    before, images = _untrained(rehearsal), random_pictures(5)
    _check_output(rehearsal.output(images), rehearsal, len(images))
    rehearsal.train()
    _check_untouched(rehearsal, before)
    _check_composition(rehearsal)
    _check_gradients(rehearsal)
    _check_state(rehearsal)


def _check_predictions(rehearsal: Rehearsal) -> None:
    """After a task, and under an oracle's task weights too."""
    images, seen = random_pictures(5), rehearsal.task.index + 1
    _check_composition(rehearsal)
    for index in range(seen if rehearsal.method.takes_task_weights else 0):
        oracle = rehearsal.output(images, rehearsal.method.known_task(index, seen, images.device))
        _check_output(oracle, rehearsal, len(images))


def _check_output(output: Output, rehearsal: Rehearsal, count: int) -> None:
    """Logits [B, C] of the seen classes alone, task weights [B, T] that are a distribution, penalties [B]."""
    task, when = rehearsal.task, _when(rehearsal)
    shapes = {"logits": (count, task.stop), "task_weights": (count, task.index + 1), "penalties": (count,)}
    for name, tensor in output._asdict().items():
        if tensor is None:
            continue
        _require(
            tensor.shape == shapes[name],
            f"{name} of {count} pictures {when} must be {list(shapes[name])}, they are {list(tensor.shape)}",
        )
        _require(tensor.isfinite().all(), f"{name} {when} are not finite")
    if output.task_weights is not None:
        _require((output.task_weights >= 0).all(), f"some task_weights {when} are negative")
        _require_same(output.task_weights.sum(1), torch.ones(count), f"task_weights {when} must add up to one", RTOL)


@torch.no_grad()
def _check_composition(rehearsal: Rehearsal) -> None:
    """A picture counts, and size, order and neighbours of its batch do not, in training and after it."""
    images = random_pictures(15)
    straight, shuffled = torch.arange(15), torch.randperm(15, generator=torch.Generator().manual_seed(1))
    whole = _answers(rehearsal, images)
    logits = whole["logits"]
    _require((logits != logits[0]).any(), f"the logits {_when(rehearsal)} are the same for every picture")
    for size, order in [(1, straight), (7, straight), (15, shuffled), (7, shuffled)]:
        parts = [_answers(rehearsal, part) for part in images[order].split(size)]
        for name, expected in whole.items():
            found = torch.cat([part[name] for part in parts])[order.argsort()]
            _require_same(
                found,
                expected,
                f"{name} of a picture {_when(rehearsal)} depend on the rest of its batch: 15 pictures, "
                f"{size} at a time{' and shuffled' if order is shuffled else ''}, and all at once",
                RTOL,
            )


def _answers(rehearsal: Rehearsal, images: Tensor) -> dict[str, Tensor]:
    """All that a method says of pictures, [B, ...] each."""
    output = rehearsal.output(images)
    _check_output(output, rehearsal, len(images))
    answers = {name: tensor for name, tensor in output._asdict().items() if tensor is not None}
    if rehearsal.learner.training or not rehearsal.method.has_gradients:
        return answers
    features = rehearsal.method.features(rehearsal.trunk, images, rehearsal.task.index)
    shape = (len(images), rehearsal.trunk.dimensions.feature_width)
    _require(features.shape == shape, f"features() must be {list(shape)}, they are {list(features.shape)}")
    return answers | {"features": features}


def _untrained(rehearsal: Rehearsal) -> dict[str, Tensor]:
    """All that is there and that the task does not train: memory, rows of earlier tasks, the frozen trunk."""
    learner, trained = rehearsal.learner, set(_trained(rehearsal))
    everything = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in everything.items() if name not in trained}


def _trained(rehearsal: Rehearsal) -> dict[str, Tensor]:
    """What the task trains, by name."""
    trained = [parameter for group in rehearsal.learner.trained_parameters().values() for parameter in group]
    ids = {id(parameter) for parameter in trained}
    return {name: tensor for name, tensor in rehearsal.learner.named_parameters() if id(tensor) in ids}


def _check_untouched(rehearsal: Rehearsal, before: Mapping[str, Tensor]) -> None:
    """Training moves what it trains and nothing else, nor does a gradient go elsewhere."""
    after, when = _untrained(rehearsal), _when(rehearsal)
    changed = [name for name in before if name not in after or not torch.equal(after[name], before[name])]
    _require(
        not changed,
        f"{_names(changed)} changed {when}, and trained() does not name them; what is remembered is written in "
        "end_task, and the trunk and the rows of earlier tasks are frozen",
    )
    parameters = dict(rehearsal.learner.named_parameters())
    reached = [name for name in before if name in parameters and parameters[name].grad is not None]
    _require(not reached, f"{_names(reached)} got a gradient {when}, and trained() does not name them")


def _check_gradients(rehearsal: Rehearsal) -> None:
    """They reach all that the method says it trains."""
    options, when, trained = rehearsal.options, _when(rehearsal), _trained(rehearsal)
    _require(
        any(name.startswith("method.") for name in trained) or options.trains_trunk or not options.trains_prompts,
        f"trained() names nothing {when}, so optimizer.prompt_lr has no effect: trains_prompts of the options must be "
        "False",
    )
    if len(rehearsal.task.classes) == 1:
        return  # nothing can be told apart, so cross-entropy has no gradient
    gradients = _gradients(rehearsal, rehearsal.batch())
    missing = [name for name, gradient in gradients.items() if not gradient.any()]
    _require(not missing, f"trained() names {_names(missing)}, which the loss {when} does not depend on")
    _check_shares(rehearsal, gradients)


def _check_shares(rehearsal: Rehearsal, whole: Mapping[str, Tensor]) -> None:
    """A batch's gradients are the sum of its shares', one of which is the placeholder of an empty share."""
    batch = rehearsal.batch()
    some, others = (Batch(*parts) for parts in zip(*(tensor.tensor_split([3]) for tensor in batch), strict=True))
    placeholder = Batch(batch.images[:1], batch.labels[:1], torch.zeros(1))
    shares = [_gradients(rehearsal, share) for share in (some, others, placeholder)]
    for name, gradient in whole.items():
        _require_same(
            torch.stack([share[name] for share in shares]).sum(0),
            gradient,
            f"the gradient of {name} {_when(rehearsal)}, summed over the shares of a batch (the last is a placeholder "
            "of weight zero), and that of the whole batch",
            GRADIENT_RTOL,
        )


def _gradients(rehearsal: Rehearsal, batch: Batch) -> dict[str, Tensor]:
    """Of the loss, by the name of what is trained; zeros where the loss does not depend on it."""
    trained = _trained(rehearsal)
    loss, _ = rehearsal.learner(*batch)
    gradients = torch.autograd.grad(loss, [*trained.values()], allow_unused=True, materialize_grads=True)
    return dict(zip(trained, gradients, strict=True))


def _check_memory(rehearsal: Rehearsal) -> None:
    """What a task leaves behind takes no part in later gradients."""
    attached = [name for name, tensor in rehearsal.learner.named_buffers() if tensor.requires_grad]
    _require(not attached, f"end_task remembers {_names(attached)} with a gradient; detach what is remembered")


@torch.no_grad()
def _check_state(rehearsal: Rehearsal) -> None:
    """The state dict is the whole of what a method knows, inside a task and after it."""
    resumed, images = _rehearsal(rehearsal.options), random_pictures(3)
    late = sorted(rehearsal.state().keys() ^ resumed.state().keys())
    _require(not late, f"{_names(late)}: a state dict must hold the same names at all times; make them in __init__")
    resumed.resume(rehearsal)
    for name, answer in _answers(rehearsal, images).items():
        _require_same(
            _answers(resumed, images)[name],
            answer,
            f"{name} {_when(rehearsal)} of a method that was restored from the state dict (memory belongs into "
            "buffers, made in __init__), and of the method itself",
        )


def _check_draws(options: method_options.Method) -> None:
    """The seed decides alone, so that ranks agree and a resumed run repeats itself."""
    states = []
    for global_seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            rehearsal = _rehearsal(options)
            rehearsal.learn(TASKS[0])
            rehearsal.begin(TASKS[1])
        states.append(rehearsal.state())
    first, second = states
    unlike = [name for name in first if not torch.equal(first[name], second[name])]
    _require(
        not unlike,
        f"{_names(unlike)} differ between two builds with one seed; draw from a generator that setting.seed and "
        "task.index make, not from torch's own",
    )


def _when(rehearsal: Rehearsal) -> str:
    return f"{'while training' if rehearsal.learner.training else 'after'} task {rehearsal.task.index}"


def _names(names: Iterable[str]) -> str:
    return ", ".join(names)


def _require(holds: object, sentence: str) -> None:
    if not holds:
        raise ContractBroken(sentence)


def _require_same(found: Tensor, expected: Tensor, sentence: str, rtol: float = 0.0) -> None:
    """Of one shape, and no further apart than `rtol` of the largest value; without, bit for bit."""
    difference, largest = (found - expected).abs().max().item(), expected.abs().max().item()
    _require(
        difference <= rtol * largest,
        f"{sentence}, differ by {difference:.2g}, where the largest value is {largest:.2g}",
    )
