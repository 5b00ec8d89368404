"""Weights come from a file or a seed, are named by their hash, and are refused where they do not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from hlgp_dist.config.schema import Backbone
from hlgp_dist.contract.rehearsal import TINY
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import file_sha256
from hlgp_dist.models.backbone import build_trunk, create_vit, meta_trunk


def saved(path: Path, spec: Backbone = TINY) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    state = create_vit(spec).state_dict()
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    return state


def from_file(path: Path, **changes: object) -> Backbone:
    return TINY.model_copy(update={"weights": str(path), **changes})


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_are_those_of_the_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    state = saved(path)
    trunk, identity = build_trunk(from_file(path), precision="fp32", seed=0)
    assert torch.equal(trunk.vit.norm.weight, state["norm.weight"])
    assert torch.equal(trunk.vit.blocks[2].attention.inner.qkv.weight, state["blocks.2.attn.qkv.weight"])
    assert identity.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_image_size_resizes_the_position_embedding(tmp_path: Path) -> None:
    saved(tmp_path / "w.safetensors")
    trunk, _ = build_trunk(from_file(tmp_path / "w.safetensors", img_size=48), precision="fp32", seed=0)
    assert trunk.vit.pos_embed.shape == (1, 37, 32)
    assert trunk(torch.rand(1, 3, 48, 48)).isfinite().all()


def test_a_shorter_depth_drops_the_upper_blocks(tmp_path: Path) -> None:
    state = saved(tmp_path / "w.safetensors")
    spec = from_file(tmp_path / "w.safetensors", kwargs=TINY.kwargs | {"depth": 4})
    trunk, _ = build_trunk(spec, precision="fp32", seed=0)
    assert trunk.dimensions.depth == 4
    assert torch.equal(trunk.vit.blocks[3].inner.mlp.fc1.weight, state["blocks.3.mlp.fc1.weight"])


@pytest.mark.parametrize(
    "change", [{"embed_dim": 64}, {"depth": 8}, {"patch_size": 4}], ids=["width", "depth", "patch"]
)
def test_weights_of_another_architecture_are_refused(tmp_path: Path, change: dict[str, int]) -> None:
    saved(tmp_path / "w.safetensors")
    spec = from_file(tmp_path / "w.safetensors", kwargs=TINY.kwargs | change)
    if "patch_size" in change:  # timm resamples the patch embedding to another patch size
        assert build_trunk(spec, precision="fp32", seed=0)[0].vit.patch_embed.patch_size == (4, 4)
        return
    with pytest.raises(DataError, match=r"backbone\.weights: .*w\.safetensors does not fit a ViT of"):
        build_trunk(spec, precision="fp32", seed=0)


def test_a_damaged_file_is_a_data_error(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read as weights"):
        build_trunk(from_file(path), precision="fp32", seed=0)
    with pytest.raises(DataError, match="no file"):
        build_trunk(from_file(tmp_path / "none.safetensors"), precision="fp32", seed=0)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('unpickled')",))


def test_a_pickle_is_never_executed(tmp_path: Path) -> None:
    torch.save({"norm.weight": Malicious()}, tmp_path / "w.pth")
    with pytest.raises(DataError):
        build_trunk(from_file(tmp_path / "w.pth"), precision="fp32", seed=0)


def test_random_weights_depend_on_the_seed_alone() -> None:
    first, one = build_trunk(TINY, precision="fp32", seed=1)
    torch.rand(7)
    _, again = build_trunk(TINY, precision="fp32", seed=1)
    _, other = build_trunk(TINY, precision="fp32", seed=2)
    assert one.sha256 == again.sha256 != other.sha256
    assert first.vit.blocks[0].attention.inner.qkv.weight.dtype == torch.float32
    assert build_trunk(TINY, precision="bf16", seed=1)[0].vit.norm.weight.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("vit_large_patch16_225", "near: vit_large_patch16_224"),
        ("vit_base_patch16_224.nonsense", "no weights tagged 'nonsense'"),
        ("resnet18", "a ResNet, not a timm VisionTransformer"),
        ("eva02_tiny_patch14_224.mim_in22k", "a Eva, not"),
        ("vit_small_patch16_18x2_224", "ParallelThingsBlock"),
    ],
)
def test_backbones_that_take_no_prefix_are_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        meta_trunk(Backbone(name=name, weights="none"))


def test_weights_other_than_those_that_are_named_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    saved(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    build_trunk(from_file(path, sha256=sha256[:12]), precision="fp32", seed=0)
    with pytest.raises(DataError, match=rf"backbone.sha256 = 00000000: the weights \(.*w.safetensors\) have {sha256}"):
        build_trunk(from_file(path, sha256="0" * 8), precision="fp32", seed=0)


def bytes_read() -> int:
    """By this process, through calls that read; pages of a mapped file do not count."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


def test_a_second_start_on_a_host_reads_no_weights_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path, spec = tmp_path / "w.safetensors", TINY.model_copy(update={"kwargs": TINY.kwargs | {"depth": 96}})
    saved(path, spec)
    first, identity = build_trunk(from_file(path, kwargs=spec.kwargs), precision="fp32", seed=0)
    before = bytes_read()
    second, again = build_trunk(from_file(path, kwargs=spec.kwargs), precision="fp32", seed=0)
    assert bytes_read() - before < path.stat().st_size / 4, "neither hashed nor read a second time"
    assert again == identity
    assert all(torch.equal(one, two) for one, two in zip(first.parameters(), second.parameters(), strict=True))


def test_a_file_that_changed_is_hashed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "w"
    for content in (b"one", b"two"):
        path.write_bytes(content)
        assert file_sha256(path) == file_sha256(path) == hashlib.sha256(content).hexdigest()
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert file_sha256(path) == hashlib.sha256(b"two").hexdigest(), "no cache is no failure"


def test_fp32_is_fp32() -> None:
    """cuDNN's convolutions would round their operands to 10 bits on a GPU."""
    torch.backends.cudnn.allow_tf32 = True
    build_trunk(TINY, precision="fp32", seed=0)
    assert not torch.backends.cudnn.allow_tf32
