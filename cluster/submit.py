"""Run `hlgp train`, `tune` or `study` on the head of a Ray cluster, and say how it ended.

    ray submit cluster/onprem.yaml cluster/submit.py -- tune configs/search.yaml optimizer.prompt_lr=0.01
    ray job submit -- python hlgp_dist/cluster/submit.py tune configs/search.yaml     and so do KubeRay, Slurm, Docker

`ray submit` copies this one file to the head's home, so it imports nothing that lies beside it and trusts no working
directory. It joins the arguments without quotes, so only values that every shell leaves alone are accepted. And it
turns every failure into exit code 1, so the last lines of the output say which one it was.

A relative CONFIG is looked for in the project on the head, which every host has at the same path; relative `run.dir`,
`data.path` and `backbone.weights` lie under $HLGP_STORAGE, the folder or bucket that all hosts share, but for weights
that came with the project. Exit code: that of `hlgp` (docs/cluster.md).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

VERBS = ("train", "tune", "study")
OVERRIDE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=[A-Za-z0-9_.,:/@%+-]+")
OWN_KEYS = {"launch.kind": "ray", "launch.address": "auto"}
USAGE, ENVIRONMENT = 2, 4


class Refused(Exception):
    """Nothing was started; arguments are the exit code and the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    try:
        _check_overrides(options.overrides)
        project = project_folder()
        config = _config_file(options.config, project)
        overrides, folder = prepare(options.verb, config, options.overrides, project)
    except Refused as refusal:
        code, reason = refusal.args
        print(f"submit: {reason}\nsubmit: exit code {code} (nothing was started)", flush=True)
        return int(code)
    print(f"submit: hlgp {options.verb} {config} {' '.join(overrides)}", flush=True)
    code = _run([str(Path(sysconfig.get_path("scripts")) / "hlgp"), options.verb, str(config), *overrides])
    print(f"submit: results on {socket.gethostname()} in {folder}")
    print(f"submit: exit code {code} ({_reason(folder, code)})", flush=True)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="submit.py", description="Run a verb of hlgp on this Ray cluster.")
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("config", help="absolute, or relative to the project on the head: configs/NAME.yaml")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="letters, digits and _ . , : / @ %% + - only")
    return parser


def _check_overrides(overrides: Sequence[str]) -> None:
    for override in overrides:
        if not OVERRIDE.fullmatch(override):
            raise Refused(
                USAGE,
                f"{override!r} is not a KEY=VALUE that every shell leaves alone "
                "(letters, digits and _ . , : / @ % + -); put lists, mappings and text with spaces into the YAML file",
            )
        key = override.partition("=")[0]
        if key in OWN_KEYS:
            raise Refused(USAGE, f"{key} is {OWN_KEYS[key]} for every submitted job; leave it out")


def project_folder() -> Path:
    """$HLGP_HOME, else the folder this file came in (`cluster/` of a project), else ~/hlgp_dist."""
    if "HLGP_HOME" in os.environ:
        return Path(os.environ["HLGP_HOME"]).expanduser()
    own = Path(__file__).resolve().parent.parent
    return own if (own / "configs").is_dir() else Path.home() / "hlgp_dist"


def _config_file(name: str, project: Path) -> Path:
    path = project / name  # an absolute name stands for itself
    if path.is_file():
        return path
    found = sorted(str(file.relative_to(project)) for file in (project / "configs").glob("**/*.yaml"))
    raise Refused(USAGE, f"no file {path}; there is {', '.join(found) or 'no configuration'} in {project}")


def prepare(verb: str, config: Path, overrides: Sequence[str], project: Path) -> tuple[list[str], str]:
    """All overrides for `hlgp`, and the folder that will hold result.json."""
    try:
        from hlgp_dist.config.identity import run_name
        from hlgp_dist.config.load import resolve
        from hlgp_dist.errors import ConfigError
    except ImportError as error:
        reason = f"{sys.executable} cannot import hlgp_dist ({error}); `python` must be the virtual environment's"
        raise Refused(ENVIRONMENT, reason) from None
    try:
        given = resolve(config, overrides).config
        name = run_name(given, config.stem, include_search=verb == "tune")
        added = [f"{key}={value}" for key, value in OWN_KEYS.items()]
        added += [f"run.name={name}", *_absolute_paths(given, project)]
        final = resolve(config, [*overrides, *added]).config
    except ConfigError as error:
        raise Refused(USAGE, str(error)) from None
    return [*overrides, *added], _under(final.run.dir, name)


def _absolute_paths(config: Any, project: Path) -> Iterator[str]:
    """Overrides in place of relative paths: a worker's working directory is Ray's own."""
    paths = {"run.dir": config.run.dir, "data.path": config.data.path}
    if config.backbone.weights not in ("hub", "none"):
        paths["backbone.weights"] = config.backbone.weights
    for key, path in paths.items():
        if path.startswith("/") or "://" in path:
            continue
        if key == "backbone.weights" and (project / path).is_file():
            yield f"{key}={project / path}"
        elif "HLGP_STORAGE" in os.environ:
            yield f"{key}={_under(os.environ['HLGP_STORAGE'], path)}"
        else:
            raise Refused(ENVIRONMENT, f"{key}: {path} is relative and HLGP_STORAGE, the shared folder, is not set")


def _under(folder: str, path: str) -> str:
    """In a shared folder or a bucket (`s3://bucket/hlgp`)."""
    return f"{folder.rstrip('/')}/{path}" if "://" in folder else str(Path(folder).expanduser() / path)


def _run(command: Sequence[str]) -> int:
    """The exit code, 128 + N after signal N.

    A terminal, a closed connection, `ray job stop` and slurm.sh signal the whole process group, so `hlgp` gets its own
    copy and decides what it means; this process only stays to report it.
    """
    child = subprocess.Popen(command)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    code = child.wait()
    return code if code >= 0 else 128 - code


def _reason(folder: str, code: int) -> str:
    """What result.json says, if it is about this ending."""
    from hlgp_dist.data.opening import open_place
    from hlgp_dist.errors import Failure

    try:
        result = json.loads(open_place(folder).read("result.json"))
    except (OSError, ValueError, Failure):
        return "no result.json; the reason is above"
    if result.get("exit_code") != code:
        return "ended before it wrote result.json; the reason is above"
    return str(result.get("reason", "no reason given"))


if __name__ == "__main__":
    sys.exit(main())
