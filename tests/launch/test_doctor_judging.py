"""What `hlgp doctor` makes of facts: pure functions, no machine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from hlgp_dist.errors import ConfigError
from hlgp_dist.launch.doctor import (
    capacity,
    clocks,
    collectives,
    gpus,
    inputs,
    joining,
    kernels,
    locks,
    reach,
    renames,
    storage,
    token,
    versions,
)
from hlgp_dist.launch.doctor.finding import Finding, Report, summary
from hlgp_dist.launch.doctor.fleet import Reply
from hlgp_dist.launch.doctor.needs import needs_of

PACKAGES = {"python": "3.11.7", "hlgp_dist": "0.1.0", "torch": "2.15.0", "ray": "2.60.0", "deepspeed": "0.19.8"}


def test_versions_that_differ_are_named_with_their_nodes() -> None:
    *each, between = versions.judge({"a": PACKAGES, "b": PACKAGES | {"torch": "2.14.0"}})
    assert [finding.state for finding in each] == ["ok", "ok"]
    assert between.state == "failed"
    assert between.found == "not the same on all nodes: torch is 2.15.0 on a, 2.14.0 on b"
    assert "constraints.txt" in between.fix


def test_other_code_under_the_same_version_is_found() -> None:
    code = versions.CODE
    *_, between = versions.judge({"a": PACKAGES | {code: "aa"}, "b": PACKAGES | {code: "bb"}})
    assert between.found.endswith(f"{code} is aa on a, bb on b")


def test_a_package_that_is_missing_fails_its_node() -> None:
    (found,) = versions.judge({"a": PACKAGES | {"deepspeed": None}})
    assert (found.state, found.node, found.found) == ("failed", "a", "not installed: deepspeed")


CPU = gpus.Gpus((), None, None, "12.8", (), "Found no NVIDIA driver on your system", None, 4)
GPU = gpus.Gpus(("H100, 81559 MiB",) * 2, "570.1", "12.8", "12.8", ("H100",) * 2, None, None, 64)


def test_a_machine_without_gpus_is_no_failure() -> None:
    found = gpus.judge("a", CPU, wanted=False)
    assert (found.state, found.found) == ("ok", "none: it computes on 4 cores")
    assert gpus.judge("a", CPU, wanted=True).state == "failed"
    assert gpus.judge("a", replace(GPU, visible="", usable=()), wanted=False).found.startswith("hidden")


def test_gpus_are_named_with_driver_and_memory() -> None:
    found = gpus.judge("a", GPU, wanted=True)
    assert found.state == "ok"
    assert found.found == "2 x H100, 81559 MiB; driver 570.1 serves CUDA 12.8, torch is built for 12.8"


@pytest.mark.parametrize(
    ("facts", "fix"),
    [
        (replace(GPU, usable=(), driver_cuda="11.4", problem="driver too old"), "driver for CUDA 12.8, or a torch"),
        (replace(GPU, usable=(), built_for=None, problem="not compiled with CUDA"), "torch's CUDA build"),
        (replace(GPU, usable=("H100",), problem="out of memory"), "nvidia-smi"),
    ],
)
def test_gpus_that_torch_cannot_use(facts: gpus.Gpus, fix: str) -> None:
    found = gpus.judge("a", facts, wanted=False)
    assert found.state == "failed"
    assert f"{facts.problem}" in found.found
    assert fix in found.fix


def test_unlike_nodes_are_a_warning() -> None:
    assert gpus.judge_alike({"a": GPU, "b": GPU}) == []
    (found,) = gpus.judge_alike({"a": GPU, "b": CPU})
    assert (found.state, found.found) == ("warning", "not the same on all nodes: H100 on a; none on b")


def test_the_cuda_of_the_driver_is_read_from_its_heading() -> None:
    assert gpus.driver_cuda("| NVIDIA-SMI 570.1  Driver Version: 570.1  CUDA Version: 12.8     |") == "12.8"
    assert gpus.driver_cuda("") is None


def test_kernels() -> None:
    assert kernels.judge("a", kernels.Kernels("x86_64", None)).state == "ok"
    failed = kernels.judge("a", kernels.Kernels("NVIDIA H200", "fatal error: Python.h: No such file or directory"))
    assert (failed.state, failed.node) == ("failed", "a")
    assert "none for NVIDIA H200: fatal error: Python.h" in failed.found and "python3-dev" in failed.fix


def test_ranks_go_where_gpus_are() -> None:
    assert collectives.placed({"a": 2, "b": 1}) == ("nccl", [("a", 0), ("a", 1), ("b", 0)])
    assert collectives.placed({"a": 2, "b": 0}) == ("gloo", [("a", 0), ("b", 0)])
    assert collectives.placed({"a": 1}) == ("gloo", [("a", 0), ("a", 0)])


def reduced(seconds: float, is_right: bool = True) -> Reply:
    return Reply(collectives.Reduced(is_right, seconds, bytes=10**9, ranks=2, backend="gloo"))


def test_bandwidth_follows_its_formula_and_the_slowest_rank_counts() -> None:
    found = collectives.judge("gloo", 2, [("a", reduced(0.5)), ("b", reduced(2.0))])
    assert found.state == "ok"
    assert found.measured["gigabytes_a_second"] == pytest.approx(0.5)  # 2 (2-1)/2 x 1 GB / 2 s
    slow = collectives.judge("gloo", 2, [("a", reduced(100.0)), ("b", reduced(100.0))])
    assert (slow.state, slow.measured["gigabytes_a_second"]) == ("warning", pytest.approx(0.01))


def test_a_wrong_sum_and_a_silent_rank_fail() -> None:
    wrong = collectives.judge("gloo", 2, [("a", reduced(1.0)), ("b", reduced(1.0, is_right=False))])
    assert (wrong.state, wrong.found) == ("failed", "gloo, 2 ranks on 2 nodes: the sum is wrong on b")
    silent = collectives.judge("gloo", 2, [("a", reduced(1.0)), ("b", Reply(problem="no answer in 150 s"))])
    assert silent.state == "failed"
    assert "b: no answer in 150 s" in silent.found and "GLOO_SOCKET_IFNAME" in silent.fix


def test_storage_that_is_not_shared() -> None:
    a, b = storage.judge_seen({"a": {"a": 0.0, "b": storage.UNSEEN}, "b": {"a": 0.2, "b": 0.0}})
    assert (a.state, b.state) == ("failed", "ok")
    assert "unseen of b" in a.found and "Mount one and the same folder" in a.fix
    assert storage.judge_seen({"a": {"a": 0.0, "b": 2.5}})[0].state == "warning"
    assert storage.judge_seen({"a": {"b": storage.OTHER}})[0].found.endswith("other content of b")
    assert storage.who_see("a", {"a": {}, "b": {"a": storage.UNSEEN}, "c": {"a": 0.1}}) == ["a", "c"]


@pytest.mark.parametrize(
    ("node", "outcome", "state"),
    [
        ("b", "refused", "ok"),
        ("b", "given", "warning"),
        ("a", "given", "failed"),
        ("b", "unseen", "skipped"),
        ("b", "OSError: no locks available", "failed"),
    ],
)
def test_locks(node: str, outcome: str, state: str) -> None:
    assert locks.judge("a", node, outcome).state == state


def test_renames() -> None:
    assert renames.judge("a", reads=9, torn=0, absent=0).state == "ok"
    assert renames.judge("a", reads=9, torn=1, absent=0).state == "failed"
    assert renames.judge("a", reads=9, torn=0, absent=1).state == "warning"
    assert renames.judge("a", reads=0, torn=0, absent=0).state == "skipped"


@pytest.mark.parametrize(
    ("ahead", "bound", "state"),
    [(0.2, 0.01, "ok"), (-1.5, 0.01, "warning"), (1.5, 0.6, "ok"), (31.0, 0.5, "failed"), (-3600.0, 1.0, "failed")],
)
def test_clock_skew_counts_as_far_as_it_is_sure(ahead: float, bound: float, state: str) -> None:
    (found,) = clocks.judge({"a": clocks.Reading(0.0, 0.0), "b": clocks.Reading(ahead, bound)})
    assert (found.node, found.state) == ("b", state)
    assert f"{ahead:+.3f} s" in found.found


def test_a_clock_is_read_up_to_half_the_round_trip() -> None:
    read = clocks.reading(asked=100.0, there=107.0, answered=102.0)
    assert read == clocks.Reading(ahead=6.0, bound=1.0)


@pytest.mark.parametrize(
    ("found", "state", "fix"),
    [
        (token.Token("token", "/home/h/.ray/auth_token", 0o600), "ok", ""),
        (token.Token("token", "RAY_AUTH_TOKEN", None), "ok", ""),
        (token.Token("token", "/t", 0o644), "failed", "chmod 600 /t"),
        (token.Token(None, "/t", 0o600), "failed", "export RAY_AUTH_MODE=token"),
        (token.Token("token", None, None), "failed", "get-auth-token --generate"),
    ],
)
def test_tokens(found: token.Token, state: str, fix: str) -> None:
    judged = token.judge("a", found, is_cluster=True)
    assert judged.state == state
    assert fix in judged.fix
    alone = token.judge("a", found, is_cluster=False).state
    assert alone == ("ok" if state == "ok" else "warning"), "a machine without a cluster is not open yet"


def test_a_cluster_that_lets_strangers_in_fails() -> None:
    assert token.judge_stranger(0, "Active: 1 node").state == "failed"
    assert token.judge_stranger(1, "ray.exceptions.AuthenticationError: InvalidAuthToken").state == "ok"
    assert token.judge_stranger(None, "nothing answered in 30 s").state == "warning"


def test_why_a_cluster_cannot_be_joined() -> None:
    assert joining.judge("h:1", 0, "") is None
    refused, dead = joining.judge("h:1", 1, "x\nAuthenticationError: y"), joining.judge("h:1", None, "no answer")
    assert refused is not None and "auth_token" in refused.fix
    assert dead is not None and dead.found == "no Ray cluster at h:1: no answer" and "ray start" in dead.fix


def room(shm: int = 10**10, free: int = 10**11, total: int = 10**12, hard: int = 65536) -> list[str]:
    disks = tuple(capacity.Disk(use, folder, free, total) for use, folder in (("cache", "/c"), ("Ray", "/tmp")))
    return [finding.state for finding in capacity.judge("a", capacity.Room(shm, disks, (1024, hard)))]


def test_room() -> None:
    assert room() == ["ok", "ok", "ok", "ok"]
    assert room(shm=2**26)[0] == "failed" and room(shm=5 * 10**8)[0] == "warning"
    assert room(free=10**9)[1] == "failed" and room(free=5 * 10**9, total=10**10)[1:3] == ["warning", "warning"]
    assert room(free=4 * 10**10)[1:3] == ["ok", "failed"], "Ray wants a twentieth of its session's disk"
    assert room(hard=1024)[3] == "failed" and room(hard=2048)[3] == "warning" and room(hard=-1)[3] == "ok"


TWO = SimpleNamespace(
    nodes=("a", "b"),
    addresses={"a": "10.0.0.1", "b": "10.0.0.2"},
    services={"a": {"raylet": 1}, "b": {"raylet": 2}},
)


def test_a_node_has_to_reach_the_control_store_and_every_other_node() -> None:
    found = reach.targets(TWO, "a", {"a": 7, "b": 8}, "10.0.0.1:6379")  # type: ignore[arg-type]
    assert found == {
        "Ray's control store": ("10.0.0.1", 6379),
        "raylet of b": ("10.0.0.2", 2),
        "any port of b": ("10.0.0.2", 8),
    }
    closed = reach.judge("a", {"any port of b": "10.0.0.2:8 timed out"}, None)
    assert (closed.state, closed.found) == ("failed", "cannot reach any port of b: 10.0.0.2:8 timed out")
    assert "Open all TCP ports" in closed.fix
    assert "--port=PORT" in reach.judge_taken("a", [6379]).fix


def test_inputs_that_differ_between_nodes() -> None:
    *each, between = inputs.judge("data.path", {"a": "1" * 64, "b": "2" * 64})
    assert [finding.state for finding in each] == ["ok", "ok"]
    assert between.found == f"not the same on all nodes: sha256 {'1' * 12} on a, {'2' * 12} on b"


def test_a_report_counts_and_knows_whether_all_is_ready() -> None:
    fine, bad = Finding("x", "ok", "y", node="a"), Finding("z", "failed", "w", "Mend it.")
    report = Report(("a",), (fine, bad))
    assert report.of("a") == [fine]
    assert report.as_json()["ready"] is False
    assert report.as_json()["findings"][1]["fix"] == "Mend it."
    assert summary(report.findings) == "1 of 2 checks ok, 1 failed"


def test_what_is_examined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    alone = needs_of([])
    assert (alone.on_ray, alone.address, alone.data, alone.weights) == (False, None, None, None)
    assert needs_of(["data.kind=synthetic", "data.classes=10"]).data is None, "there is no folder to look for"
    assert (alone.compiles, needs_of(["engine.compile=true"]).compiles) == (False, True)
    joins = needs_of(["launch.kind=ray", "launch.address=auto"])
    assert (joins.on_ray, joins.address, joins.data) == (True, "auto", None)
    file = tmp_path / "job.yaml"
    file.write_text("data: {path: shards/x}\nsearch: {space: {optimizer.prompt_lr: {loguniform: [0.001, 0.1]}}}\n")
    searched = needs_of([str(file), "backbone.weights=w.safetensors"])
    assert searched.on_ray, "a search runs on Ray whatever launch.kind says"
    assert (searched.data, searched.weights) == (
        str(Path("shards/x").absolute()),
        str(Path("w.safetensors").absolute()),
    )
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert (needs_of([]).address, needs_of([str(file)]).address) == (None, "10.0.0.1:6379")
    with pytest.raises(ConfigError, match=r"launch\.adress"):
        needs_of(["launch.adress=auto"])
