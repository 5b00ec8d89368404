"""One rank's whole run: what every launcher calls."""

from __future__ import annotations

from hlgp_dist.config.schema import RunConfig
from hlgp_dist.engine.distributed import close_process_group, init_process_group
from hlgp_dist.train.checkpoint import load_checkpoint
from hlgp_dist.train.folder import RunFolder, write_json
from hlgp_dist.train.journal import Journal
from hlgp_dist.train.result import finished
from hlgp_dist.train.sequence import run_sequence
from hlgp_dist.train.session import open_session
from hlgp_dist.types import WorkerContext


def run(config: RunConfig, context: WorkerContext, folder: RunFolder) -> None:
    """Join the group, resume at the newest checkpoint, run the remaining tasks; the first rank writes result.json."""
    init_process_group(context.device, config.engine.timeout_seconds)
    try:
        session = open_session(config, context, folder)
        checkpoint = load_checkpoint(folder.checkpoints)
        if context.world.rank == 0:
            session.journal = Journal.open(config, folder, len(session.tasks), checkpoint)
        run_sequence(session, checkpoint)
        if session.journal is not None:
            result = finished(session)
            write_json(folder.result, result)
            session.journal.finish(result)
    finally:
        close_process_group()
