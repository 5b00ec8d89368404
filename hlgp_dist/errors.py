"""What can go wrong for a user, and the exit code each kind ends with."""

from __future__ import annotations


class Failure(Exception):
    """A failure with a documented exit code; its message is the `reason` of `result.json`."""

    exit_code = 1


class ConfigError(Failure, ValueError):
    """Configuration or usage: the message names the dotted key, the value and the rule."""

    exit_code = 2


class DataError(Failure):
    """Data or weights that are missing, corrupt or do not fit."""

    exit_code = 3


class EnvironmentFailure(Failure):
    """The machine or the cluster cannot run the job."""

    exit_code = 4


class AtWork(EnvironmentFailure):
    """Another process is doing it."""


class Unreachable(EnvironmentFailure):
    """A server or a disk does not answer now; what it holds may be right, so another attempt is worthwhile."""


class DiskFull(EnvironmentFailure, OSError):
    """No room is left, or a quota used up; filename: the folder."""

    def __str__(self) -> str:
        return f"no room left in {self.filename}: {self.strerror}"


class OutOfMemory(Failure):
    """The job does not fit the device."""

    exit_code = 5


class NonFiniteLoss(Failure):
    """The loss, or what became of it, is NaN or infinite on some rank."""

    exit_code = 6


class TrialsFailed(Failure):
    """Some trials of a search, or parts of a study, failed; the others are valid."""

    exit_code = 7


class PicturesLeftOut(TrialsFailed):
    """Some pictures cannot be predicted on; what is said of the others is valid."""


class BudgetReached(Failure):
    """A search has used up its budget; what it found by then is valid."""

    exit_code = 8


class Interrupted(Failure):
    """Stopped by a signal after a checkpoint; the same command resumes."""

    exit_code = 75


class LostWorker(Failure):
    """A rank or its host has gone, for a reason outside of the run: another attempt goes on at the last checkpoint."""

    exit_code = Interrupted.exit_code


class HungWorker(LostWorker):
    """No rank has moved for too long; the message names the one that stopped first."""


class Preempted(LostWorker):
    """A host or a rank was told to go; all ranks saved before it did."""


def describe(error: OSError) -> str:
    """What the machine refused, and where."""
    return f"{error.filename}: {error.strerror}" if error.filename else str(error)


def first_line(error: BaseException | None) -> str:
    """Of its message; of its cause's where a framework wrapped it."""
    lines = [line.strip() for line in str(getattr(error, "cause", None) or error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__


def counted(count: int, thing: str) -> str:
    """`1 problem`, `2 problems`."""
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


FAILURES: dict[int, type[Failure]] = {
    kind.exit_code: kind
    for kind in (
        Failure,
        ConfigError,
        DataError,
        EnvironmentFailure,
        OutOfMemory,
        NonFiniteLoss,
        TrialsFailed,
        BudgetReached,
        Interrupted,
    )
}
