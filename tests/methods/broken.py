"""Plug-ins that break the contract, each in one thing."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from docs.plugin.one_prompt import OnePrompt
from hlgp_dist.config import method_options
from hlgp_dist.config.section import MethodOptions
from hlgp_dist.methods.base import Output
from hlgp_dist.methods.diagnostics import Diagnostics, Likeness
from hlgp_dist.methods.l2p import L2p


class Options(MethodOptions):
    kind: str
    prompt_length: int = 2


class MeanOfTheBatch(OnePrompt):
    """Leaks the task: at a test a batch is of one task."""

    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features if self.training else features - features.mean(0)))


class MeanOfTheTrainingBatch(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features - features.mean(0) if self.training else features))


class MeanOfALargeBatch(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features - features.mean(0) if len(images) > 16 else features))


class VoteOfTheBatch(L2p):
    """L2P's `batchwise_prompt`: all pictures get the prompts that most of them chose. Training makes them agree."""

    Options = Options

    def __init__(self, options, setting):
        super().__init__(method_options.L2p(kind="l2p", pool_size=8, prompt_length=2, top_k=3), setting)

    def _prompted(self, trunk, images):
        with torch.no_grad():
            query = functional.normalize(trunk(images))
        nearness = query @ functional.normalize(self.keys).T
        votes = nearness.topk(3, 1).indices.flatten().bincount(minlength=8)
        elected = votes.topk(3).indices.expand(len(images), -1)
        return trunk(images, self._joined(trunk, self.pool[elected])), nearness.gather(1, elected)


class GradientByBatchSize(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        constant = features.detach()
        return Output(head(constant + (features - constant) / len(images)))


class OfTheHost(OnePrompt):
    """A constant that is made where no GPU is."""

    def forward(self, trunk, head, images, task, weights=None):
        return Output(head(self.features(trunk, images, task.index)) + torch.zeros(task.stop))


class HiddenOnTheHost(OnePrompt):
    """No buffer, so no device takes it along."""

    def end_task(self, trunk, stream):
        super().end_task(trunk, stream)
        self.seen = torch.ones(32)

    def features(self, trunk, images, task_index):
        features = super().features(trunk, images, task_index)
        return features * self.seen if hasattr(self, "seen") else features


class TableOnTheHost(OnePrompt):
    """Rows of the host, chosen on the device."""

    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features) + torch.zeros(2, 1)[(features[:, 0] > 0).long()])


class StackedOnTheHost(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features) + torch.stack([torch.tensor(0.0), features.sum() * 0.0]).sum())


class PrintsValues(OnePrompt):
    """What it prints there is none of without a value."""

    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        assert f"{features.mean():.3f}"
        return Output(head(features))


class LooksAtValues(OnePrompt):
    """Slow on a GPU, and right."""

    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features) * float(features.isfinite().all().item()))


class SharesTooMuch(OnePrompt):
    """Its prompts begin at block 0."""

    first_block = 3

    def forward(self, trunk, head, images, task, weights=None):
        with torch.no_grad():
            trunk(images)
        return super().forward(trunk, head, images, task)


