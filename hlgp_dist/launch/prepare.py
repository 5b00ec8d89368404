"""From a configuration to a run folder that workers may write to: checks first, nothing expensive."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from hlgp_dist.config.identity import Difference, refuse_changed_identity, run_name
from hlgp_dist.config.load import resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.config.write import dump
from hlgp_dist.errors import ConfigError
from hlgp_dist.files import write_json, write_text
from hlgp_dist.train.environment import environment
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.preflight import preflight


def prepare_run(config: RunConfig, stem: str) -> RunFolder:
    """Check everything, then make the run folder or find it and refuse one of another identity.

    Raises:
        ConfigError: the configuration does not fit, or `run.resume` forbids what the folder says.
        DataError: data or weights do not fit.
    """
    preflight(config)
    folder = RunFolder(Path(config.run.dir) / run_name(config, stem))
    if folder.config.exists():
        if config.run.resume == "never":
            raise ConfigError(f"run.resume: never, but {folder.path} holds a run; give another run.name")
        _note_changes(folder, refuse_changed_identity(resolve(folder.config).config, config))
    elif config.run.resume == "must":
        raise ConfigError(f"run.resume: must, but there is no run in {folder.path}")
    folder.path.mkdir(parents=True, exist_ok=True)
    write_text(folder.config, dump(config))
    write_json(folder.environment, environment())
    return folder


def _note_changes(folder: RunFolder, changed: Difference) -> None:
    """Operational values may change from one resume to the next; RUN/logs/changes.log says which did and when."""
    if not changed.operational:
        return
    folder.logs.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    with open(folder.logs / "changes.log", "a") as file:
        file.writelines(f"{now} {key}: {old} -> {new}\n" for key, (old, new) in changed.operational.items())
