"""From a configuration to a run folder that workers may write to: checks first, nothing expensive."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hlgp_dist.config.identity import Difference, refuse_changed_identity
from hlgp_dist.config.load import resolve
from hlgp_dist.config.method_options import Method
from hlgp_dist.config.places import is_remote
from hlgp_dist.config.plugins import plugin_names
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.contract.check import check_method
from hlgp_dist.contract.demand import ContractBroken
from hlgp_dist.errors import ConfigError, DataError
from hlgp_dist.files import file_sha256, write_text
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.footprint import check_room, tell_size
from hlgp_dist.train.preflight import preflight
from hlgp_dist.train.supply import manifest_of


def check_run(config: RunConfig, folder: RunFolder) -> None:
    """Check everything; nothing is written.

    Raises:
        ConfigError: the configuration does not fit, the folder holds a run of another one, or `run.resume` forbids
            what it holds.
        DataError: data or weights do not fit.
        EnvironmentFailure: the disk cannot hold the checkpoints. Where every rank has a copy its node is asked later.
    """
    preflight(config)
    refuse_other(config, folder)
    if folder.read_finished() is not None:
        return
    if is_remote(folder.place) and config.launch.kind == "ray":
        tell_size(config)
    else:
        check_room(config, folder.checkpoints)


_kept = set[str]()
"""Plug-ins with their options, as JSON, that this process has found to keep the contract."""


def check_contract(options: Method) -> None:
    """Of a method that does not ship, before anything expensive; a command asks once for each of its plug-ins.

    Raises:
        ContractBroken: results of it would not compare with others'.
    """
    asked = options.model_dump_json()
    if options.kind in plugin_names() and asked not in _kept:
        try:
            check_method(options)
        except ContractBroken as error:
            raise ContractBroken(f"method.kind = {options.kind}: {error}") from error
        _kept.add(asked)


def refuse_other(config: RunConfig, folder: RunFolder, *, include_search: bool = False) -> None:
    """ConfigError where the folder (of a run or a search) is another configuration's, or `run.resume` forbids it."""
    former = former_config(folder.config)
    if former is None and folder.has_work():
        raise ConfigError(f"run.name: {folder} holds results but no config.yaml that says whose; take another")
    if former is not None and (former.search is None) != (config.search is None):
        kind = "run" if former.search is None else "search"
        raise ConfigError(f"run.name: {folder} holds a {kind}; take another")
    if former is None and config.run.resume == "must":
        raise ConfigError(f"run.resume: must, but there is nothing to resume in {folder}")
    if former is not None and config.run.resume == "never":
        raise ConfigError(f"run.resume: never, but {folder} is taken; give another run.name")
    if former is not None:
        refuse_changed_identity(former, config, include_search=include_search)


def check_content(config: RunConfig, folder: RunFolder, result: Mapping[str, Any]) -> None:
    """DataError where the result of a finished run is of other pictures or weights than now lie at the same paths."""
    weights, told = config.backbone.weights, result["backbone"]["sha256"]
    content = {
        "data.path": (result["dataset"], manifest_of(config).digest),
        "backbone.weights": (told, told if weights in ("hub", "none") else file_sha256(Path(weights))),
    }
    for key, (before, now) in content.items():
        if before != now:
            raise DataError(f"{key}: {folder} is of content {before}, now it is {now}; take another run.name")


def open_run(config: RunConfig, folder: RunFolder) -> None:
    """Write what is to be known of a run that is about to start or to go on."""
    former = former_config(folder.config)
    if former is not None:
        _note_changes(folder, refuse_changed_identity(former, config))
    write_text(folder.config, dump(config))


def former_config(file: Path) -> RunConfig | None:
    """What a folder's config.yaml says, None where there is none.

    Raises:
        ConfigError: it is damaged.
    """
    if not file.is_file():
        return None
    try:
        return resolve(file).config
    except ConfigError as error:
        raise ConfigError(f"{file} is damaged; take another run.name, or delete its folder: {error}") from error


def _note_changes(folder: RunFolder, changed: Difference) -> None:
    """Operational values may change from one resume to the next; RUN/logs/changes.log says which did and when."""
    if not changed.operational:
        return
    folder.logs.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with open(folder.logs / "changes.log", "a") as file:
        file.writelines(f"{now} {key}: {old} -> {new}\n" for key, (old, new) in changed.operational.items())
