"""STUDY/plan.json: what a run of each cell was planned to take, for its report to hold beside what it took.

A cell that is searched is planned for every value of what moves a plan: nobody knows yet which of them wins.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hlgp_dist.config.load import apply, cells, vary
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.files import write_json
from hlgp_dist.study.members import PLAN_FILE, read_object
from hlgp_dist.study.planning.run import run_json
from hlgp_dist.terminal import counting
from hlgp_dist.train.estimate.run import estimate_run
from hlgp_dist.tuning.runs import costly_values

ELSEWHERE = {"run", "telemetry", "checkpoint", "study", "search"}
"""Sections that nothing which a report reads of a plan follows from."""


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
            run, varied = vary(every[name], {"search": None}), _varied(every[name])
            text = run.model_dump_json(exclude=ELSEWHERE) + json.dumps(varied)
            of = hashlib.sha256(text.encode()).hexdigest()
            if not isinstance(known.get(name), dict) or known[name].get("of") != of:
                planned = [(values, estimate_run(apply(run, values))) for values in varied]
                runs = [{"values": values, "run": run_json(estimate, None)} for values, estimate in planned]
                known[name] = {"of": of, "runs": runs}
            progress(done, len(chosen))
    write_json(folder / PLAN_FILE, {"cells": known})


def _varied(cell: RunConfig) -> list[dict[str, Any]]:
    """The searched values that move a plan, an empty combination where there are none."""
    return [{}] if cell.search is None else costly_values(cell.search)
