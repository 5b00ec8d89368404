"""STUDY/plan.json: what a run of each cell was planned to take, for its report to hold beside what it took."""

from __future__ import annotations

import hashlib
from pathlib import Path

from hlgp_dist.config.load import cells, vary
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.files import write_json
from hlgp_dist.study.collect import PLAN_FILE, read_object
from hlgp_dist.study.planning.run import run_json
from hlgp_dist.terminal import counting
from hlgp_dist.train.estimate.run import estimate_run

ELSEWHERE = {"run", "telemetry", "checkpoint", "study", "search"}
"""Sections that no number of a plan follows from."""


def keep_plan(folder: Path, config: RunConfig) -> None:
    """Plan every chosen cell that was not, or is not what it was; on GPUs, whatever it then runs on.

    Raises:
        ConfigError: a cell does not fit.
    """
    assert config.study is not None
    every, chosen = cells(config), config.study.chosen()
    known = read_object(folder / PLAN_FILE).get("cells")
    known = known if isinstance(known, dict) else {}
    with counting("planning") as progress:
        for done, name in enumerate(chosen, 1):
            run = vary(every[name], {"search": None})
            of = hashlib.sha256(run.model_dump_json(exclude=ELSEWHERE).encode()).hexdigest()
            if not isinstance(known.get(name), dict) or known[name].get("of") != of:
                known[name] = {"of": of, "run": run_json(estimate_run(run), None)}
            progress(done, len(chosen))
    write_json(folder / PLAN_FILE, {"cells": known})
