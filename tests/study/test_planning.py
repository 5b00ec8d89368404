"""`hlgp plan` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hlgp_dist.config.launch_options import LaunchOptions
from hlgp_dist.errors import ConfigError
from hlgp_dist.study.planning.cluster import Cluster, share_of_gpu
from hlgp_dist.study.planning.tables import hours, si
from hlgp_dist.terminal import Grid, show_grid
from hlgp_dist.train.estimate.devices import GIB
from tests.jobs import TRAIN_PICTURES, WITHOUT_GRADIENTS, job, written
from tests.verbs import hlgp

SPACE = 'search.space={"optimizer.prompt_lr": {"loguniform": [0.001, 0.1]}, "method.num_groups": {"choice": [1, 3]}}'
DEVICE = ("--device", "A100-40")


@pytest.fixture
def planned(drawn: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """What a plan of a job shows, and its JSON."""

    def plan(overrides: tuple[str, ...], *flags: object, code: int = 0) -> tuple[str, dict[str, Any]]:
        config = written(job(drawn, tmp_path / "run"), tmp_path / "job.yaml")
        file = tmp_path / "plan.json"
        assert hlgp(monkeypatch, "plan", config, *overrides, "--json", file, *flags) == code
        shown = capsys.readouterr()
        return (shown.err, {}) if code else (shown.out, json.loads(file.read_text()))

    return plan


def row(text: str, name: str) -> list[str]:
    """Cells of the first row that begins with `name`."""
    line = next(line for line in text.splitlines() if line.startswith(f"│ {name} "))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


def test_a_run(planned: Any) -> None:
    shown, plan = planned((), *DEVICE, "--price", 2)
    assert row(shown, "steps") == [str(plan["run"]["steps"])]
    assert float(row(shown, "peak")[0].replace(",", "")) == pytest.approx(
        plan["run"]["memory"]["peak"] / 2**20, abs=0.1
    )
    assert "fits A100-40" in shown and "40 % (assumed)" in shown
    assert [bound["workers"] for bound in plan["bounds"]] == [1, 2, 4, 8, 16]
    assert len(plan["run"]["stages"]) == 5 and plan["run"]["device_hours"] > 0


def test_without_a_device_no_hours_are_invented(planned: Any) -> None:
    shown, plan = planned(())
    assert "no device given" in shown and "FLOP" in shown
    assert "wall time" not in shown
    assert plan["run"]["device_hours"] is None and plan["bounds"] == []


def test_a_search(planned: Any) -> None:
    overrides = (SPACE, "search.num_samples=8", "search.seeds=[0, 1]", "launch.gpus_per_worker=auto")
    shown, plan = planned(overrides, *DEVICE, "--gpus", 4, "--nodes", 2, "--price", 1)
    search = plan["search"]
    assert (search["configurations"], search["seeds"], search["rungs"]) == (8, 2, [1, 2, 4])
    assert search["most"]["trials"] == search["at_once"] == 16 and search["trials_per_gpu"] == 8
    assert search["alive"][0] == 8 > search["alive"][1] > search["alive"][2] == search["alive"][3] > search["alive"][4]
    assert len(search["trials"]) == 2, "a number of groups is costly, a rate is not"
    assert search["expected"]["steps"] < search["most"]["steps"] == 16 * search["trials"][0]["steps"]
    assert search["refit"]["steps"] > search["trials"][0]["steps"], "with the validation part"
    assert "8 runs on a GPU" in shown and "4 GPUs of 2 nodes" in shown
    assert row(shown, "trials that begin") == ["16", "16", "1"]


def test_budgets_bound_a_search(planned: Any) -> None:
    few = planned((SPACE, "search.budget.trials=3", "search.scheduler.kind=fifo"))[1]["search"]
    assert few["configurations"] == 3 and few["bounded"] == "search.budget.trials=3"
    overrides = (SPACE, "search.budget.trials=3", "search.seeds=[0, 1]", "search.scheduler.kind=fifo")
    halves = planned(overrides, "--gpus", 8)[1]["search"]
    assert (halves["configurations"], halves["at_once"]) == (1, 2), "a second one has no room for both seeds"
    assert halves["most"]["trials"] == halves["expected"]["trials"] == 2
    assert halves["most"]["steps"] == 2 * halves["trials"][0]["steps"]
    short = planned((SPACE, "search.budget.gpu_hours=1e-6"), *DEVICE)[1]["search"]
    assert short["expected"]["hours"] == pytest.approx(1e-6)
    assert short["bounded"] == "search.budget.gpu_hours=1e-06"


def test_a_study(planned: Any) -> None:
    cells = (
        'study.cells={"hlgp": {}, "linear": {"method": {"kind": "linear"}}, "searched": {"search": {"num_samples": 2, '
    )
    cells += '"space": {"optimizer.prompt_lr": {"loguniform": [0.001, 0.1]}}}}}'
    shown, plan = planned((cells, "study.seeds=[0, 1, 2]"), *DEVICE)
    found = plan["cells"]
    assert {name: cell["runs"] for name, cell in found.items()} == {"hlgp": 3, "linear": 3, "searched": 2}
    assert found["hlgp"]["hours"] == pytest.approx(3 * found["hlgp"]["run"]["device_hours"])
    assert found["searched"]["hours"] > found["hlgp"]["hours"]
    total = sum(cell["hours"] for cell in found.values())
    assert float(row(shown, "3 cells")[-1]) == pytest.approx(total, rel=0.01)
    assert row(shown, "3 cells")[:3] == ["1", "2", "9"] and row(shown, "searched")[:3] == ["1", "2", "3"]


def test_a_study_by_axes_counts_each_cell_as_it_runs(planned: Any) -> None:
    axes = 'study.axes={"size": {"one": {"launch": {"num_workers": 1}}, "two": {"launch": {"num_workers": 2}, '
    axes += '"train": {"global_batch_size": 32}}}, "part": {"all": {}, "half": {"data": {"train_fraction": 0.5}}}}'
    shown, plan = planned((axes, "study.seeds=[0]", "study.only=[one-*, two-all]"), *DEVICE)
    found = plan["cells"]
    assert list(found) == ["one-all", "one-half", "two-all"]
    assert found["one-half"]["axes"] == {"size": "one", "part": "half"}
    assert [cell["run"]["ranks"] for cell in found.values()] == [1, 1, 2] and plan["cluster"]["gpus"] == 2
    whole, half, two = ([stage["pictures"] for stage in cell["run"]["stages"]] for cell in found.values())
    assert [cell["run"]["micro_batch"] for cell in found.values()] == [16, max(half), -(-max(whole) // 2)]
    assert sum(whole) == sum(TRAIN_PICTURES) and sum(half) == sum(round(each / 2) for each in TRAIN_PICTURES)
    assert two == whole
    alone, shared = found["one-all"], found["two-all"]
    assert alone["wall_hours"] == alone["hours"] and shared["wall_hours"] == shared["hours"] / 2
    assert row(shown, "3 cells")[:3] == ["1 to 2", "-", "3"]
    stored = {cell["run"]["data"]["stored"] for cell in found.values()}
    few = planned((axes, "study.seeds=[0]"), *DEVICE, "--gpus", 1, code=2)[0]
    assert "study.axes, cell two-all: --gpus 1: a run has launch.num_workers = 2" in few
    assert len(stored) == 1 and f"{si(stored.pop(), 'B')} of decoded pictures on each host" in shown


def test_the_disk_of_a_study_counts_what_cells_share_once(planned: Any) -> None:
    cells = 'study.cells={"a": {}, "b": {"data": {"stored": "full"}}, "c": {"backbone": {"img_size": 64}}}'
    shown, plan = planned((cells, "study.seeds=[0]"))
    a, b, c = (set(cell["run"]["data"]["stores"].items()) for cell in plan["cells"].values())
    assert [len(each) for each in (a, b, c, a & b, a & c)] == [2, 2, 2, 1, 0]
    assert f"{si(sum(size for _, size in a | b | c), 'B')} of decoded pictures" in shown


def test_each_cell_is_priced_in_its_own_precision(planned: Any) -> None:
    """Of a closed form, which has no steps that launches would bound."""
    cells = 'study.cells={"fp32": {}, "bf16": {"engine": {"precision": "bf16"}}}'
    overrides = (cells, "study.seeds=[0]", "method={kind: gaussian}", *WITHOUT_GRADIENTS)
    found = planned(overrides, *DEVICE)[1]["cells"]
    assert [found[name]["run"]["precision"] for name in ("fp32", "bf16")] == ["fp32", "bf16"]
    assert found["fp32"]["hours"] / found["bf16"]["hours"] == pytest.approx(312 / 19.5)


def test_measured_pictures_price_a_cell_by_its_flops(planned: Any, tmp_path: Path) -> None:
    bench = tmp_path / "bench.json"
    bench.write_text('{"train_images_per_second": 0.1}')
    cells = (
        'study.cells={"base": {}, "linear": {"method": {"kind": "linear"}}, "bf16": {"engine": {"precision": "bf16"}}}'
    )
    shown, plan = planned((cells, "study.seeds=[0]", "study.only=[base, linear]"), "--bench", bench)
    base, linear = plan["cells"]["base"], plan["cells"]["linear"]
    assert linear["hours"] / base["hours"] == pytest.approx(linear["run"]["flops"] / base["run"]["flops"])
    assert "own run" in shown
    assert "precision=bf16" in planned((cells, "study.seeds=[0]"), "--bench", bench, code=2)[0]


@pytest.mark.parametrize(
    ("overrides", "flags", "code", "message"),
    [
        (("method.num_groups=99",), (), 2, "num_groups"),
        ((), ("--device", "abacus"), 2, "--device abacus"),
        ((), ("--price", "2"), 2, "no effect without --device"),
        ((), ("--bench", "nowhere.json"), 2, "--bench"),
        ((), ("--gpus", "3", "--nodes", "2"), 2, "--gpus 3"),
        (("launch.num_workers=2", "launch.gpus_per_worker=0.5", "launch.kind=ray"), (), 2, "cannot share a GPU"),
        (("data.path=nowhere",), (), 3, "nowhere"),
    ],
)
def test_misuse(planned: Any, overrides: tuple[str, ...], flags: tuple[str, ...], code: int, message: str) -> None:
    assert message in planned(overrides, *flags, code=code)[0]


def test_neither_ray_nor_deepspeed_is_imported(drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run", SPACE), tmp_path / "job.yaml")
    script = (
        f"import sys; sys.argv = ['hlgp', 'plan', {str(config)!r}]\n"
        "import atexit; from hlgp_dist.cli import main\n"
        "atexit.register(lambda: print({'ray', 'deepspeed'} & set(sys.modules)))\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "set()"


def test_shares_of_a_gpu() -> None:
    half, auto = LaunchOptions(gpus_per_worker=0.5), LaunchOptions(gpus_per_worker="auto")
    assert share_of_gpu(half, 30 * GIB, None) == 2
    assert share_of_gpu(auto, 3 * GIB, 24 * GIB) == 6
    assert share_of_gpu(auto, 3 * GIB, None) == share_of_gpu(LaunchOptions(), 3 * GIB, 24 * GIB) == 1
    several = LaunchOptions(gpus_per_worker="auto", num_workers=2)
    assert share_of_gpu(several, 3 * GIB, 24 * GIB) == 1


def test_runs_at_once() -> None:
    assert Cluster(gpus=16, nodes=2).at_once(workers=8, per_gpu=1, most=None) == 2
    assert Cluster(gpus=4).at_once(workers=1, per_gpu=3, most=5) == 5
    with pytest.raises(ConfigError, match="num_workers = 8"):
        Cluster(gpus=4).at_once(workers=8, per_gpu=1, most=None)


def test_numbers_are_short() -> None:
    assert [si(value, "B") for value in (0, 999, 1234, 2.5e15)] == ["0 B", "999 B", "1.23 kB", "2.5 PB"]
    assert [hours(value) for value in (None, 12.34, 0.5, 0.001)] == ["-", "12.3 h", "30 min", "3.6 s"]


def test_columns_without_names_have_no_header(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [("steps", "3")]
    show_grid(Grid("work", ("", ""), rows))
    assert [line[:7] for line in capsys.readouterr().out.splitlines()[1:3]] == ["┌──────", "│ steps"]
    show_grid(Grid("work", ("", "all"), rows))
    assert "all" in capsys.readouterr().out.splitlines()[2]
