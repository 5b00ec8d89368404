"""The sequence of tasks: learn one, freeze it, align the head, test all tasks seen, save, report."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from statistics import fmean

import torch
from torch import Tensor

from hlgp_dist.config.schema import GaussianAlignment
from hlgp_dist.data.pictures import Pictures
from hlgp_dist.engine.collectives import broadcast_, reduce_sum
from hlgp_dist.engine.deepspeed import DeepSpeedEngine
from hlgp_dist.errors import Interrupted, NonFiniteLoss
from hlgp_dist.train import metrics
from hlgp_dist.train.alignment import align
from hlgp_dist.train.checkpoint import Position
from hlgp_dist.train.evaluate import Counts, evaluate_task
from hlgp_dist.train.loop import TaskTrainer
from hlgp_dist.train.plan import TaskPlan
from hlgp_dist.train.session import Session
from hlgp_dist.train.stream import TaskStream
from hlgp_dist.types import Engine, TaskSpec

METRIC_PREFIX = {"validation": "val", "test": "test"}


OptimizerState = Mapping[str, Tensor]


def run_sequence(session: Session, optimizer_state: OptimizerState | None) -> None:
    """Run every stage that is not yet done; the state is that of a task that the session was restored inside of."""
    for task in session.stages[session.progress.position.task :]:
        engine = _learn(session, task, optimizer_state)
        optimizer_state = None
        evaluate_seen(session, task)
        if engine is not None:
            engine.close()
        session.count_decoded(task)
        position = session.progress.position
        session.progress.position = Position(task.index + 1, 0, position.global_step)
        numbers = metrics.summary(session.progress.matrix(), session.progress.totals)
        numbers["task_identification_accuracy"] = session.progress.task_identification()
        if session.chronicle is not None:  # before the checkpoint, or a kill between them would lose the record
            matrix, sampled = session.progress.matrix(), session.progress.sampled()
            session.folder.write_matrix(matrix, sampled)
            session.chronicle.task_end(matrix, sampled, numbers, session.data_numbers)
            session.chronicle.matching(session.progress.task_confusion, is_sampled=sampled[-1])
            session.chronicle.prompts(task.index, session.learner.method.diagnostics())
        session.save(engine=None)
        _report(session, metrics.measured(numbers))


def _learn(session: Session, task: TaskSpec, optimizer_state: OptimizerState | None) -> Engine | None:
    """Train the task (from inside it, if a checkpoint says so), then freeze it and align the head."""
    learner = session.learner
    pictures = session.training_pictures(task)
    session.prepare_next(task)
    if optimizer_state is None:
        learner.begin_task(task)
    else:
        learner.continue_task(task)
    session.progress.trained_parameters = learner.num_trained_parameters()
    engine = _engine(session, pictures) if learner.method.has_gradients else None
    if engine is not None:
        if optimizer_state is not None:
            engine.restore(optimizer_state)
        learner.train()
        TaskTrainer(session, engine, task, pictures).run()
    learner.eval()
    with engine.whole_parameters() if engine is not None else nullcontext():
        _freeze(session, task, pictures)
    return engine


def _engine(session: Session, pictures: Pictures) -> Engine:
    config = session.config
    plan = TaskPlan.of(config, len(pictures), session.context.world.size)
    return DeepSpeedEngine(
        session.learner,
        session.learner.trained_parameters(),
        kept=session.learner.method.parameters(),
        optimizer=config.optimizer,
        options=config.engine,
        accumulation=plan.accumulation,
    )


def _freeze(session: Session, task: TaskSpec, pictures: Pictures) -> None:
    """End the method's task; with alignment take class statistics and retrain the head, alike on every rank."""
    learner, context, config = session.learner, session.context, session.config
    context.pulse.beat(f"the end of task {task.index}")
    stream = TaskStream(
        pictures,
        task,
        context.world,
        context.device,
        batch_size=config.evaluation.batch_size,
        loading=session.loading,
    )
    learner.method.end_task(learner.trunk, stream)
    if session.memory is None:
        return
    assert isinstance(config.alignment, GaussianAlignment)
    session.memory.add(
        stream.statistics(
            learner.features,
            learner.trunk.dimensions.feature_width,
            session.memory.spread,
        )
    )
    if task.index > 0:
        context.pulse.beat(f"the alignment after task {task.index}")
        rows = align(
            learner.head,
            session.memory,
            config.alignment,
            seed=config.seed,
            task_index=task.index,
            beat=context.pulse.beat,
        )
        broadcast_(rows)
        if not all(row.isfinite().all() for row in rows):
            raise NonFiniteLoss(f"alignment.learning_rate: alignment after task {task.index} diverged")
        learner.head.replace_rows(*rows)


def evaluate_seen(session: Session, last_task: TaskSpec) -> None:
    """One more row of the accuracy matrix; after the last task of the stream also what an oracle would get."""
    is_last = session.is_last(last_task)
    counts, tested = [], session.tested_after(last_task)
    for task in tested:
        if session.is_saved_inside_tasks:  # else the end of the test is nearer than that of the training again
            _leave_if_asked(session, f"before the test of task {task.index} after task {last_task.index}")
        session.context.pulse.beat(f"the test of task {task.index} after task {last_task.index}")
        counts.append(
            evaluate_task(
                session.learner,
                session.evaluation_pictures(task, last_task),
                task,
                world=session.context.world,
                device=session.context.device,
                batch_size=session.config.evaluation.batch_size,
                loading=session.loading,
                oracle=is_last,
                is_joint=session.is_joint,
            )
        )
    progress = session.progress
    progress.right.append([count.right for count in counts])
    progress.task_right.append([count.task_right for count in counts])
    progress.tested.append([count.total for count in counts])
    progress.totals += [session.num_tested(task) for task in tested[len(progress.totals) :]]
    progress.passes["test"] = session.learner.passes["test"]
    takes_task_weights = session.learner.method.takes_task_weights and not session.is_joint
    progress.task_confusion = [[*count.task_weights] for count in counts if count.task_weights is not None]
    progress.final = _oracle_numbers(counts, takes_task_weights) if is_last else {}


def _oracle_numbers(counts: list[Counts], takes_task_weights: bool) -> dict[str, float | None]:
    """Means over tasks (macro) of what is reached where the task is known."""
    oracle = fmean((count.oracle_right or 0) / count.total for count in counts)
    within = fmean((count.within_right or 0) / count.total for count in counts)
    return {"oracle_task_accuracy": oracle if takes_task_weights else None, "within_task_accuracy": within}


def _report(session: Session, numbers: Mapping[str, float]) -> None:
    """Hand this task's numbers to the scheduler; then leave, if a signal asked for it."""
    progress = session.progress
    if progress.position.task == len(session.stages):
        return  # nothing is left that a scheduler could decide
    session.context.report(
        {f"{METRIC_PREFIX[session.part]}/{name}": value for name, value in numbers.items()}
        | {"tasks_finished": progress.position.task, "global_step": progress.position.global_step}
    )
    _leave_if_asked(session, f"after task {progress.position.task - 1}")


def _leave_if_asked(session: Session, where: str) -> None:
    """Raise Interrupted on all ranks if any was asked to leave; the newest checkpoint is as good as any to come."""
    stop = reduce_sum(torch.tensor(float(session.context.stop_requested())))
    if stop > 0:
        raise Interrupted(f"stopped by a signal {where}; run it again to resume")
