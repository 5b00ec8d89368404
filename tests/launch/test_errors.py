"""What a user does wrong ends with one clear message, the documented exit code, and nothing in the runs folder."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from safetensors.torch import save_file

from hlgp_dist.cli import main
from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.models.backbone import create_vit
from hlgp_dist.shards.shard import shard
from tests.jobs import job, written


class Said(NamedTuple):
    """How the command line ended."""

    exit_code: int
    message: str


Train = Callable[..., Said]


@pytest.fixture
def train(tmp_path: Path, drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Train:
    """`hlgp train`, on the drawn pictures or other shards, with overrides."""

    def run(*overrides: str, shards: Path = drawn) -> Said:
        config_file = written(job(drawn, tmp_path / "runs" / "run"), tmp_path / "job.yaml")
        monkeypatch.setattr(sys, "argv", ["hlgp", "train", str(config_file), f"data.path={shards}", *overrides])
        with pytest.raises(SystemExit) as exit_:
            main()
        code = exit_.value.code
        assert isinstance(code, int)
        return Said(code, capsys.readouterr().err)

    return run


def assert_refused(said: Said, exit_code: int, *words: str, runs: Path) -> None:
    assert said.exit_code == exit_code, said.message
    assert said.message.startswith("hlgp: ")
    assert "Traceback" not in said.message
    for word in words:
        assert word in said.message
    assert not runs.exists(), "a refused run leaves nothing behind"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def test_a_mistyped_key(train: Train, runs: Path) -> None:
    assert_refused(train("optimizer.promt_lr=0.1"), 2, "optimizer.promt_lr", "prompt_lr", runs=runs)


@pytest.mark.parametrize("keyword", ["num_heads=0", "patch_size=0", "act_layer=foo", "depth=0", "in_chans=1"])
def test_a_keyword_that_timm_cannot_use(keyword: str, train: Train, runs: Path) -> None:
    assert_refused(train(f"backbone.kwargs.{keyword}"), 2, "backbone.kwargs", runs=runs)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("backbone.kwargs.global_pool=''", "backbone.kwargs.global_pool: there has to be one feature a picture"),
        ("backbone.kwargs.device=meta", "kwargs.device: launch decides"),
        ("backbone.name=vit_tiny_patch16_224.", "ends with a dot and names no weights"),
        ("optimizer.schedule.warmup_steps=100", "warmup_steps: 100 must be less than the"),
    ],
)
def test_a_value_that_cannot_work(override: str, words: str, train: Train, runs: Path) -> None:
    assert_refused(train(override), 2, words, runs=runs)


def test_kernels_without_a_compiler(train: Train, runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rank finds it, before it reads a picture."""
    monkeypatch.setenv("CXX", "/nowhere/g++")
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "kernels"))
    said = train("engine.compile=true")
    assert said.exit_code == 4
    assert "engine.compile: no kernel can be made here: InvalidCxxCompiler" in said.message
    assert "; or compile nothing" in said.message
    assert not (runs / "run" / "checkpoints").exists()


def test_a_hub_that_has_no_such_weights(train: Train, runs: Path) -> None:
    said = train("backbone.weights=hub", "backbone.name=vit_giant_patch14_224")
    assert_refused(said, 2, "backbone.weights: hub: there are no weights of vit_giant_patch14_224", runs=runs)


def test_a_seed_out_of_range(train: Train, runs: Path) -> None:
    assert_refused(train(f"seed={2**64}"), 2, "seed = 18446744073709551616", runs=runs)


def test_a_place_that_cannot_be_written(train: Train, tmp_path: Path, runs: Path) -> None:
    (tmp_path / "file").write_text("")
    said = train(f"run.dir={tmp_path}/file")
    assert_refused(said, 4, f"{tmp_path}/file", runs=runs)


def test_groups_that_do_not_fit_the_depth(train: Train, runs: Path) -> None:
    assert_refused(train("method.num_groups=7"), 2, "method.num_groups", "7", "6", runs=runs)


def test_more_ranks_than_samples(train: Train, runs: Path) -> None:
    said = train("launch.num_workers=17")
    assert_refused(said, 2, "launch.num_workers", "17", "train.global_batch_size is 16", runs=runs)


def test_more_ranks_than_pictures(train: Train, runs: Path) -> None:
    said = train("launch.num_workers=40", "train.global_batch_size=64")
    assert_refused(said, 2, "launch.num_workers", "40", "pictures", runs=runs)


@pytest.mark.parametrize("name", ["resnet18", "vit_relpos_small_patch16_224", "vit_small_patch16_18x2_224"])
def test_an_unsupported_backbone(name: str, train: Train, runs: Path) -> None:
    said = train(f"backbone.name={name}", "backbone.img_size=null", "backbone.kwargs={}")
    assert_refused(said, 2, "backbone.name", name, runs=runs)


def test_a_missing_shard_folder(train: Train, tmp_path: Path, runs: Path) -> None:
    assert_refused(train(shards=tmp_path / "nowhere"), 3, "nowhere", runs=runs)


def test_a_truncated_shard(train: Train, drawn: Path, tmp_path: Path, runs: Path) -> None:
    damaged = tmp_path / "damaged"
    shutil.copytree(drawn, damaged)
    tar = next(damaged.glob("train*.tar"))
    with tar.open("r+b") as file:
        file.truncate(tar.stat().st_size // 2)
    assert_refused(train(f"data.cache_dir={tmp_path / 'fresh'}", shards=damaged), 3, tar.name, runs=runs)


def test_a_class_without_a_test_picture(train: Train, drawn: Path, tmp_path: Path, runs: Path) -> None:
    pictures = tmp_path / "pictures"
    shutil.copytree(drawn.parent / "pictures", pictures)
    shutil.rmtree(pictures / "test" / "c")
    shard(pictures, tmp_path / "lacking")
    assert_refused(train(shards=tmp_path / "lacking"), 3, "'c'", "no test picture", runs=runs)


def test_weights_of_another_architecture(train: Train, tmp_path: Path, runs: Path) -> None:
    wider = TINY.model_copy(update={"kwargs": {**TINY.kwargs, "embed_dim": 48}})
    save_file(create_vit(wider).state_dict(), tmp_path / "wider.safetensors")
    said = train(f"backbone.weights={tmp_path / 'wider.safetensors'}")
    assert_refused(said, 3, "backbone.weights", "does not fit", "6 blocks", runs=runs)


def test_weights_that_would_run_code(train: Train, tmp_path: Path, runs: Path) -> None:
    """A pickle that is not tensors alone is refused, not executed."""
    torch.save({"model": Path("x")}, tmp_path / "odd.pth")
    assert_refused(train(f"backbone.weights={tmp_path / 'odd.pth'}"), 3, "backbone.weights", runs=runs)


def test_weights_that_are_none(train: Train, tmp_path: Path, runs: Path) -> None:
    (tmp_path / "junk.pth").write_text("junk")
    assert_refused(train(f"backbone.weights={tmp_path / 'junk.pth'}"), 3, "junk.pth cannot be read", runs=runs)


def test_missing_weights(train: Train, tmp_path: Path, runs: Path) -> None:
    said = train(f"backbone.weights={tmp_path / 'none.safetensors'}")
    assert_refused(said, 3, "backbone.weights", "none.safetensors", runs=runs)


def test_a_search_is_not_trained(train: Train, runs: Path) -> None:
    said = train("search.space={method.num_groups: {choice: [1, 2]}}")
    assert_refused(said, 2, "search", "hlgp tune", runs=runs)
