"""The channel between a launcher and its ranks, and who is named when nobody moves."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hlgp_dist.launch.channel import Beat, Channel, next_number
from hlgp_dist.launch.pulse import Pulse
from hlgp_dist.launch.stop import Stop
from hlgp_dist.launch.watch import Watch, hang_reason, silent_ranks


def soon(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("steps", "answered", "waiting", "silent"),
    [
        ([5, 4, 5], {0, 1, 2}, {0, 2}, [1]),
        ([5, None, 5], {0, 2}, {0, 2}, [1]),
        ([5, 5, 5], {0, 2}, {0, 2}, [1]),
        ([5, 5, 5], {0, 1, 2}, {0, 2}, [1]),
        ([5, 5, 5], {0, 1, 2}, {0, 1, 2}, [0, 1, 2]),
        ([4, 4, 5], {0, 2}, {0, 2}, [1]),
        ([4, 4, 5], set(), set(), [0, 1]),
    ],
)
def test_the_silent_one_is_the_one_that_others_wait_for(
    steps: list[int | None], answered: set[int], waiting: set[int], silent: list[int]
) -> None:
    beats = [None if step is None else Beat(step) for step in steps]
    assert silent_ranks(beats, answered=answered, waiting=waiting) == silent


def test_a_hang_is_named() -> None:
    beats = [Beat(7, 0, "task 2 step 17", "left"), Beat(6, 0, "task 2 step 17", "right")]
    words = "rank 1 on right silent for 903 s in task 2 step 17; stacks in logs/"
    assert hang_reason(beats, {1: 903.4}, {0, 1}) == words
    assert "903 s and stopped, last heard in task 2 step 17" in hang_reason(beats, {1: 903.4}, {0})
    assert "rank 0 on a host not known" in hang_reason([None], {0: 9.0}, {})
    many = hang_reason([None] * 1000, dict.fromkeys(range(1000), 9.0), {})
    assert "rank 7 on" in many and "rank 8 on" not in many and "; 992 more; stacks" in many


def test_numbers_go_on_through_all_commands(tmp_path: Path) -> None:
    assert next_number(tmp_path) == 1
    Channel(tmp_path, 9).open()
    Channel(tmp_path, 10).open()
    assert next_number(tmp_path) == 11


def test_ranks_of_a_killed_launcher_are_told_to_leave(tmp_path: Path) -> None:
    former, next_one = Channel(tmp_path, 1), Channel(tmp_path, 2)
    former.open()
    assert former.asked() == "run"
    next_one.open()
    assert (former.asked(), next_one.asked()) == ("leave", "run")


def test_ranks_hear_of_a_stop(tmp_path: Path) -> None:
    channel, stop = Channel(tmp_path, 1), Stop()
    with Watch(channel, 1, None, stop), Pulse(channel, 0, None) as pulse:
        assert not pulse.stop_requested
        stop.request()
        soon(lambda: pulse.stop_requested)
    assert channel.asked() == "leave", "whoever outlives an attempt is told"
    assert not list(tmp_path.glob("*.stacks.txt"))


def test_whoever_moves_is_left_alone_and_who_does_not_is_ended(tmp_path: Path) -> None:
    channel, ended = Channel(tmp_path, 1), []
    with Watch(channel, 2, 1.0, Stop(), end=lambda: ended.append(1)) as watch:
        time.sleep(1.5)
        assert watch.hang is None, "nobody has begun"
        channel.tell(1, Beat(0, 0, "starting", "there"))
        for step in range(15):
            channel.tell(0, Beat(step, 0, "task 0 step 1", "here"))
            time.sleep(0.1)
        assert watch.hang is None, "one rank moves, the other may wait for it"
        soon(lambda: ended)
    assert str(watch.hang).startswith("rank 1 on there silent for ")


def test_a_gauge_that_moves_is_a_sign_of_life(tmp_path: Path) -> None:
    channel, growing = Channel(tmp_path, 1), tmp_path / "growing"
    growing.write_text("")
    with Pulse(channel, 0, 1.0) as pulse:
        pulse.beat("saving")
        with pulse.watching(lambda: growing.stat().st_size):
            soon(lambda: (beat := channel.told(1)[0]) is not None and beat.doing == "saving" and beat.signs == 1)
            growing.write_text("more")
            soon(lambda: (beat := channel.told(1)[0]) is not None and beat.signs == 2)
            growing.unlink()
            time.sleep(0.3)
    beat = channel.told(1)[0]
    assert beat is not None and (beat.steps, beat.signs) == (1, 2)


def test_a_thousand_ranks_tell_less_often_and_no_less_in_the_end(tmp_path: Path) -> None:
    channel, told = Channel(tmp_path, 1), []
    with Pulse(channel, 0, 10.0, size=1000) as pulse:  # all together 50 times a second, but each within a second
        until = time.monotonic() + 3.0
        while time.monotonic() < until:
            pulse.beat()
            time.sleep(0.01)
            told.append(channel.told(1)[0])
        soon(lambda: (beat := channel.told(1)[0]) is not None and beat.steps == len(told))
    assert len(set(told)) <= 5


def test_stacks_are_written_when_asked(tmp_path: Path) -> None:
    channel = Channel(tmp_path, 1)
    channel.open()
    with Pulse(channel, 0, 5.0):
        channel.ask("stacks")
        soon(lambda: "test_stacks_are_written_when_asked" in channel.stacks_of(0).read_text())
