"""This machine as a fleet of one: each call is a process, killed when its time is up."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import platform
import threading
import time
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from typing import Any

from hlgp_dist.launch.doctor.fleet import Call, Probe, Reply, late, told
from hlgp_dist.ports import LOOPBACK

LEAVE_SECONDS = 5.0
KILL_SECONDS = 2.0
"""A process that a dead file system holds cannot be killed; it is not waited for."""


class Here:
    """Processes come from a server that has torch imported, since most of them want it, and importing takes seconds."""

    def __init__(self) -> None:
        self.addresses: Mapping[str, str] = {platform.node() or LOOPBACK: LOOPBACK}
        self.services: Mapping[str, Mapping[str, int]] = {}
        self._processes = multiprocessing.get_context("forkserver")
        self._processes.set_forkserver_preload(["torch", "hlgp_dist.launch.doctor.here"])

    @property
    def nodes(self) -> tuple[str, ...]:
        return tuple(self.addresses)

    def ask(self, calls: Sequence[Call], seconds: float) -> list[Reply]:
        running = [self._start(call) for call in calls]
        deadline = time.monotonic() + seconds
        try:
            return [_reply(process, end, deadline, seconds) for process, end in running]
        finally:
            for process, end in running:
                end.close()
                process.kill()
                process.join(KILL_SECONDS)

    def _start(self, call: Call) -> tuple[Any, Connection]:
        ours, theirs = self._processes.Pipe(duplex=False)
        process = self._processes.Process(target=_answer, args=(theirs, call.probe, call.args), daemon=True)
        process.start()
        theirs.close()
        return process, ours


def _reply(process: Any, end: Connection, deadline: float, seconds: float) -> Reply:
    if not end.poll(max(0.0, deadline - time.monotonic())):
        return late(seconds)
    try:
        reply: Reply = end.recv()
    except EOFError:
        return Reply(problem="the process that examined it crashed")
    process.join(LEAVE_SECONDS)  # killed, it would leave semaphores behind, of which Python warns
    return reply


def _answer(end: Connection, probe: Probe, args: tuple[Any, ...]) -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    quiet = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # libraries warn there of what the report says
        os.dup2(quiet, stream)
    try:
        end.send(Reply(probe(*args)))
    except Exception as error:
        end.send(told(error))


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)
