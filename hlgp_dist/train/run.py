"""One rank's whole run: what every launcher calls."""

from __future__ import annotations

from contextlib import closing, nullcontext
from typing import TYPE_CHECKING

import torch

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.engine.collectives import broadcast_, reduce_sum
from hlgp_dist.engine.distributed import process_group
from hlgp_dist.errors import EnvironmentFailure
from hlgp_dist.files import write_json
from hlgp_dist.train import metrics
from hlgp_dist.train.checkpoint import Position, load_checkpoint, without_prefix
from hlgp_dist.train.environment import record_environment
from hlgp_dist.train.fitting.agree import batch_sizes_agreed
from hlgp_dist.train.folder import NOT_SHARED, RunFolder
from hlgp_dist.train.plan import planned_steps
from hlgp_dist.train.result import finished
from hlgp_dist.train.sequence import OptimizerState, run_sequence
from hlgp_dist.train.session import Session, open_session
from hlgp_dist.types import WorkerContext

if TYPE_CHECKING:
    from hlgp_dist.train.chronicle import Chronicle


def run(config: RunConfig, context: WorkerContext, folder: RunFolder) -> None:
    """Join the group, resume at the newest checkpoint, run the remaining tasks; the first rank writes result.json."""
    with process_group(context.device, config.engine.timeout_seconds):
        record_environment(folder, context)
        session = open_session(config, context, folder)
        with closing(session.supply):
            optimizer_state = _resume(session)
            _check_agreement(session)
            session.chronicle = _chronicle(session)
            with batch_sizes_agreed(session), session.chronicle or nullcontext():
                run_sequence(session, optimizer_state)
                if session.chronicle is not None:
                    numbers = metrics.summary(session.progress.matrix(), session.progress.totals)
                    session.chronicle.finish(session.progress.position, session.progress.sampled(), numbers)
                    write_json(folder.result, finished(session))  # last: with it the run counts as done


def _resume(session: Session) -> OptimizerState | None:
    """Go to the newest checkpoint; the optimizer's part of one from inside a task."""
    checkpoint = load_checkpoint(session.folder.checkpoints, session.folder.keeper.obtain)
    if checkpoint is None:
        return None
    session.restore(checkpoint)
    return without_prefix("optimizer", checkpoint.tensors) if checkpoint.position.step > 0 else None


def _check_agreement(session: Session) -> None:
    """Every rank must have found the same checkpoint, or they would train different tasks."""
    position = session.progress.position
    mine = torch.tensor([position.task, position.step], device=session.context.device)
    first = mine.clone()
    broadcast_([first])
    others = int(reduce_sum((mine != first).any().float()))
    if others:
        raise EnvironmentFailure(
            f"run.dir: {others} ranks do not see the first rank's checkpoint in {session.folder}; {NOT_SHARED}"
        )


def _chronicle(session: Session) -> Chronicle | None:
    """The first rank's record."""
    if session.context.world.rank > 0:
        return None
    from hlgp_dist.train.chronicle import Chronicle  # brings TensorBoard, which no other rank needs

    resumed_at = session.progress.position if session.progress.position != Position() else None
    if resumed_at is not None:
        session.folder.write_matrix(session.progress.matrix(), session.progress.sampled())
    return Chronicle.open(
        session.config,
        session.folder.path,
        screen=session.context.screen,
        resumed_at=resumed_at,
        num_tasks=len(session.stages),
        steps=planned_steps(session.config, map(session.num_samples, session.stages), session.context.world.size),
    )
