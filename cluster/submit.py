"""Run `hlgp train`, `tune` or `study` on the head of a Ray cluster, and say how it ended.

    ray submit cluster/onprem.yaml cluster/submit.py -- tune configs/search.yaml optimizer.prompt_lr=0.01
    ray job submit -- python hlgp_dist/cluster/submit.py tune configs/search.yaml     and so do KubeRay, Slurm, Docker

`ray submit` copies this one file to the head's home, so it imports nothing that lies beside it and trusts no working
directory. It joins the arguments without quotes, so only values that every shell leaves alone are accepted.

A relative CONFIG is looked for in the project on the head, which every host has at the same path. Relative paths in it
lie under $HLGP_STORAGE, the folder or bucket that all hosts share, but for weights that came with the project: `hlgp`
sees to that, and its last line says how it ended. `ray submit` turns every failure into exit code 1; docs/cluster.md.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

VERBS = ("train", "tune", "study")
OVERRIDE = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*=[A-Za-z0-9_.,:/@%+-]+")
OWN_KEYS = {"launch.kind": "ray", "launch.address": "auto"}
USAGE, ENVIRONMENT = 2, 4


class Refused(Exception):
    """Nothing was started; arguments are the exit code and the reason."""


def main(arguments: Sequence[str] | None = None) -> int:
    try:
        options = _parser().parse_args(arguments)
        _check_overrides(options.overrides)
        project = project_folder()
        config = _config_file(options.config, project)
        version = _version()
    except Refused as refusal:
        code, reason = refusal.args
        print(f"submit: {reason}\nsubmit: exit code {code} (nothing was started)", flush=True)
        return int(code)
    words = [options.verb, str(config), *options.overrides, *(f"{key}={value}" for key, value in OWN_KEYS.items())]
    print(f"submit: hlgp {' '.join(words)} ({version}, on {socket.gethostname()})", flush=True)
    return _run([str(Path(sysconfig.get_path("scripts")) / "hlgp"), *words], project)


class _Parser(argparse.ArgumentParser):
    """Refuses as all else here does: the last line says so."""

    def error(self, message: str) -> NoReturn:
        raise Refused(USAGE, f"{message}\n{self.format_usage().rstrip()}")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="submit.py", description="Run a verb of hlgp on this Ray cluster.")
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


def _version() -> str:
    try:
        from hlgp_dist import __version__
    except ImportError as error:
        reason = f"{sys.executable} cannot import hlgp_dist ({error}); `python` must be the virtual environment's"
        raise Refused(ENVIRONMENT, reason) from None
    return __version__


def _run(command: Sequence[str], project: Path) -> int:
    """The exit code, 128 + N after signal N.

    A terminal, a closed connection, `ray job stop` and slurm.sh signal the whole process group, so `hlgp` gets its own
    copy and decides what it means; this process only stays to report it. Where nothing is shared relative paths are
    refused: the working directory of Ray's workers is Ray's own.
    """
    child = subprocess.Popen(command, env={"HLGP_STORAGE": "", **os.environ, "HLGP_HOME": str(project)})
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    code = child.wait()
    if code < 0:
        print(f"submit: exit code {128 - code} (hlgp was killed by {signal.Signals(-code).name})", flush=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
