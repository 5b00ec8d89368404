"""How alike prompts are: known vectors, then what every method tells of prompts that were put there by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hlgp_dist.config import hlgp_options, method_options
from hlgp_dist.contract.rehearsal import TASKS, Rehearsal, tiny_trunk
from hlgp_dist.methods.diagnostics import alike, by_group, cosines, ratio_of_norms
from tests.methods.test_contract import METHODS

HALF = math.sqrt(0.5)
VECTORS = torch.tensor([[[3.0], [0.0]], [[1.0], [1.0]], [[-2.0], [0.0]], [[0.0], [0.0]]])
"""[4, 2, 1]: to the right, up to the right, to the left, nothing."""
EXPECTED = torch.tensor([[1, HALF, -1, 0], [HALF, 1, -HALF, 0], [-1, -HALF, 1, 0], [0, 0, 0, 0]])


def test_cosines_of_known_vectors() -> None:
    torch.testing.assert_close(cosines(VECTORS), EXPECTED)


def test_the_mean_is_over_pairs_of_different_ones() -> None:
    told = alike(VECTORS[:3], "block", [2, 5, 7])
    assert told.numbers == {"similarity_between_blocks": pytest.approx(-1 / 3)}
    likeness = told.likenesses["similarity_of_blocks"]
    assert (likeness.of, likeness.names) == ("block", ("2", "5", "7"))
    torch.testing.assert_close(likeness.cosines, EXPECTED[:3, :3])
    assert alike(VECTORS[:1], "task").numbers == {}, "one alone is like nothing"


def test_groups_are_told_apart() -> None:
    within_and_between = by_group(EXPECTED[:3, :3], [0, 0, 1])
    assert within_and_between == {
        "similarity_within_groups": pytest.approx(HALF),
        "similarity_between_groups": pytest.approx((-1 - HALF) / 2),
    }
    assert by_group(EXPECTED[:3, :3], [0, 0, 0]).keys() == {"similarity_within_groups"}
    assert by_group(EXPECTED[:3, :3], [0, 1, 2]).keys() == {"similarity_between_groups"}


def test_a_ratio_is_the_mean_over_layers() -> None:
    parts, wholes = torch.tensor([[3.0, 4.0], [0.0, 1.0]]), torch.tensor([[0.0, 10.0], [2.0, 0.0]])
    assert ratio_of_norms(parts, wholes) == pytest.approx((0.5 + 0.5) / 2)


def learned(options: method_options.Method) -> Rehearsal:
    """After the first two tasks, each of which left noise."""
    rehearsal = Rehearsal.of(options)
    for task in TASKS[:2]:
        rehearsal.begin(task)
        rehearsal.scatter()
        rehearsal.end()
    return rehearsal


def cosine(one: Tensor, other: Tensor) -> float:
    return float(torch.dot(one.flatten(), other.flatten()) / one.norm() / other.norm())


@pytest.mark.parametrize("kind", ["learned", "multiplicative", "sinusoidal", "none"])
@torch.no_grad()
def test_hlgp_tells_of_its_layers_prompts(kind: str) -> None:
    positions: dict[str, hlgp_options.Position] = {
        "learned": hlgp_options.LearnedPosition(kind="learned"),
        "multiplicative": hlgp_options.MultiplicativePosition(kind="multiplicative"),
        "sinusoidal": hlgp_options.SinusoidalPosition(kind="sinusoidal"),
        "none": hlgp_options.NoPosition(kind="none"),
    }
    options = hlgp_options.Hlgp(prompt_length=2, num_groups=2, layers=[0, 2, 3, 5], position=positions[kind])
    rehearsal = learned(options)
    told, method = rehearsal.method.diagnostics(), rehearsal.method
    prompts = method.prompts(2).mixed(torch.eye(2))
    blocks = [prompts.prompt(block) for block in (0, 2, 3, 5)]  # [T, P, L, D] of each
    first, second = (torch.stack([block[task] for block in blocks]) for task in (0, 1))
    assert told.numbers["similarity_between_tasks"] == pytest.approx(cosine(first, second), abs=1e-6)
    within = (cosine(second[0], second[1]) + cosine(second[2], second[3])) / 2
    assert told.numbers["similarity_within_groups"] == pytest.approx(within, abs=1e-6)
    assert told.likenesses["similarity_of_blocks"].names == ("0", "2", "3", "5")
    assert told.likenesses["similarity_of_tasks"].cosines.shape == (2, 2)
    if kind == "none":
        assert within == pytest.approx(1.0) and "position_ratio" not in told.numbers
        return
    shared = method.bank.sub_prompts[1, [0, 0, 1, 1]]
    ratios = [((second[n] - shared[n]).norm() / shared[n].norm()).item() for n in range(4)]
    assert told.numbers["position_ratio"] == pytest.approx(sum(ratios) / 4, rel=1e-5)


def test_independent_prompts_have_a_group_a_layer() -> None:
    told = learned(hlgp_options.Independent(kind="independent", prompt_length=2)).method.diagnostics()
    assert told.numbers.keys() == {"similarity_between_groups", "similarity_between_tasks"}


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        ("l2p", {"component"}),
        ("coda", {"component"}),
        ("dualprompt", {"task"}),
        ("apt", {"block"}),
        ("linear", set()),
        ("ncm", set()),
    ],
)
def test_what_a_rival_tells(kind: str, names: set[str]) -> None:
    rehearsal = learned(METHODS[kind]) if METHODS[kind].takes_gradients else Rehearsal.of(METHODS[kind])
    told = rehearsal.method.diagnostics()
    assert told.numbers.keys() == {f"similarity_between_{name}s" for name in names}
    assert told.likenesses.keys() == {f"similarity_of_{name}s" for name in names}
    assert tiny_trunk().dimensions.depth == 6
    sizes = {"component": {"l2p": 4, "coda": 6}, "task": {"dualprompt": 2}, "block": {"apt": 6}}
    for likeness in told.likenesses.values():
        assert len(likeness.names) == len(likeness.cosines) == sizes[likeness.of][kind]
        assert likeness.cosines.abs().max() <= 1.0
