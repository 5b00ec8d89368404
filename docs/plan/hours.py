"""The hours that a plan foresees beside what real runs take: `python docs/plan/hours.py SHARDS`.

Each row is a bench, a plan by its JSON, and a run of the same, commands each, of ViT-S/16 at 112 px with random weights
in bf16 unless the row says otherwise. `training` is the run's own `training_seconds`; `all` goes from the rank's first
word to its result, so it has decoding, tests, tasks' ends and checkpoints too, but not the start of a process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

SIZE, BATCH, EPOCHS = 112, 16, 3
BACKBONE = "vit_small_patch16_224"
ROWS: dict[str, tuple[str, ...]] = {
    "HLGP": (),
    "HLGP, `method.train_mixture=current`": ("method.train_mixture=current",),
    "HLGP in fp32": ("engine.precision=fp32",),
    "HLGP in int8, compiled": ("engine.precision=int8", "engine.compile=true"),
    "CODA-Prompt": ("method.kind=coda",),
    "linear": ("method.kind=linear",),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("shards", type=Path, help="a shard folder, as of `hlgp data shard`")
    parser.add_argument("rows", nargs="*", default=list(ROWS), help="names as in the table; default all")
    given = parser.parse_args()
    print("| run | bench: training, images/s | tests | training, s: planned | taken | error | all, s | taken | error |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in given.rows:
        with tempfile.TemporaryDirectory() as folder:
            print(_row(name, ROWS[name], given.shards.resolve(), Path(folder)), flush=True)


def _row(name: str, overrides: Sequence[str], shards: Path, folder: Path) -> str:
    rates = _bench(overrides, folder / "bench.json")
    config = folder / "config.yaml"
    config.write_text(
        f"data: {{path: {shards}}}\n"
        f"backbone: {{name: {BACKBONE}, img_size: {SIZE}, weights: none}}\n"
        f"train: {{epochs: {EPOCHS}, global_batch_size: {BATCH}}}\n"
        "benchmark: {increment: 5}\n"
    )
    _hlgp("plan", config, *overrides, "--bench", folder / "bench.json", "--json", folder / "plan.json")
    plan = json.loads((folder / "plan.json").read_text())
    run = folder / "run"
    _hlgp("train", config, *overrides, f"run.dir={run.parent}", f"run.name={run.name}")
    sustained = plan["speed"]["flops"][plan["run"]["precision"]]
    training = sum(stage["training"] for stage in plan["run"]["stages"]) / sustained
    taken = json.loads((run / "result.json").read_text())["training_seconds"]
    hours, lasted = plan["bounds"][0]["hours"] * 3600, _seconds(run)
    cells = [f"{rates[f'{part}_images_per_second']:.1f}" for part in ("train", "eval")]
    for planned, real in ((training, taken), (hours, lasted)):
        cells += [f"{planned:.0f}", f"{real:.0f}", f"{100 * (planned / real - 1):+.0f} %"]
    return " | ".join(["", name, *cells, ""]).strip()


def _bench(overrides: Sequence[str], file: Path) -> dict[str, Any]:
    values = dict(override.split("=") for override in overrides)
    options = ["--method", values.pop("method.kind", "hlgp"), "--precision", values.pop("engine.precision", "bf16")]
    options += ["--compile"] if values.pop("engine.compile", None) else []
    keys = [f"{key}={value}" for key, value in values.items()]
    fixed = ["--backbone", BACKBONE, "--size", SIZE, "--batch", BATCH, "--tasks", 7, "--classes", 5]
    _hlgp("bench", "step", *fixed, *options, *keys, "--json", file)
    return dict(json.loads(file.read_text()))


def _seconds(run: Path) -> float:
    """From the rank's first word to its result."""
    first = (run / "logs" / "rank-000.log").read_text().split(" INFO ")[0]
    return (run / "result.json").stat().st_mtime - datetime.strptime(first, "%Y-%m-%d %H:%M:%S,%f").timestamp()


def _hlgp(*words: object) -> None:
    done = subprocess.run([Path(sys.executable).with_name("hlgp"), *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"hlgp {' '.join(map(str, words))}: {done.stderr.strip()}")


if __name__ == "__main__":
    main()
