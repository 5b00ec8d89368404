"""`engine.micro_batch_size: auto`: every rank finds out what its device holds, and all take the least."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch

from hlgp_dist.config.load import apply
from hlgp_dist.data.plan import largest_share
from hlgp_dist.engine.collectives import barrier, reduce_min
from hlgp_dist.files import write_json
from hlgp_dist.train.batch_sizes import BatchSizes
from hlgp_dist.train.device_memory import DeviceMemory, Room, is_out_of_memory
from hlgp_dist.train.environment import code_hash, device_name
from hlgp_dist.train.fitting.probe import Probe
from hlgp_dist.train.fitting.remembered import About, recall, remember
from hlgp_dist.train.largest import largest, too_few, usable
from hlgp_dist.train.session import Session

log = logging.getLogger("hlgp_dist")
GB = 10**9


@contextmanager
def batch_sizes_agreed(session: Session) -> Iterator[None]:
    """Inside, the session's configuration has the numbers that `auto` is; every rank calls it.

    Where a rank runs out of memory nevertheless, its host remembers half of them.
    """
    if session.config.engine.micro_batch_size != "auto" or session.is_over:
        yield
        return
    memory, world = DeviceMemory(session.context.device), session.context.world
    room = memory.room(world.host_size)
    barrier()  # no rank takes anything before all have looked
    about, most = _about(session, room), usable(room.most)
    known = recall(about, most)
    blocks, share = session.config.engine.checkpoint_blocks, _share(session)(None)
    agreed = _least_of_all(known or _found(session, memory, most, recomputes=blocks == "all"))
    if blocks == "auto" and not agreed.recomputes and too_few(agreed.micro_batch, share):
        agreed = _least_of_all(_found(session, memory, most, recomputes=True))
    session.learner.trunk.recompute_blocks(agreed.recomputes)
    if agreed != known:
        remember(about, agreed)
    session.config = apply(session.config, agreed.values())
    _tell(session, agreed, room, "remembered" if agreed == known else "probed")
    try:
        yield
    except Exception as error:
        if is_out_of_memory(error):
            remember(about, agreed.halved())
        raise


def _found(session: Session, memory: DeviceMemory, most: int, *, recomputes: bool) -> BatchSizes:
    """By this rank, on its device."""
    session.learner.trunk.recompute_blocks(recomputes)
    probe, share = Probe(session, memory), _share(session)
    session.context.pulse.beat("how many pictures the memory holds")
    with session.context.pulse.watching(lambda: probe.num_calls):
        peak = probe.testing()
        tested = largest(peak, memory.held(), session.config.evaluation.batch_size, most)
        peak = probe.training()
        trained = largest(peak, memory.held(), share(None), most, share=share)
    memory.give_back()
    return BatchSizes(trained.size, tested.size, recomputes, int(min(max(trained.peak, tested.peak), most)))


def _share(session: Session) -> Callable[[int | None], int]:
    """What a bound of a micro-batch comes to."""
    return partial(largest_share, session.config.train.global_batch_size, session.context.world.size)


def _least_of_all(mine: BatchSizes) -> BatchSizes:
    """Blocks compute again on all ranks where they have to on one."""
    numbers = torch.tensor([mine.micro_batch, mine.evaluation_batch, not mine.recomputes])
    micro_batch, evaluation_batch, keeps = reduce_min(numbers).tolist()
    return BatchSizes(micro_batch, evaluation_batch, not keeps, mine.peak_bytes)


def _about(session: Session, room: Room) -> About:
    """All that decides what a rank's device holds."""
    config, world = session.config, session.context.world
    return {
        "backbone": config.backbone.model_dump(mode="json", include={"name", "img_size", "kwargs"}),
        "method": config.method.model_dump(mode="json"),
        "classes": [len(stage.classes) for stage in session.stages],
        "optimizer": config.optimizer.kind,
        "engine": config.engine.model_dump(mode="json", exclude={"micro_batch_size", "timeout_seconds"}),
        "pictures": [config.data.stored, config.data.augmentation is not None],
        "share": _share(session)(None),
        "evaluation": config.evaluation.batch_size,
        "device": device_name(session.context.device),
        "memory": room.total,
        "ranks": [world.size, world.host_size],
        "torch": torch.__version__,
        "code": code_hash(),
    }


def _tell(session: Session, sizes: BatchSizes, room: Room, how: str) -> None:
    """In the rank's log, and the first rank's in RUN/logs/batch_sizes.json, where the launcher finds them."""
    log.info(
        "engine.micro_batch_size: auto is %d, evaluation.batch_size %d, engine.checkpoint_blocks %s (%s): "
        "at most %.3g GB of %.3g GB",
        *sizes.values().values(),
        how,
        sizes.peak_bytes / GB,
        room.most / GB,
    )
    if session.context.world.rank == 0:
        told = {"values": sizes.values(), "how": how, "peak_bytes": sizes.peak_bytes, "room_bytes": room.most}
        write_json(session.folder.batch_sizes, told)
