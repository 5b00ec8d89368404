"""A command that may run for days: signals are heeded from its first moment, and its last line says how it ended."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hlgp_dist.config.places import is_remote
from hlgp_dist.errors import EnvironmentFailure, Failure, describe
from hlgp_dist.launch.stop import Stop, signals_heeded


@dataclass
class Command:
    """place: where its results are, once that is known."""

    stop: Stop
    place: str = ""


@contextmanager
def command() -> Iterator[Command]:
    """Around all that it does.

    Raises:
        SystemExit: with the documented code, where it did not end well; the reason is on standard error.
    """
    with signals_heeded() as stop:
        running = Command(stop)
        try:
            yield running
        except SystemExit as error:
            _tell(running, error.code, "by a second signal")
            raise
        except Exception as error:
            failure = _failure(error)
            _tell(running, failure.exit_code, str(failure))
            raise SystemExit(failure.exit_code) from error
        _tell(running, 0, "done")


def _failure(error: Exception) -> Failure:
    if isinstance(error, Failure):
        return error
    if isinstance(error, OSError):
        return EnvironmentFailure(describe(error))
    traceback.print_exception(error)
    return Failure(f"internal error: {type(error).__name__}: {error}")


def _tell(command: Command, code: object, reason: str) -> None:
    """The reason may have many lines; the last line has its first, for those who see nothing else."""
    first, *others = reason.splitlines() or [""]
    if others:
        print(f"hlgp: {reason}", file=sys.stderr)
    is_there = command.place and (is_remote(command.place) or Path(command.place).exists())
    where = f"results in {command.place}" if is_there else "nothing was started"
    sys.stdout.flush()
    print(f"hlgp: exit code {code} ({first.rstrip(':')}); {where}", file=sys.stderr, flush=True)
