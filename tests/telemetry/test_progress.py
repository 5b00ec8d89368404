"""Plain lines now and then, a live display on a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

from hlgp_dist.telemetry.progress import PLAIN_SECONDS, Live, Plain, Silent, Snapshot, describe, open_display, rate


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def snapshot(step: int) -> Snapshot:
    return Snapshot(2, 5, 3, 8, step, 600, loss=0.43121, images_per_second=412.3)


def test_one_line_says_it_all() -> None:
    assert describe(snapshot(120), 3190.4) == "task 2/5 epoch 3/8 step 120/600 loss 0.4312 412 images/s ETA 0:53:10"
    assert describe(snapshot(120), None).endswith("ETA -:--:--")
    assert "loss 9.64e+31 " in describe(replace(snapshot(120), loss=9.641074e31), None)
    assert [rate(0.0312), rate(0.46), rate(9.96), rate(412.3)] == ["0.0", "0.5", "10.0", "412"]


def test_plain_lines_are_limited_and_end_with_the_last() -> None:
    now, stream = 0.0, io.StringIO()
    progress = Plain(stream, clock=lambda: now)
    for step in range(1, 32):
        progress.show(snapshot(step))
        now += 1.0
    progress.close()
    steps = [line.split("step ")[1].split("/")[0] for line in stream.getvalue().splitlines()]
    assert steps == ["1", "11", "21", "31"]
    assert PLAIN_SECONDS == 10.0
    assert "ETA 0:09:49" in stream.getvalue()  # step 11 of 600 at a step a second


def test_notes_are_never_held_back() -> None:
    stream = io.StringIO()
    progress = open_display(stream, enabled=True)
    assert isinstance(progress, Plain)
    progress.note("task 0: 93.1 %")
    progress.note("task 1: 90.2 %")
    progress.close()
    assert stream.getvalue() == "task 0: 93.1 %\ntask 1: 90.2 %\n"


def test_a_terminal_gets_the_live_display() -> None:
    stream = Terminal()
    progress = open_display(stream, enabled=True)
    assert isinstance(progress, Live)
    progress.show(snapshot(120))
    progress.note("[kept] as it is")
    progress.close()
    assert "step 120/600" in stream.getvalue()
    assert "[kept] as it is" in stream.getvalue()


def test_other_ranks_are_silent() -> None:
    stream = io.StringIO()
    progress = open_display(stream, enabled=False)
    assert isinstance(progress, Silent)
    progress.show(snapshot(1))
    progress.note("x")
    progress.close()
    assert stream.getvalue() == ""
