"""One rank's whole run: what every launcher calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.engine.distributed import broadcast_, close_process_group, init_process_group, reduce_sum
from hlgp_dist.errors import EnvironmentFailure, Interrupted
from hlgp_dist.files import write_json
from hlgp_dist.train import metrics
from hlgp_dist.train.checkpoint import Checkpoint, load_checkpoint
from hlgp_dist.train.chronicle import Chronicle
from hlgp_dist.train.folder import RunFolder
from hlgp_dist.train.loop import TaskPlan
from hlgp_dist.train.result import finished
from hlgp_dist.train.sequence import run_sequence
from hlgp_dist.train.session import Session, open_session
from hlgp_dist.types import WorkerContext


def run(config: RunConfig, context: WorkerContext, folder: RunFolder) -> None:
    """Join the group, resume at the newest checkpoint, run the remaining tasks; the first rank writes result.json."""
    init_process_group(context.device, config.engine.timeout_seconds)
    try:
        session = open_session(config, context, folder)
        checkpoint = load_checkpoint(folder.checkpoints)
        if checkpoint is not None:
            session.restore(checkpoint)
        _check_agreement(session)
        with _chronicle(session, checkpoint):
            run_sequence(session, checkpoint)
            if session.chronicle is not None:
                numbers = metrics.summary(session.progress.matrix(), session.progress.totals)
                session.chronicle.finish(session.progress.position, numbers)
                write_json(folder.result, finished(session))  # last: with it the run counts as done
    finally:
        close_process_group()


def _check_agreement(session: Session) -> None:
    """Every rank must have found the same checkpoint, or they would train different tasks."""
    position = session.progress.position
    mine = torch.tensor([position.task, position.step], device=session.context.device)
    first = mine.clone()
    broadcast_([first])
    others = int(reduce_sum((mine != first).any().float()))
    if others:
        raise EnvironmentFailure(
            f"run.dir: {others} ranks do not see the first rank's checkpoint in {session.folder.path}; "
            "it must be on storage that all nodes share"
        )


@contextmanager
def _chronicle(session: Session, checkpoint: Checkpoint | None) -> Iterator[None]:
    """The first rank's record, closed as what happened: a failure, or something that can be resumed."""
    if session.context.world.rank > 0:
        yield
        return
    plans = [TaskPlan.of(session.config, session.num_samples(task), session.context.world) for task in session.tasks]
    if checkpoint is not None:
        session.folder.write_matrix(session.progress.matrix())
    has_steps = session.learner.method.has_gradients
    session.chronicle = Chronicle.open(
        session.config,
        session.folder.path,
        screen=session.context.screen,
        resumed_at=checkpoint.position if checkpoint else None,
        matrix=session.progress.matrix(),
        num_tasks=len(session.tasks),
        steps=sum(plan.total_steps for plan in plans) if has_steps else 0,
    )
    is_failure = False
    try:
        yield
    except Exception as error:
        is_failure = not isinstance(error, Interrupted)
        raise
    finally:
        session.chronicle.close(failed=is_failure)