class FutureClass(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        logits = head(self.features(trunk, images, task.index))
        return Output(torch.cat([logits, logits[:, :1]], 1))


class OnePenalty(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        return Output(head(self.features(trunk, images, task.index)), penalties=self.prompts.square().sum())


class NoDistribution(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        return Output(head(self.features(trunk, images, task.index)), torch.ones(len(images), task.index + 1))


class NotFinite(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        return Output(head(self.features(trunk, images, task.index)) / 0.0)


class Blind(OnePrompt):
    def features(self, trunk, images, task_index):
        return super().features(trunk, torch.zeros_like(images), task_index)


class Unused(OnePrompt):
    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.spare = nn.Parameter(torch.zeros(3))


class NothingTrained(OnePrompt):
    def trained(self, task):
        return []


class NoGradients(OnePrompt):
    has_gradients = False


class TrunkTrained(OnePrompt):
    def begin_task(self, task):
        self.task = task

    def forward(self, trunk, head, images, task, weights=None):
        trunk.vit.norm.requires_grad_()
        return super().forward(trunk, head, images, task, weights)


class Remembering(OnePrompt):
    """What the others go wrong with: a memory that predictions use."""

    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.register_buffer("shift", torch.zeros(setting.dimensions.feature_width))

    def features(self, trunk, images, task_index):
        return super().features(trunk, images, task_index) + self.shift


class WrittenInTraining(Remembering):
    def forward(self, trunk, head, images, task, weights=None):
        if self.training:
            self.shift += 1.0
        return super().forward(trunk, head, images, task, weights)


class Attached(Remembering):
    def end_task(self, trunk, stream):
        self.shift = self.prompts.sum((0, 1, 2))


class NoBuffer(OnePrompt):
    shift = 0.0

    def features(self, trunk, images, task_index):
        return super().features(trunk, images, task_index) + self.shift

    def end_task(self, trunk, stream):
        self.shift = self.prompts.detach().sum((0, 1, 2))


class LateBuffer(OnePrompt):
    def begin_task(self, task):
        self.register_buffer("late", torch.zeros(3))


class GlobalDraws(OnePrompt):
    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.prompts = nn.Parameter(torch.randn_like(self.prompts))


class LateDraws(OnePrompt):
    def begin_task(self, task):
        if task.index == 2:
            self.prompts.data = torch.randn_like(self.prompts)


class OneSeed(OnePrompt):
    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.prompts = nn.Parameter(torch.randn(self.prompts.shape, generator=torch.Generator().manual_seed(7)))


class NoOracle(OnePrompt):
    takes_task_weights = True


class EarlierRows(OnePrompt):
    """Forgets on purpose."""

    heads = ()

    def forward(self, trunk, head, images, task, weights=None):
        self.heads = (head,)
        return super().forward(trunk, head, images, task, weights)

    def end_task(self, trunk, stream):
        for head in self.heads:
            head.past_weight *= 0.5


class NotOnMeta(OnePrompt):
    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.length = self.prompts.norm().item()


class MeanOfAFullBatch(OnePrompt):
    """In a run's tests, and in no batch of a few pictures."""

    def forward(self, trunk, head, images, task, weights=None):
        features = self.features(trunk, images, task.index)
        return Output(head(features - features.mean(0) if len(images) > 100 else features))


class NoOutput(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        return head(self.features(trunk, images, task.index))


class Understated(OnePrompt):
    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.register_buffer("large", torch.zeros(1_000_000))

    def num_stored_parameters(self):
        return 0


class LeftOut(Remembering):
    def kept(self):
        return [self.prompts, self.shift[:0]]


class OldPictures(OnePrompt):
    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.seen = []

    def forward(self, trunk, head, images, task, weights=None):
        if self.training:
            self.seen.append(images.clone())
        return super().forward(trunk, head, images, task, weights)


EVERYBODYS = []


class OldPicturesOfAll(OldPictures):
    """Out of reach of a look at the method itself."""

    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.seen = EVERYBODYS


class Replayed(OldPictures):
    """Old pictures decide what is remembered."""

    def __init__(self, options, setting):
        super().__init__(options, setting)
        self.register_buffer("level", torch.zeros(()))

    def end_task(self, trunk, stream):
        self.level = torch.cat([images.flatten() for images in self.seen] or [self.level[None]]).mean()


class NotCosines(OnePrompt):
    def diagnostics(self):
        rows = self.prompts.detach().flatten(1)
        return Diagnostics({}, {"similarity_of_blocks": Likeness(100 * rows @ rows.mT, "block", tuple("012345"))})


class ChangedByTelling(OnePrompt):
    """Norms its prompts where they are."""

    @torch.no_grad()
    def diagnostics(self):
        self.prompts /= 2 * self.prompts.norm()
        return Diagnostics()


class Boom(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        raise RuntimeError("boom\nand more of it")


class BoomInTheSecondTask(OnePrompt):
    def begin_task(self, task):
        if task.index == 1:
            raise KeyError("boom")


class BoomAtTheEnd(OnePrompt):
    def end_task(self, trunk, stream):
        stream.statistics(lambda images: images[0, 0, 0, 99], 32, "none")


class NoGraph(OnePrompt):
    def forward(self, trunk, head, images, task, weights=None):
        return Output(head(self.features(trunk, images, task.index)).detach())
