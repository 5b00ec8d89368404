"""Precedence, origins, dropped kinds, and errors all at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hlgp_dist.config.identity import identity
from hlgp_dist.config.load import Resolved, apply, resolve
from hlgp_dist.config.schema import ShardData, SyntheticData
from hlgp_dist.errors import ConfigError

DATA = {"data": {"path": "shards"}}


def config_file(folder: Path, text: str) -> Path:
    path = folder / "a.yaml"
    path.write_text(text)
    return path


def errors(source: Any, *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as raised:
        resolve(source, overrides)
    assert raised.value.exit_code == 2
    lines = str(raised.value).splitlines()
    return [line.strip() for line in lines[len(lines) > 1 :]]


def test_an_override_wins_over_a_file_over_a_default(tmp_path: Path) -> None:
    path = config_file(tmp_path, "data: {path: shards}\ntrain:\n  epochs: 3\n  global_batch_size: 8\n")
    resolved = resolve(path, ["train.epochs=5", "train.epochs=6", "optimizer.head_lr=1e-2"])
    assert resolved.config.train.epochs == 6
    assert resolved.config.optimizer.head_lr == 1e-2
    assert resolved.origins["train.epochs"] == "override"
    assert resolved.origins["train.global_batch_size"] == f"{path}:4"
    assert resolved.origins["train.max_steps_per_task"] == "default"
    assert resolved.notes == ()


def test_a_mapping_may_leave_out_the_default_kind() -> None:
    resolved = resolve({**DATA, "method": {"generator": {"rank": 4}}})
    assert identity(resolved.config)["method.generator.rank"] == 4
    assert resolved.origins["method.generator.rank"] == "given"
    assert resolved.origins["method.kind"] == "default"


def test_a_changed_kind_drops_what_the_file_gave_to_the_former_one(tmp_path: Path) -> None:
    path = config_file(
        tmp_path, "data: {path: x}\nmethod:\n  num_groups: 4\n  generator: {kind: bottleneck, rank: 8}\n"
    )
    resolved = resolve(path, ["method.prompt_length=5", "method.kind=independent"])
    assert resolved.config.method.kind == "independent"
    assert resolved.config.method.prompt_length == 5
    assert [note.split(" drops ")[1] for note in resolved.notes] == [
        f"method.num_groups = 4 ({path}:3), which was given to kind hlgp",
        f"method.generator.kind = bottleneck ({path}:4), which was given to kind hlgp",
        f"method.generator.rank = 8 ({path}:4), which was given to kind hlgp",
    ]


def test_an_inner_kind_drops_only_its_own_fields() -> None:
    source = {**DATA, "method": {"num_groups": 4, "generator": {"rank": 8}}}
    resolved = resolve(source, ["method.generator.kind=direct", "method.kind=hlgp"])
    values = identity(resolved.config)
    assert (values["method.num_groups"], values["method.generator.kind"]) == (4, "direct")
    assert len(resolved.notes) == 1


def test_what_two_kinds_share_is_kept() -> None:
    """So that methods and optimizers are compared like for like."""
    given = {
        **DATA,
        "method": {"prompt_length": 4, "num_groups": 2},
        "optimizer": {"head_lr": 0.1, "betas": [0.8, 0.9]},
    }
    resolved = resolve(given, ["method.kind=independent", "optimizer.kind=sgd"])
    values = identity(resolved.config)
    assert (values["method.prompt_length"], values["optimizer.head_lr"]) == (4, 0.1)
    assert [note.split(" drops ")[1].split(" =")[0] for note in resolved.notes] == [
        "method.num_groups",
        "optimizer.betas",
    ]


def test_a_kind_that_stays_drops_nothing() -> None:
    resolved = resolve({**DATA, "optimizer": {"prompt_lr": 0.1}}, ["optimizer.kind=adam"])
    assert resolved.config.optimizer.prompt_lr == 0.1
    assert resolved.notes == ()


def test_flow_values_merge_into_sections_and_replace_mappings() -> None:
    source = {**DATA, "train": {"epochs": 3}, "backbone": {"kwargs": {"depth": 3}}}
    resolved = resolve(
        source, ["train={global_batch_size: 4}", "backbone.kwargs={num_heads: 2}", "data.augmentation=null"]
    )
    assert (resolved.config.train.epochs, resolved.config.train.global_batch_size) == (3, 4)
    assert resolved.config.backbone.kwargs == {"num_heads": 2}
    assert resolved.config.data.augmentation is None
    assert resolved.origins["backbone.kwargs.num_heads"] == "override"


def test_a_section_that_was_null_can_be_given_again() -> None:
    resolved = resolve({"data": {"path": "x", "augmentation": None}}, ["data.augmentation.flip=false"])
    assert resolved.config.data.augmentation is not None
    assert not resolved.config.data.augmentation.flip


def test_text_that_looks_like_a_number_needs_no_quotes_in_an_override() -> None:
    config = resolve(DATA, ["run.name=2024", "data.path=007"]).config
    assert (config.run.name, config.data.path) == ("2024", "007")


def test_all_errors_at_once_with_key_value_rule_and_place(tmp_path: Path) -> None:
    path = config_file(
        tmp_path,
        "data: {path: x}\nmethod:\n  num_grups: 4\n  generator: {kind: direct, rank: 3}\n"
        "optimizer:\n  head_lr: -1\n  betas: [0.9, 1.5]\nbackbone: {kwargs: {depth: [1]}}\nprompt_lr: 1\n"
        "run: {name: 7}\ntrain: {epochs: 1, epochs: 2}\n",
    )
    assert errors(
        path, "alignment.kind=ful", "train.epochs=1e-3", "seed", "engine.precision=fp16", "method.position.kind=none"
    ) == [
        f"{path}:11: train.epochs: is given twice",
        "override: seed: an override is key.sub=value",
        f"{path}:10: run.name = 7: must be text; quote it",
        f"{path}:8: backbone.kwargs.depth = [1]: must be true, false, a number, text or null",
        f"{path}:4: method.generator.rank = 3: unknown key of method.generator with kind direct; "
        "kind bottleneck has it",
        f"{path}:3: method.num_grups = 4: unknown key of method with kind hlgp; did you mean num_groups?",
        "override: alignment.kind = ful: must be one of none, full, diagonal; did you mean full?",
        "override: train.epochs = 0.001: must be a whole number",
        f"{path}:6: optimizer.head_lr = -1: must be greater than 0",
        f"{path}:7: optimizer.betas[1] = 1.5: must be less than 1",
        "override: engine.precision = fp16: must be 'bf16', 'fp32' or 'int8'",
        f"{path}:9: prompt_lr = 1: unknown key; did you mean optimizer.prompt_lr?",
    ]


@pytest.mark.parametrize(
    ("overrides", "key", "rule"),
    [
        ("seed=", "seed=", "no value; write null for none"),
        ("a..b=1", "a..b=1", "an override is key.sub=value"),
        ("seed.x=1", "seed = {x: 1}", "must be a whole number"),
        (
            "method=linear",
            "method = linear",
            "must be a section with one of the kinds hlgp, independent, l2p, dualprompt",
        ),
        ("train=3", "train = 3", "must be a section with keys of its own"),
        ("data.augmentation.flip=1", "data.augmentation.flip = 1", "must be true or false"),
        ("data.augmentation.jitter.hue=0.6", "data.augmentation.jitter.hue = 0.6", "must be less than or equal to 0.5"),
        (
            "launch.gpus_per_worker=0.00009",
            "launch.gpus_per_worker = 9.0e-05",
            "gpus_per_worker must be 0, or at least",
        ),
        ("launch.gpus_per_worker=2", "launch.gpus_per_worker = 2", "must be less than or equal to 1, or auto"),
        ("data.loader_workers=-1", "data.loader_workers = -1", "must be"),
        ("benchmark.max_tasks=[1]", "benchmark.max_tasks = [1]", "must be a whole number"),
        ("benchmark.validation_fraction=.nan", "benchmark.validation_fraction = .nan", "must be a finite number"),
        ("method.accumulation=mean method.matching.cycles=3", "method.matching = {", "matching has no effect: only"),
        (
            "method.kind=linear optimizer.prompt_lr=1e-2",
            "optimizer.prompt_lr = 0.01",
            "has no effect: method.kind: linear",
        ),
        ("method.kind=ncm alignment.kind=full", "alignment.kind = full", "has no effect: method.kind: ncm takes no"),
        (
            "engine.checkpoint_blocks=auto",
            "engine.checkpoint_blocks = auto",
            "checkpoint_blocks: auto goes by what micro_batch_size: auto measures",
        ),
        (
            "method.kind=linear engine.checkpoint_blocks=all",
            "engine.checkpoint_blocks = all",
            "has no effect: method.kind: linear has no backward pass",
        ),
        (
            "method.kind=ncm engine.micro_batch_size=auto",
            "engine.micro_batch_size = auto",
            "has no effect: method.kind: ncm",
        ),
        ("method.kind=ncm train.epochs=3", "train.epochs = 3", "has no effect: method.kind: ncm takes no"),
        (
            "method.kind=ncm train.max_steps_per_task=3",
            "train.max_steps_per_task = 3",
            "has no effect: method.kind: ncm",
        ),
        (
            "method.kind=ncm data.augmentation.flip=false",
            "data.augmentation.flip = false",
            "has no effect: method.kind: ncm",
        ),
        (
            "data.kind=synthetic benchmark.split=coda",
            "benchmark.split = coda",
            "must be null: data.kind: synthetic is no public benchmark",
        ),
        ("data.kind=synthetic data.on_error=skip", "data.on_error = skip", "unknown key of data with kind synthetic"),
        (
            "train.stream=joint evaluation.old_task_fraction=0.5",
            "evaluation.old_task_fraction = 0.5",
            "has no effect: train.stream: joint is tested once",
        ),
        ("launch.kind=ray launch.driver_resource=x", "launch.driver_resource = x", "has no effect: only the trials of"),
        (
            "engine.precision=int8 method.kind=full",
            "engine.precision = int8",
            "must be bf16 or fp32 with method.kind",
        ),
        ("engine.compile=true engine.zero_stage=3", "engine.zero_stage = 3", "must be at most 2 with engine.compile"),
        ("engine.precision=int8 engine.zero_stage=3", "engine.zero_stage = 3", "must be at most 2 with engine.precisi"),
        ("launch.cpus_per_worker=2", "launch.cpus_per_worker = 2", "has no effect: launch.kind: local starts no Ray"),
        (
            "method.matching.cycles=1 method.matching.temperature=2",
            "method.matching.temperature = 2",
            "temperature has no effect: cycles: 1",
        ),
        ("backbone.kwargs.img_size=32", "backbone.kwargs = {img_size: 32}", "kwargs.img_size: give backbone.img_size"),
        ("optimizer.betas=[0.9]", "optimizer.betas = [0.9]", "must be a list of 2 values"),
        ("optimizer.betas=[0.9,0.9,0.9]", "optimizer.betas = [0.9, 0.9, 0.9]", "must be a list of 2 values"),
        ("run.dir=http://host/runs", "run.dir = ", "must be a folder that this machine and every node sees, or s3://"),
        ("telemetry.hparams=[optimizer.promt_lr]", "telemetry.hparams", "optimizer.promt_lr is no option; did you"),
        ("seed=-1", "seed = -1", "must be"),
        ("benchmark.class_order_seed=-1", "benchmark.class_order_seed = -1", "must be"),
        ("method.num_groups=4 method.layers=[0,1]", "method.num_groups = 4", "must be at most the 2 blocks"),
    ],
)
def test_one_error(overrides: str, key: str, rule: str) -> None:
    (line,) = errors(DATA, *overrides.split(" "))
    assert line.startswith(f"override: {key}")
    assert f": {rule}" in line


def test_a_jitter_that_changes_nothing_is_refused() -> None:
    factors = ("brightness", "contrast", "saturation", "hue")
    (line,) = errors(DATA, *[f"data.augmentation.jitter.{factor}=0" for factor in factors])
    assert line == "override: data.augmentation.jitter: every factor is zero, which changes nothing; give null"


def test_a_value_equal_to_the_default_is_never_without_effect() -> None:
    given = {**DATA, "method": {"kind": "ncm"}, "optimizer": {"prompt_lr": 0.003}, "train": {"epochs": 20}}
    assert resolve(given).config == resolve({**DATA, "method": {"kind": "ncm"}}).config


def test_any_method_may_learn_all_classes_at_once() -> None:
    assert resolve(DATA, ["method.kind=ncm", "train.stream=joint"]).config.train.stream == "joint"


def test_what_is_required_is_named() -> None:
    assert errors(None) == ["data.path: is required"]


def test_an_unknown_key_of_another_kind_names_that_kind() -> None:
    (line,) = errors(DATA, "optimizer.weight_decay=0.1")
    assert line.endswith("unknown key of optimizer with kind adam; kind adamw or sgd has it")


def test_a_dotted_key_in_a_file_is_told_to_nest() -> None:
    assert errors({**DATA, "optimizer.prompt_lr": 0.1}) == [
        "optimizer.prompt_lr = 0.1: unknown key; in a file sections are nested"
    ]


@pytest.mark.parametrize("value", [[1], {"a": 1}, None, 3])
def test_a_kind_of_any_type_is_refused_with_the_kinds(value: object) -> None:
    assert "must be one of hlgp, independent" in errors({**DATA, "method": {"kind": value}})[0]
    assert "kinds hlgp, independent" in errors({**DATA, "method": value})[0] or isinstance(value, dict)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert errors(tmp_path / "no.yaml") == [
        f"{tmp_path}/no.yaml: cannot read the configuration: No such file or directory"
    ]
    path = config_file(tmp_path, "data:\n  path: [x\n")
    assert errors(path)[0].startswith(f"{path}:3: not YAML: ")
    path.write_bytes(b"\xff\xfe\x00")
    assert errors(path) == [f"{path}: cannot read the configuration: not UTF-8 text"]


def test_apply_puts_samples_in_and_drops_former_kinds() -> None:
    base = resolve({**DATA, "method": {"num_groups": 4}}).config
    config = apply(base, {"optimizer.prompt_lr": np.float64(0.01), "method.num_groups": np.int64(2)})
    assert (config.optimizer.prompt_lr, identity(config)["method.num_groups"]) == (0.01, 2)
    assert identity(base)["method.num_groups"] == 4
    assert apply(base, {"method.kind": "linear"}).method.kind == "linear"
    assert apply(base, {}) == base


def test_apply_refuses_what_resolve_refuses() -> None:
    base = resolve(DATA).config
    with pytest.raises(ConfigError, match=r"method\.num_groups = 0: must be greater than 0"):
        apply(base, {"method.num_groups": 0})
    with pytest.raises(ConfigError, match="did you mean num_groups"):
        apply(base, {"method.num_group": 2})


def test_a_resolved_configuration_is_frozen() -> None:
    resolved = resolve(DATA)
    assert isinstance(resolved, Resolved)
    with pytest.raises(ValueError, match="frozen"):
        resolved.config.seed = 3


def test_a_file_of_shards_may_be_tried_without_them(tmp_path: Path) -> None:
    """What a folder alone has goes with its kind, and what is done with pictures stays."""
    file = tmp_path / "run.yaml"
    file.write_text("data: {path: shards/x, on_error: skip, stored: full}\nbenchmark: {init_cls: 5}\n")
    resolved = resolve(file, ["data.kind=synthetic", "data.classes=20"])
    assert isinstance(resolved.config.data, SyntheticData)
    assert (resolved.config.data.classes, resolved.config.data.stored) == (20, "full")
    assert len([note for note in resolved.notes if "drops data.path = shards/x" in note]) == 1
    assert isinstance(resolve(file).config.data, ShardData)
