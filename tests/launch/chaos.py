"""`python -m tests.launch.chaos SHARDS FOLDER SEED`: a search whose processes are killed ends as one left in peace.

Run on the machine of `isolated`, for every process there may be a victim.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hlgp_dist.train.folder import RunFolder
from tests.isolated import Process, processes
from tests.jobs import step_values
from tests.launch.nodes import Nodes
from tests.launch.remains import assert_cluster_is_free, assert_machine_is_clean, assert_no_halves
from tests.launch.tune import Tune
from tests.results import MEASURED

TRIALS, TASKS = 6, 4
SEARCH = {
    "space": {"optimizer.prompt_lr": {"loguniform": [1e-3, 1e-1]}},
    "num_samples": TRIALS,
    "scheduler": {"kind": "fifo"},  # what asha stops hangs on who comes first
    "validation_fraction": 0.3,
}
OPTIONS = ("train.epochs=16", f"benchmark.max_tasks={TASKS}", "checkpoint.every_steps=4", "launch.num_workers=2")
PATIENCE = "launch.max_retries=20"
"""Kills come faster than in life."""
DECK = ("rank",) * 6 + ("starting",) * 2 + ("driver",) * 4 + ("raylet",) * 4 + ("command",) * 4
PAUSE_SECONDS = (2.0, 18.0)
VARYING = MEASURED | {"spent", "trials", "test"}


def is_of(kind: str, process: Process, search: Tune) -> bool:
    """driver: of a trial, or what Ray Train starts for it to watch the ranks; raylet: not of the head."""
    match kind:
        case "rank":
            return process.command == "ray::RayTrainWorker"  # at its training
        case "starting":
            return process.command.startswith("ray::RayTrainWorker.")  # before it
        case "driver":
            return process.command.startswith(("ray::ImplicitFunc", "ray::TrainController"))
        case "raylet":
            return "/raylet/raylet " in process.command and "--head" not in process.command
    return process.number == search.number


def kill_one(kind: str, search: Tune, chance: random.Random) -> Process | None:
    """Whom it hit; None where there was nobody."""
    victims = [process for process in processes() if is_of(kind, process, search)]
    victim = chance.choice(victims) if victims else None
    if victim is None or not victim.kill():
        return None
    if kind == "command":
        search.start_again()
    return victim


def disturb(search: Tune, nodes: Nodes, chance: random.Random) -> None:
    """Until the deck is through; then it is left to its end."""
    deck = chance.sample(DECK, len(DECK))
    for number, kind in enumerate(deck, 1):
        until = time.monotonic() + chance.uniform(*PAUSE_SECONDS)
        while time.monotonic() < until or (victim := kill_one(kind, search, chance)) is None:
            assert not search.is_over(), f"it ended before kill {number}"
            nodes.replace_lost()
            time.sleep(0.1)
        title = victim.command if victim.command.startswith("ray::") else ""
        print(
            f"{search.seconds:6.1f} s: kill {number:2} of {len(deck)}, {kind:8} {victim.number:6} {title}", flush=True
        )
    finish(search, nodes)


def finish(search: Tune, nodes: Nodes) -> None:
    while not search.is_over():
        nodes.replace_lost()
        time.sleep(0.5)
    print(f"{search.seconds:6.1f} s: the search `{search.folder.name}` is over", flush=True)


def result_of(folder: Path) -> dict[str, Any]:
    result = RunFolder(folder).read_finished()
    assert result is not None, f"{folder} has not finished"
    return {key: value for key, value in result.items() if key not in VARYING}


def assert_same(search: Path, quiet: Path) -> None:
    """The outcome, every trial and the winner's refit, bit for bit; every step is recorded once."""
    assert result_of(search) == result_of(quiet)
    runs = [*(f"trials/trial-{number:05d}" for number in range(TRIALS)), "best"]
    for run in runs:
        assert result_of(search / run) == result_of(quiet / run), run
        assert RunFolder(search / run).matrix.read_text() == RunFolder(quiet / run).matrix.read_text(), run
        assert step_values(RunFolder(search / run)) == step_values(RunFolder(quiet / run)), run
    failures = Counter(attempt["failure"] for run in runs for attempt in RunFolder(search / run).read_attempts())
    print(f"{len(runs)} runs are as in peace; attempts by failure: {dict(failures)}", flush=True)


def main(shards: Path, folder: Path, seed: int) -> None:
    print(f"seed {seed}", flush=True)
    nodes = Nodes(2, cpus=2)
    quiet = Tune(shards, folder / "quiet", SEARCH, *OPTIONS)
    finish(quiet, nodes)
    killed = Tune(shards, folder / "killed", SEARCH, *OPTIONS, PATIENCE)
    disturb(killed, nodes, random.Random(seed))
    assert_same(killed.folder, quiet.folder)
    assert_no_halves(folder, shards.parent)
    assert_cluster_is_free()
    nodes.close()
    assert_machine_is_clean()
    print("nothing is left", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
