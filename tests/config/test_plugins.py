"""The example plug-in, installed beside the package as another package would be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.jobs import job, written

EXAMPLE = Path(__file__).parents[2] / "docs" / "plugin"
HLGP = [sys.executable, "-c", "from hlgp_dist.cli import main; main()"]
BROKEN = {
    "missing": ("missing = nowhere:Method\n", "the plug-in nowhere:Method cannot be loaded (ModuleNotFoundError"),
    "bare": ("bare = json:JSONDecoder\n", "json:JSONDecoder.Options is no MethodOptions with a `kind`"),
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `pip install docs/plugin` would leave: the module and its entry point, and two broken ones."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "one_prompt.py").write_text((EXAMPLE / "one_prompt.py").read_text())
    info = folder / "one_prompt-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: one_prompt\nVersion: 0.1\n")
    points = "".join(line for line, _ in BROKEN.values())
    (info / "entry_points.txt").write_text(f"[hlgp_dist.methods]\none_prompt = one_prompt:OnePrompt\n{points}")
    return folder


def hlgp(site: Path, *words: object) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), *sys.path])
    return subprocess.run(
        [*HLGP, *map(str, words)], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True
    )


def test_a_plugin_is_configured_trained_and_reported(site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run", "benchmark.max_tasks=2"), tmp_path / "job.yaml")
    words = (config, "method.kind=one_prompt", "method.prompt_length=3")
    shown = hlgp(site, "config", *words)
    assert "kind: one_prompt" in shown.stdout and "prompt_length: 3" in shown.stdout, shown.stderr
    trained = hlgp(site, "train", *words)
    assert trained.returncode == 0, trained.stderr
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["method"] == "one_prompt"
    assert result["num_trainable_parameters"] == result["num_stored_parameters"] - statistics(4) == 6 * 2 * 3 * 32
    again = hlgp(site, "train", config, "method.kind=one_prompt", "method.prompt_length=4")
    assert again.returncode == 2 and "method.prompt_length: 3 -> 4" in again.stderr


def statistics(classes: int) -> int:
    """What diagonal alignment remembers."""
    return classes * 2 * 32


def test_an_unknown_kind_lists_the_plugins(site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run"), tmp_path / "job.yaml")
    shown = hlgp(site, "config", config, "method.kind=one_promt")
    assert shown.returncode == 2
    assert "missing, one_prompt; did you mean one_prompt?" in shown.stderr


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_wrong_with_a_plugin_is_said(kind: str, site: Path, drawn: Path, tmp_path: Path) -> None:
    config = written(job(drawn, tmp_path / "run"), tmp_path / "job.yaml")
    shown = hlgp(site, "config", config, f"method.kind={kind}")
    assert shown.returncode == 2
    assert BROKEN[kind][1] in shown.stderr
