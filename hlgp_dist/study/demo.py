"""The whole main job on what the package embeds: shards, a search of DeepSpeed trials, a linear probe, tables."""

from __future__ import annotations

import itertools
import time
from importlib.resources import as_file, files
from pathlib import Path

import torch

from hlgp_dist.config.load import apply, resolve
from hlgp_dist.config.schema import RunConfig
from hlgp_dist.launch.search import check_outcome, run_search
from hlgp_dist.launch.start import start_run
from hlgp_dist.launch.stop import Stop
from hlgp_dist.shards.info import info
from hlgp_dist.shards.shard import shard
from hlgp_dist.study.tables import metrics_table, show_dataset, show_matrix, show_search, tensorboard_command
from hlgp_dist.terminal import console


def run_demo(folder: Path | None, stop: Stop) -> None:
    """Run it in `folder`, or in the next free `demo/N`, and say what to open next."""
    began = time.monotonic()
    folder = fresh_folder(Path("demo")) if folder is None else folder
    with as_file(files("hlgp_dist.embedded")) as embedded:
        shard(embedded / "digits.tar", folder / "shards")
        show_dataset(folder / "shards", info(folder / "shards"))
        config = demo_config(embedded, folder)
        console.print("searching on validation pictures; a trial is a run of several DeepSpeed workers")
        _, outcome = run_search(config, "demo", show_search, stop)
        console.print("the linear probe: same backbone, head learning rate, alignment and task order")
        probe = apply(config, {"search": None, "method.kind": "linear", "run.name": "linear"})
        _, probe_result = start_run(probe, "linear", stop)
    show_matrix(outcome["test"]["accuracy_matrix"])
    console.print(metrics_table({"HLGP, best trial": outcome["test"], "linear probe": probe_result}))
    console.print(
        f"took {time.monotonic() - began:.0f} s; everything is in {folder}\n"
        f"curves, accuracy matrix, hyperparameters:  {tensorboard_command(folder / 'runs')}",
        soft_wrap=True,
    )
    check_outcome(outcome)


def demo_config(embedded: Path, folder: Path) -> RunConfig:
    """embedded/demo.yaml with its paths made absolute; no more ranks than there are GPUs, where there is any."""
    config = resolve(embedded / "demo.yaml").config
    values = {
        "data.path": str((folder / "shards").absolute()),
        "data.cache_dir": str((folder / "stores").absolute()),
        "backbone.weights": str((embedded / config.backbone.weights).absolute()),
        "run.dir": str((folder / "runs").absolute()),
        "run.name": "search",
        "launch.num_workers": min(config.launch.num_workers, torch.cuda.device_count() or config.launch.num_workers),
    }
    return apply(config, values)


def fresh_folder(root: Path) -> Path:
    """The first `root/N` that does not exist yet."""
    return next(root / str(n) for n in itertools.count(1) if not (root / str(n)).exists())
