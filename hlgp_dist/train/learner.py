"""Trunk, method and head as the one module that an engine wraps."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.nn import functional

from hlgp_dist.errors import Failure
from hlgp_dist.methods.base import Method, Output
from hlgp_dist.models.head import Head
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec


class Learner(nn.Module):
    """Calling it gives the loss of one rank's share of a micro-step."""

    def __init__(self, trunk: Trunk, method: Method) -> None:
        super().__init__()
        self.trunk = trunk
        self.method = method
        self.head = Head(trunk.dimensions.feature_width).to(trunk.device)
        self._task: TaskSpec | None = None
        self.passes: dict[str, int] = {}
        """Through the trunk, that a picture last took in `training` and in `test`."""

    @property
    def task(self) -> TaskSpec | None:
        """The one that trains, or trained last."""
        return self._task

    def begin_task(self, task: TaskSpec) -> None:
        """Make new rows in the head and what the method trains."""
        self.head.begin_task(len(task.classes))
        self.method.begin_task(task)
        self.continue_task(task)

    def continue_task(self, task: TaskSpec) -> None:
        """Go on inside of a task that was begun before a checkpoint; what it does not train gets no gradient."""
        self._task = task
        trained = self.method.trained(task)
        for parameter in self.method.parameters():
            parameter.requires_grad_(any(parameter is other for other in trained))

    def trained_parameters(self) -> dict[str, list[nn.Parameter]]:
        """What this task trains, by the learning rate it follows."""
        assert self.task is not None, "begin_task comes first"
        trained = self.method.trained(self.task)
        if self.trunk.is_trained:
            trained = [*trained, *self.trunk.parameters()]
        return {"prompt": trained, "head": list(self.head.parameters())}

    def forward(self, images: Tensor, labels: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weighted cross-entropy over the classes of the current task alone (and penalties), [], and how many were
        right, [].

        images: float [B, 3, R, R] in 0..1; labels: int64 [B] in stream order; weights: [B].
        """
        assert self.task is not None, "begin_task comes first"
        output = self.predict(images)
        logits = output.logits[:, self.task.start :]
        targets = labels - self.task.start
        losses = functional.cross_entropy(logits, targets, reduction="none")
        if output.penalties is not None:
            losses = losses + output.penalties
        right = (logits.argmax(1) == targets) & (weights > 0)
        return (losses * weights).sum(), right.sum()

    def predict(self, images: Tensor, weights: Tensor | None = None) -> Output:
        """The method's output after (or while training) the current task.

        weights: [1, T], an oracle's; its passes are not counted.

        Raises:
            Failure: what the method gives is of other shapes than an `Output` has.
        """
        assert self.task is not None, "begin_task comes first"
        before = self.trunk.num_seen
        with self.trunk.sharing(self.method.first_block):
            output: Output = self.method(self.trunk, self.head, images, self.task, weights)
        self._check_shapes(output, len(images), self.task)
        if weights is None:
            passes = math.ceil((self.trunk.num_seen - before) / len(images))
            self.passes["training" if self.training else "test"] = passes
        return output

    def features(self, images: Tensor) -> Tensor:
        """[B, F] of pictures, with the prompts of the current task alone; see `Method.features`."""
        assert self.task is not None, "begin_task comes first"
        with self.trunk.sharing(self.method.first_block):
            return self.method.features(self.trunk, images, self.task.index)

    def _check_shapes(self, output: Output, count: int, task: TaskSpec) -> None:
        """Of shapes alone: a look at values would wait for the device."""
        if not isinstance(output, Output):
            raise Failure(f"forward must return an Output, not a {type(output).__name__}")
        shapes = {"logits": (count, task.stop), "task_weights": (count, task.index + 1), "penalties": (count,)}
        for name, tensor in output._asdict().items():
            if tensor is not None and tensor.shape != shapes[name]:
                told = f"must be {list(shapes[name])}, they are {list(tensor.shape)}"
                raise Failure(f"{name} of {count} pictures {self.when()} {told}")

    def when(self) -> str:
        """Where it stands, for a message."""
        assert self.task is not None, "begin_task comes first"
        return f"{'while training' if self.training else 'after'} task {self.task.index}"

    def num_trained_parameters(self) -> int:
        """Of the current task, head apart."""
        return sum(parameter.numel() for parameter in self.trained_parameters()["prompt"])

    def num_stored_parameters(self) -> int:
        """Kept after the tasks so far, head apart; a trunk that was trained has to be kept too."""
        trunk = self.trunk.parameters() if self.trunk.is_trained else ()
        return self.method.num_stored_parameters() + sum(parameter.numel() for parameter in trunk)

    def saved(self) -> dict[str, nn.Module]:
        """The parts that a checkpoint holds."""
        parts: dict[str, nn.Module] = {"method": self.method, "head": self.head}
        return parts | ({"trunk": self.trunk} if self.trunk.is_trained else {})
