"""What a run relies on in every method; a plug-in that keeps it works in runs, searches and reports.

`check_method(Options(kind="one_prompt"))` is the whole of its use.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from functools import partial

import torch
from torch import Tensor

from hlgp_dist.config import method_options
from hlgp_dist.contract.answers import (
    check_composition,
    check_diagnostics,
    check_output,
    check_predictions,
    check_shared,
    check_wherever_training_leads,
)
from hlgp_dist.contract.demand import ContractBroken, crash, listed, require, require_same, when
from hlgp_dist.contract.draws import check_draws
from hlgp_dist.contract.placement import check_placement
from hlgp_dist.contract.rehearsal import TASKS, Batch, Rehearsal, random_pictures, tiny_trunk
from hlgp_dist.contract.remembered import (
    check_answers_of_a_restored,
    check_nothing_hidden,
    check_same_state,
    check_stored,
    state_of_a_restored,
)
from hlgp_dist.errors import ConfigError
from hlgp_dist.methods.base import Setting
from hlgp_dist.methods.build import build_method

GRADIENT_RTOL = 1e-4
"""A gradient passes the blocks twice, and is small where its terms cancel."""


def check_method(options: method_options.Method) -> None:
    """Take the method through three unequal tasks on a small random trunk.

    Raises:
        ContractBroken: at the first thing that is not as it must be, or that the method raised.
    """
    try:
        _check(options)
    except ContractBroken:
        raise
    except Exception as error:  # whatever foreign code may raise
        raise crash(error) from error


def _check(options: method_options.Method) -> None:
    _check_building(options)
    rehearsal, trained = Rehearsal.of(options), set[str]()
    for task in rehearsal.tasks:
        learned = state_of_a_restored(rehearsal, partial(Rehearsal.learn, task=task)) if task.index else None
        rehearsal.begin(task)
        trained |= rehearsal.trained().keys()
        if rehearsal.method.has_gradients:
            _check_training(rehearsal)
        _check_end(rehearsal)
        if learned is not None:
            check_same_state(rehearsal, learned, "before it")
        check_predictions(rehearsal)
        check_stored(rehearsal)
        check_diagnostics(rehearsal)
    check_answers_of_a_restored(rehearsal)
    check_nothing_hidden(options)
    if rehearsal.method.has_gradients:
        _check_rate(options, trained)
        check_wherever_training_leads(Rehearsal.of(options))
    check_draws(options)
    check_placement(options)


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


def _check_rate(options: method_options.Method, trained: Set[str]) -> None:
    """Some task trains what follows `optimizer.prompt_lr`: many a method trains its prompts in the first one alone."""
    require(
        any(name.startswith("method.") for name in trained) or options.trains_trunk or not options.trains_prompts,
        "trained() names nothing in any task, so optimizer.prompt_lr has no effect: trains_prompts of the options "
        "must be False",
    )


def _check_training(rehearsal: Rehearsal) -> None:
    """One task from its beginning to its last step."""
    before, images = _untrained(rehearsal), random_pictures(5)
    check_output(rehearsal.output(images), rehearsal, len(images))
    rehearsal.train()
    _check_untouched(rehearsal, before)
    check_composition(rehearsal)
    check_shared(rehearsal)
    _check_gradients(rehearsal)
    check_answers_of_a_restored(rehearsal)


def _untrained(rehearsal: Rehearsal) -> dict[str, Tensor]:
    """All that is there and that the task does not train: memory, rows of earlier tasks, the frozen trunk."""
    learner, trained = rehearsal.learner, rehearsal.trained()
    everything = {**dict(learner.named_parameters()), **dict(learner.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in everything.items() if name not in trained}


def _check_untouched(rehearsal: Rehearsal, before: Mapping[str, Tensor]) -> None:
    """Training moves what it trains and nothing else, nor does a gradient go elsewhere."""
    changed, now = _changed(rehearsal, before), when(rehearsal)
    require(
        not changed,
        f"{listed(changed)} changed {now}, and trained() does not name them; what is remembered is written in "
        "end_task, and the trunk and the rows of earlier tasks are frozen",
    )
    parameters = dict(rehearsal.learner.named_parameters())
    reached = [name for name in before if name in parameters and parameters[name].grad is not None]
    require(not reached, f"{listed(reached)} got a gradient {now}, and trained() does not name them")


def _changed(rehearsal: Rehearsal, before: Mapping[str, Tensor]) -> list[str]:
    after = _untrained(rehearsal)
    return [name for name in before if name not in after or not torch.equal(after[name], before[name])]


def _check_gradients(rehearsal: Rehearsal) -> None:
    """They reach all that the method says it trains."""
    if len(rehearsal.task.classes) == 1:
        return  # nothing can be told apart, so cross-entropy has no gradient
    gradients = _gradients(rehearsal, rehearsal.batch())
    missing = [name for name, gradient in gradients.items() if not gradient.any()]
    require(not missing, f"trained() names {listed(missing)}, which the loss {when(rehearsal)} does not depend on")
    _check_shares(rehearsal, gradients)


def _check_shares(rehearsal: Rehearsal, whole: Mapping[str, Tensor]) -> None:
    """A batch's gradients are the sum of its shares', one of which is the placeholder of an empty share."""
    batch = rehearsal.batch()
    some, others = (Batch(*parts) for parts in zip(*(tensor.tensor_split([3]) for tensor in batch), strict=True))
    placeholder = Batch(batch.images[:1], batch.labels[:1], torch.zeros(1))
    shares = [_gradients(rehearsal, share) for share in (some, others, placeholder)]
    for name, gradient in whole.items():
        require_same(
            torch.stack([share[name] for share in shares]).sum(0),
            gradient,
            f"the gradient of {name} {when(rehearsal)}, summed over the shares of a batch (the last is a placeholder "
            "of weight zero), and that of the whole batch",
            GRADIENT_RTOL,
        )


def _gradients(rehearsal: Rehearsal, batch: Batch) -> dict[str, Tensor]:
    """Of the loss, by the name of what is trained; zeros where the loss does not depend on it."""
    trained = rehearsal.trained()
    loss, _ = rehearsal.learner(*batch)
    gradients = torch.autograd.grad(loss, [*trained.values()], allow_unused=True, materialize_grads=True)
    return dict(zip(trained, gradients, strict=True))


def _check_end(rehearsal: Rehearsal) -> None:
    """Ending a task writes the method's memory alone, and leaves nothing that takes part in later gradients."""
    before = {name: tensor for name, tensor in _untrained(rehearsal).items() if not name.startswith("method.")}
    ended = state_of_a_restored(rehearsal, Rehearsal.end)
    rehearsal.end()
    changed = _changed(rehearsal, before)
    require(
        not changed,
        f"end_task of task {rehearsal.task.index} changed {listed(changed)}; the trunk and the rows of earlier tasks "
        "are frozen",
    )
    attached = [name for name, tensor in rehearsal.learner.named_buffers() if tensor.requires_grad]
    require(not attached, f"end_task remembers {listed(attached)} with a gradient; detach what is remembered")
    check_same_state(rehearsal, ended, "at its end")
