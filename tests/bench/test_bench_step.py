"""`hlgp bench step` as a user calls it."""

from __future__ import annotations

import gc
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from typer.testing import CliRunner

from hlgp_dist.bench.stepping import clock
from hlgp_dist.bench.stepping.clock import Clock
from hlgp_dist.bench.stepping.memory import measured_parts
from hlgp_dist.bench.stepping.options import StepOptions, step_options
from hlgp_dist.bench.stepping.parts import REPEATS, WARM_UP, StandIn, StepParts
from hlgp_dist.bench.stepping.plain import Unfused
from hlgp_dist.bench.stepping.stepper import Stepper, joined
from hlgp_dist.bench.timing import torch_threads
from hlgp_dist.cli import app
from hlgp_dist.config.load import resolve
from hlgp_dist.errors import ConfigError, OutOfMemory
from hlgp_dist.models.attention import attend
from hlgp_dist.models.backbone import meta_trunk
from hlgp_dist.train.estimate.formulae import backward_flops, forward_flops, pass_shape, shared_flops

SMALL = ("--backbone", "vit_tiny_patch16_224", "--size", "32", "--batch", "4", "--rounds", "2", "--classes", "3")
LENGTH = 10
WITHOUT_EFFECT = ("train.global_batch_size=64", "engine.micro_batch_size=2", "launch.num_workers=4")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Two wait for each other wherever something else has a core."""
    with torch_threads(1):
        yield


def measured(folder: Path, *flags: str) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["bench", "step", *SMALL, "--json", str(folder / "step.json"), *flags])
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads((folder / "step.json").read_text())
    return report | {"printed": result.output}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("step")
    report = measured(folder, "--compare", "plain", "--profile", str(folder / "trace.json"))
    return report | {"trace": json.loads((folder / "trace.json").read_text())}


def test_rates_and_the_part_of_the_peak_agree(report: dict[str, Any]) -> None:
    for name, mfu in (("train", "mfu"), ("eval", "eval_mfu"), ("first_task_train", "first_task_mfu")):
        rate = report[f"{name}_images_per_second"]
        assert report[mfu] == pytest.approx(rate * report["flops_per_image"][name] / report["gemm_peak_flops"])
        assert report["speed_up"][name] == pytest.approx(rate / report[f"plain_{name}_images_per_second"])
        assert len(report["seconds"][name]) == 2
    assert report["gemm_peak_flops"] == max(report["gemm_flops"].values())
    assert report["peak_memory_bytes"] > 0
    assert report["passes"] == {"training": 2, "test": 2}
    assert "training, task 5" in report["printed"] and "the peak" in report["printed"]


def test_only_what_the_method_needs_is_counted(report: dict[str, Any]) -> None:
    """By the formulae of docs/plan.md: one pass in the first task, then one more without a gradient, which leaves the
    embedding to the other. Prompts' generator and head, which the formulae leave out, are 1 % of so small a picture's.
    """
    backbone = resolve({"data": {"path": "none"}, "backbone": report["config"]["backbone"]}).config.backbone
    shape = pass_shape(meta_trunk(backbone))
    forward, backward = forward_flops(shape, LENGTH), backward_flops(shape, LENGTH, "cpu")
    flops, both = report["flops_per_image"], 2 * forward - shared_flops(shape)
    assert flops["first_task_train"] == pytest.approx(forward + backward, rel=0.02)
    assert flops["train"] == pytest.approx(both + backward, rel=0.02)
    assert flops["eval"] == pytest.approx(both, rel=0.02)


def test_the_parts_are_the_step(report: dict[str, Any]) -> None:
    parts = report["parts_ms"]
    step = sorted(report["seconds"]["train"])
    assert sum(parts.values()) == pytest.approx(1e3 * (step[0] + step[1]) / 2)
    assert all(parts[name] > 0 for name in parts if name != "other")


def test_memory_is_measured_part_by_part(report: dict[str, Any]) -> None:
    foreseen, measured = report["memory_bytes"]["foreseen"], report["memory_bytes"]["measured"]
    assert foreseen.keys() == measured.keys()
    for part in ("trunk, frozen", "prompts and head", "optimizer state"):
        assert measured[part] == foreseen[part] > 0
    peak = "activations and workspace at the peak"
    assert measured["activations saved"] == pytest.approx(foreseen["activations saved"], rel=0.1)
    assert foreseen["activations saved"] < measured[peak] == pytest.approx(foreseen[peak], rel=0.1)
    assert report["peak_memory_bytes"] > measured["trunk, frozen"] + measured[peak]
    assert "all in all, in a step of the first task" in report["printed"]


def options_of(*overrides: str, tasks: int) -> StepOptions:
    return step_options(
        backbone="vit_tiny_patch16_224",
        method="hlgp",
        batch_size=2,
        size=32,
        precision="bf16",
        compiled=False,
        tasks=tasks,
        classes=2,
        rounds=1,
        yardstick=None,
        overrides=overrides,
    )


def test_what_passes_share_is_no_part_of_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a step's two passes the matching is timed whole, the one that trains without what it has from the other."""
    monkeypatch.setitem(clock.LEAST, "cpu", 0.0)
    options, calls = options_of("method.layers=[8,9,10,11]", "method.num_groups=2", tasks=2), Counter[int]()
    with joined("cpu"):
        stepper = Stepper(options)
        stepper.begin(options.tasks[-1])
        for index, block in enumerate(stepper.learner.trunk.vit.blocks):
            block.register_forward_hook(lambda module, inputs, output, index=index: calls.update([index]))
        StepParts(stepper, Clock("cpu"))(1.0)
        stepper.close()
    timed = WARM_UP + REPEATS
    steps, whole, filled, trained = 1 + timed, timed, 1, 2 * timed
    assert calls[7] == steps + whole + filled
    assert calls[8] == 2 * steps + whole + filled + trained


