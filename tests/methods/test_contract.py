"""Every method that ships keeps the contract of `contract.py`, and trains what it says."""

from __future__ import annotations

import pytest
import torch

from hlgp_dist.config import method_options as options
from hlgp_dist.models.trunk import Trunk
from tests.methods.contract import check_batch_composition, check_later_tasks, check_state, pictures
from tests.rehearsal import Rehearsal

CURRENT = {"train_mixture": "current"}
METHODS: dict[str, options.Method] = {
    "hlgp": options.Hlgp(),
    "hlgp auxiliary": options.Hlgp(matching=options.AuxiliaryMatching(kind="auxiliary"), **CURRENT),
    "hlgp prototype": options.Hlgp(matching=options.PrototypeMatching(kind="prototype"), **CURRENT),
    "hlgp combined": options.Hlgp(
        matching=options.AuxiliaryMatching(kind="auxiliary"), prediction="combined", **CURRENT
    ),
    "hlgp tokens": options.Hlgp(insertion="tokens"),
    "hlgp cls": options.Hlgp(insertion="cls", prompt_length=1),
    "hlgp ema": options.Hlgp(accumulation="ema"),
    "hlgp sum_delta": options.Hlgp(accumulation="sum_delta"),
    "hlgp multiplicative": options.Hlgp(position=options.MultiplicativePosition(kind="multiplicative")),
    "independent": options.Independent(kind="independent"),
    "l2p": options.L2p(kind="l2p", pool_size=4, prompt_length=3, top_k=2),
    "l2p++": options.L2p(kind="l2p", pool_size=4, prompt_length=3, top_k=2, insertion="prefix"),
    "dualprompt": options.DualPrompt(kind="dualprompt"),
    "coda": options.Coda(kind="coda", num_components=9, orthogonality=0.1),
    "apt": options.Apt(kind="apt"),
    "linear": options.Linear(kind="linear"),
    "ncm": options.NearestMean(kind="ncm"),
    "gaussian": options.Gaussian(kind="gaussian"),
    "ranpac": options.RanPac(kind="ranpac", projection_width=50, features="pooled_and_patches"),
}
FORWARD_ONLY = ("ncm", "gaussian", "ranpac")


@pytest.fixture(scope="module", params=METHODS)
def learned(request: pytest.FixtureRequest, trunk: Trunk, tasks) -> tuple[str, Rehearsal]:
    rehearsal = Rehearsal(trunk, tasks, METHODS[request.param])
    for task in tasks:
        rehearsal.learn(task)
    return request.param, rehearsal


def test_predictions_do_not_depend_on_the_batch(learned: tuple[str, Rehearsal]) -> None:
    check_batch_composition(learned[1])


def test_the_state_is_all_there_is(learned: tuple[str, Rehearsal]) -> None:
    name, rehearsal = learned
    check_state(rehearsal, METHODS[name])


def test_logits_are_of_the_seen_classes_and_differ_between_pictures(learned: tuple[str, Rehearsal]) -> None:
    _, rehearsal = learned
    output = rehearsal.output(pictures(5), rehearsal.tasks[-1])
    assert output.logits.shape == (5, 6) and output.logits.isfinite().all()
    assert (output.logits.std(0) > 0).all()
    if output.task_weights is not None:
        assert output.task_weights.shape == (5, 3)
        torch.testing.assert_close(output.task_weights.sum(1), torch.ones(5))


@pytest.mark.parametrize("name", METHODS)
def test_old_rows_of_the_head_stay(name: str, trunk: Trunk, tasks) -> None:
    check_later_tasks(Rehearsal(trunk, tasks, METHODS[name]))


@pytest.mark.parametrize("name", [name for name in METHODS if name not in (*FORWARD_ONLY, "linear")])
def test_every_trained_parameter_gets_a_gradient_in_every_task(name: str, trunk: Trunk, tasks) -> None:
    rehearsal = Rehearsal(trunk, tasks, METHODS[name])
    for task in tasks[:2]:
        rehearsal.begin(task)
        rehearsal.disturb()
        output = rehearsal.output(pictures(6), task)
        loss = output.logits[:, task.start :].logsumexp(1).sum()
        loss = loss if output.penalties is None else loss + output.penalties.sum()
        trained = rehearsal.method.trained(task)
        gradients = torch.autograd.grad(loss, trained)
        assert all(gradient.any() for gradient in gradients)
        rehearsal.end(task)
