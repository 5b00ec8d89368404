"""Where the ranks of a run are, what each holds, and what is done when one is lost."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from hlgp_dist.config.section import Section, operational

SMALLEST_SHARE = 0.0001
"""Of a GPU; Ray cuts shares to whole ten-thousandths."""


class LaunchOptions(Section):
    """Workers are the DeepSpeed ranks of one run.

    kind: processes of this machine, or workers of a Ray; a search is always on Ray. num_workers: of one run. address:
    of a Ray that is there; null: RAY_ADDRESS, else a local one is started. cpus_per_worker: that each reserves.
    driver_resource: a custom resource of the nodes that drivers of trials may run on; null: the head. gpus_per_worker:
    null: one where there are any. A part of one lets trials of one worker share a GPU: each takes that part of its
    memory at most. auto: the part that a rank is estimated to need (docs/plan.md), one where a run has several workers.
    wait_seconds: for the nodes of a cluster to join, at the start and before a retry; for those that an autoscaler
    starts as long as it takes. max_retries: attempts after a worker was lost, in a row that save nothing new; of a
    search's trial also drivers that died. elastic: an attempt may have fewer workers, as many as the cluster holds
    after `wait_seconds`. hang_seconds: no rank moves for so long, and the attempt ends.
    """

    kind: Literal["local", "ray"] = operational("local")
    num_workers: PositiveInt = operational(1)
    address: str | None = operational(None)
    cpus_per_worker: PositiveInt = operational(1)
    gpus_per_worker: Annotated[float, Field(ge=0.0, le=1.0)] | Literal["auto"] | None = operational(None)
    driver_resource: str | None = operational(None)
    max_retries: NonNegativeInt = operational(3)
    elastic: bool = operational(False)
    wait_seconds: NonNegativeInt = operational(300)
    hang_seconds: PositiveFloat | None = operational(900)

    @model_validator(mode="after")
    def _retries(self) -> LaunchOptions:
        if self.max_retries == 0:
            self.refuse_without_effect("elastic", "max_retries: 0 makes one attempt")
        return self

    @model_validator(mode="after")
    def _share_is_counted(self) -> LaunchOptions:
        if isinstance(self.gpus_per_worker, float) and 0.0 < self.gpus_per_worker < SMALLEST_SHARE:
            raise ValueError(f"gpus_per_worker must be 0, or at least {SMALLEST_SHARE:.4f}, the least that Ray counts")
        return self

    @model_validator(mode="after")
    def _ranks_have_gpus_of_their_own(self) -> LaunchOptions:
        if self.num_workers > 1 and self.gpus_per_worker not in (None, "auto", 0.0, 1.0):
            raise ValueError(
                f"gpus_per_worker = {self.gpus_per_worker}: the {self.num_workers} ranks of a run cannot share a GPU; "
                "give 1, or num_workers: 1"
            )
        return self