def graphs() -> set[int]:
    """Of all tensors that somebody holds, those that a backward pass could begin at."""
    gc.collect()
    return {id(each) for each in gc.get_objects() if type(each) is Tensor and each.grad_fn is not None}


def test_a_forward_pass_is_not_kept() -> None:
    """Autograd holds what it saves, which must not hold autograd."""
    options, before = options_of(tasks=1), graphs()
    with joined("cpu"):
        stepper = Stepper(options)
        stepper.begin(options.tasks[0])
        measured_parts(stepper, "cpu")
        stepper.close()
        assert graphs() <= before


def test_a_step_is_told_by_operation(report: dict[str, Any]) -> None:
    """A backward pass multiplies by the weights of four linear layers in each of twelve blocks."""
    operations = {each["name"]: each for each in report["operations"]}
    assert operations["aten::mm"]["calls"] >= 12 * 4
    times = [each["ms"] for each in report["operations"]]
    assert times == sorted(times, reverse=True) and times[-1] > 0
    named = {event.get("name") for event in report["trace"]["traceEvents"]}
    assert {"aten::mm", "aten::native_layer_norm"} <= named
    assert "aten::mm" in report["printed"]


@pytest.mark.parametrize("method", ["coda", "dualprompt", "linear", "full"])
def test_every_method_is_measured(tmp_path: Path, method: str) -> None:
    report = measured(tmp_path, "--method", method, "--tasks", "2", "--precision", "fp32", "--rounds", "1")
    assert report["mfu"] > 0 and report["eval_mfu"] > 0


def test_a_method_without_gradients_has_an_evaluation(tmp_path: Path) -> None:
    report = measured(tmp_path, "--method", "ranpac", "--tasks", "2", "method.projection_width=64")
    assert report["mfu"] is report["train_images_per_second"] is None and report["parts_ms"] == {}
    assert report["eval_images_per_second"] > 0
    assert "training" not in report["printed"]


def test_a_batch_that_no_memory_holds_is_told(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "step", *SMALL, "--batch", str(10**10)])
    assert isinstance(result.exception, OutOfMemory)
    assert str(result.exception).startswith("--batch 10000000000: ") and str(result.exception).endswith("; lower it")


def test_without_memory_for_the_yardstick_the_rest_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds twice as much and more, so its batch may be the first that is too large."""

    def attended(query: Tensor, key: Tensor, value: Tensor, scale: float, device_type: str) -> Tensor:
        if query.dtype == torch.float32 and not torch.is_grad_enabled():  # as from the first task's end on
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return attend(query, key, value, scale, device_type)

    monkeypatch.setattr("hlgp_dist.models.attention.attend", attended)
    report = measured(tmp_path, "--compare", "plain")
    assert set(report["speed_up"]) == {"first_task_train"} and report["eval_mfu"] > 0
    told = "--compare plain: CUDA out of memory. Tried to allocate 2.00 GiB; lower --batch to compare"
    assert report["yardstick_missing"] == told and told in report["printed"]


def test_keys_are_those_of_a_run(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["bench", "step", *SMALL, "method.prompt_lenght=3"])
    assert isinstance(result.exception, ConfigError)
    assert "prompt_length" in str(result.exception)


def test_a_method_without_steps_has_no_profile(tmp_path: Path) -> None:
    flags = ["--method", "ncm", "--profile", str(tmp_path / "trace.json")]
    result = CliRunner().invoke(app, ["bench", "step", *SMALL, *flags])
    assert isinstance(result.exception, ConfigError)
    assert "is of a training step, and ncm has none" in str(result.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        *((word, f"{word}: has no effect on a step that is measured") for word in WITHOUT_EFFECT),
        ("--compare=bf16", "--compare=bf16: is this very step; give --precision or --compile"),
        ("engine.compile=true", "engine.compile=true: give --compile"),
        ("backbone.name=vit_small_patch16_224", "give --backbone"),
        ("--json=/", "--json=/: is a folder; give a file"),
        ("--profile=pyproject.toml/trace.json", "pyproject.toml cannot be written to"),
        ("--size=8", "backbone.img_size = 8: is smaller than one patch of 16 pixels"),
    ],
)
def test_what_has_no_effect_is_refused(words: str, message: str) -> None:
    result = CliRunner().invoke(app, ["bench", "step", *SMALL, words])
    assert isinstance(result.exception, ConfigError)
    assert message in str(result.exception)


def test_blocks_that_compute_again_hold_less_and_are_counted_once(tmp_path: Path) -> None:
    flags = ("--tasks", "1", "--rounds", "1")
    kept, again = (measured(tmp_path, *flags, f"engine.checkpoint_blocks={blocks}") for blocks in ("none", "all"))
    assert again["flops_per_image"] == kept["flops_per_image"]
    for side in ("foreseen", "measured"):
        saved = [report["memory_bytes"][side]["activations saved"] for report in (again, kept)]
        assert saved[0] < 0.5 * saved[1]


def test_a_stand_in_for_the_trunk_is_where_the_pictures_are() -> None:
    """Also where nothing is prompted, as with a linear head: zeros of a GPU would else meet a head of the host's."""
    trunk = meta_trunk(
        resolve({"data": {"path": "none"}, "backbone": {"name": "vit_tiny_patch16_224"}}).config.backbone
    )
    assert StandIn(trunk)(torch.empty(2, 3, 224, 224, device="meta")).is_meta


def test_the_yardstick_computes_the_same() -> None:
    query, key, value = (torch.randn(2, 3, tokens, 8) for tokens in (5, 7, 7))

    def attended() -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, scale=0.2)

    expected = attended()
    with Unfused():
        assert torch.allclose(attended(), expected, atol=1e-6)


def test_int8_is_measured_beside_bf16(tmp_path: Path) -> None:
    """Operations are counted as of any trunk: an integer product is a product."""
    flags = ("--method", "hlgp", "--tasks", "1", "--rounds", "1")
    rounded = measured(tmp_path, "--precision", "int8", "--compare", "bf16", *flags)
    plain = measured(tmp_path, *flags)
    assert rounded["flops_per_image"] == plain["flops_per_image"]
    rate = rounded["train_images_per_second"] / rounded["bf16_train_images_per_second"]
    assert rounded["speed_up"]["train"] == pytest.approx(rate)
    assert "int8" in rounded["printed"] and "x bf16" in rounded["printed"]
