"""Every method gives what a second, naive implementation gives: predictions, training loss and its gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from hlgp_dist.config import classifier_options, hlgp_options
from hlgp_dist.config import method_options as options
from hlgp_dist.contract.rehearsal import Pictures, Rehearsal, tiny_trunk
from hlgp_dist.models.injection import BlockPrompt, ClsAddition, Injection, Prefix, Tokens
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec
from tests.methods.naive import Insert, Known, answer, nearest, tokens_of

RTOL = 1e-5
"""Of the largest value: fp32, and another order of summation."""

GRADIENT_RTOL = 1e-4
"""A gradient passes the blocks twice, and is small where its terms cancel."""

CURRENT = {"train_mixture": "current"}
AUXILIARY = hlgp_options.AuxiliaryMatching(kind="auxiliary", temperature=2.0)


def hlgp(**more: object) -> hlgp_options.Hlgp:
    return hlgp_options.Hlgp(**{"prompt_length": 3, **more})


def auxiliary(classifier: classifier_options.Unprompted) -> hlgp_options.AuxiliaryMatching:
    return hlgp_options.AuxiliaryMatching(kind="auxiliary", classifier=classifier)


PROMPTED: dict[str, options.Method] = {
    "l2p": options.L2p(kind="l2p", pool_size=5, prompt_length=2, top_k=3),
    "l2p prefix": options.L2p(kind="l2p", pool_size=5, prompt_length=2, top_k=3, insertion="prefix", pull=0.5),
    "dualprompt": options.DualPrompt(kind="dualprompt", general_length=2, expert_length=3),
    "dualprompt elsewhere": options.DualPrompt(
        kind="dualprompt", general_layers=(3,), expert_layers=(0, 5), pull=0.3, general_length=1, expert_length=2
    ),
    "dualprompt keys per layer": options.DualPrompt(kind="dualprompt", expert_length=2, keys="per_layer"),
    "coda": options.Coda(kind="coda", num_components=9, prompt_length=2, orthogonality=0.1),
    "coda elsewhere": options.Coda(kind="coda", num_components=10, prompt_length=2, layers=(1, 4)),
    "apt": options.Apt(kind="apt", ema_decay=0.6),
    "linear": options.Linear(kind="linear"),
    "independent": hlgp_options.Independent(kind="independent", prompt_length=3),
    "independent, some layers": hlgp_options.Independent(kind="independent", prompt_length=3, layers=(0, 2, 5)),
    "independent, mean": hlgp_options.Independent(kind="independent", prompt_length=3, accumulation="mean"),
    "hlgp": hlgp(),
    "hlgp separate bottleneck": hlgp(generator=hlgp_options.BottleneckGenerator(rank=4, separate_kv=True)),
    "hlgp linear": hlgp(generator=hlgp_options.LinearGenerator(kind="linear")),
    "hlgp separate linear": hlgp(generator=hlgp_options.LinearGenerator(kind="linear", separate_kv=True)),
    "hlgp scale_shift": hlgp(generator=hlgp_options.ScaleShiftGenerator(kind="scale_shift")),
    "hlgp separate scale_shift": hlgp(generator=hlgp_options.ScaleShiftGenerator(kind="scale_shift", separate_kv=True)),
    "hlgp direct": hlgp(generator=hlgp_options.DirectGenerator(kind="direct")),
    "hlgp frozen generator": hlgp(generator=hlgp_options.BottleneckGenerator(rank=4, frozen_after_first_task=True)),
    "hlgp multiplicative": hlgp(position=hlgp_options.MultiplicativePosition(kind="multiplicative")),
    "hlgp sinusoidal": hlgp(position=hlgp_options.SinusoidalPosition(kind="sinusoidal", scale=0.3)),
    "hlgp no position": hlgp(position=hlgp_options.NoPosition(kind="none")),
    "hlgp tokens": hlgp(insertion="tokens"),
    "hlgp cls": hlgp(insertion="cls", prompt_length=1),
    "hlgp uneven groups": hlgp(group_layout=(1, 3, 2)),
    "hlgp 4 groups": hlgp(num_groups=4),
    "hlgp some layers": hlgp(layers=(1, 2, 4), num_groups=2),
    "hlgp some layers, sines": hlgp(
        layers=(1, 3, 4), num_groups=2, position=hlgp_options.SinusoidalPosition(kind="sinusoidal", scale=0.3)
    ),
    "hlgp 1 cycle": hlgp(matching=hlgp_options.PosteriorMatching(cycles=1)),
    "hlgp 3 cycles": hlgp(matching=hlgp_options.PosteriorMatching(cycles=3, temperature=0.5)),
    "hlgp current": hlgp(**CURRENT),
    "hlgp auxiliary": hlgp(matching=AUXILIARY, **CURRENT),
    "hlgp auxiliary ncm": hlgp(matching=auxiliary(classifier_options.NearestMean(kind="ncm")), **CURRENT),
    "hlgp auxiliary ranpac": hlgp(
        matching=auxiliary(
            classifier_options.RanPac(kind="ranpac", projection_width=10, features="pooled_and_patches")
        ),
        **CURRENT,
    ),
    "hlgp prototype": hlgp(matching=hlgp_options.PrototypeMatching(kind="prototype", temperature=0.01), **CURRENT),
    "hlgp combined": hlgp(matching=AUXILIARY, prediction="combined", **CURRENT),
    "hlgp mean": hlgp(accumulation="mean"),
    "hlgp mean, current": hlgp(accumulation="mean", **CURRENT),
    "hlgp sum": hlgp(accumulation="sum"),
    "hlgp sum, current": hlgp(accumulation="sum", **CURRENT),
    "hlgp sum_delta": hlgp(accumulation="sum_delta"),
    "hlgp sum_delta, multiplicative": hlgp(
        accumulation="sum_delta", position=hlgp_options.MultiplicativePosition(kind="multiplicative")
    ),
    "hlgp ema": hlgp(accumulation="ema", ema_decay=0.6),
    "hlgp last": hlgp(accumulation="last"),
}
CLOSED_FORM: dict[str, options.Method] = {
    "ncm": classifier_options.NearestMean(kind="ncm"),
    "ncm, patches too": classifier_options.NearestMean(kind="ncm", features="pooled_and_patches"),
    "gaussian": classifier_options.Gaussian(kind="gaussian"),
    "gaussian, patches too": classifier_options.Gaussian(kind="gaussian", features="pooled_and_patches"),
    "ranpac": classifier_options.RanPac(kind="ranpac", projection_width=10),
    "ranpac, patches too": classifier_options.RanPac(kind="ranpac", projection_width=10, features="pooled_and_patches"),
    "ranpac, several blocks": classifier_options.RanPac(kind="ranpac", projection_width=10, features="several_blocks"),
    "gaussian, several blocks": classifier_options.Gaussian(features="several_blocks"),
    "ranpac, wide": classifier_options.RanPac(kind="ranpac", projection_width=60, ridge=0.1),
    "ranpac, wide, patches too": classifier_options.RanPac(
        kind="ranpac", projection_width=60, ridge=0.1, features="pooled_and_patches"
    ),
}


@pytest.fixture(scope="module")
def trunk() -> Trunk:
    return tiny_trunk()


class Recorded(Rehearsal):
    """Keeps copies of what every task trained."""

    def __init__(self, trunk: Trunk, tasks: tuple[TaskSpec, ...], opts: options.Method) -> None:
        super().__init__(trunk, tasks, opts)
        self.random = torch.Generator().manual_seed(5)
        self.past: list[dict[str, Tensor]] = []

    @torch.no_grad()
    def train(self, scale: float = 0.3) -> None:
        """At random. Keys become unequally long: a cosine must not take a long one for a near one."""
        for parameter in [*self.method.trained(self.task), *self.head.parameters()]:
            parameter.add_(scale * torch.randn(parameter.shape, generator=self.random))
        for name, parameter in self.method.named_parameters():
            if name == "keys":
                parameter.mul_(0.3 + 3 * torch.rand(*parameter.shape[:-1], 1, generator=self.random))

    def end(self) -> None:
        self.past.append({name: value.detach().clone() for name, value in self.live().items()})
        super().end()

    def live(self) -> dict[str, Tensor]:
        named = dict(self.method.named_parameters())
        return {**named, "head.weight": self.head.weight, "head.bias": self.head.bias}

    def known(self, live: dict[str, Tensor] | None = None) -> Known:
        finished = self.tasks[: len(self.past)]
        pictures = [Pictures(task) for task in finished]
        shown = [(p.images, p.labels + task.start) for p, task in zip(pictures, finished, strict=True)]
        projection = next((b for name, b in self.method.named_buffers() if name.endswith(".projection")), None)
        history = self.past if live is None else [*self.past, live]
        return Known(self.trunk, self.options, self.tasks, history, shown, projection)


def assert_close(actual: Tensor, expected: Tensor, tolerance: float = RTOL) -> None:
    assert actual.shape == expected.shape
    difference, largest = (actual - expected).abs().max().item(), expected.abs().max().item()
    assert difference <= tolerance * largest, f"they differ by {difference}, the largest is {largest}"


def pictures(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 32, 32, generator=torch.Generator().manual_seed(9))


class Given(Injection):
    """One prompt for one block."""

    def __init__(self, index: int, prompt: BlockPrompt) -> None:
        self.index, self.prompt = index, prompt
        self.num_kept = prompt.vectors.shape[1] if isinstance(prompt, Tokens) and prompt.keep else 0

    def layer(self, index: int) -> BlockPrompt | None:
        return self.prompt if index == self.index else None


def test_the_naive_trunk_is_the_trunk(trunk: Trunk) -> None:
    images, random = pictures(), torch.Generator().manual_seed(1)
    assert_close(torch.stack([tokens_of(trunk, image, {})[0] for image in images]), trunk(images))
    k, v, tokens = (torch.randn(4, 4, 32, generator=random) for _ in range(3))
    inserts = {
        Prefix(torch.stack([k, v], 1)): lambda i: Insert(prefix=(k[i], v[i])),
        ClsAddition(torch.stack([k[:, 0], v[:, 0]], 1)): lambda i: Insert(on_cls=(k[i, 0], v[i, 0])),
        Tokens(tokens): lambda i: Insert(tokens=tokens[i]),
    }
    for prompt, insert in inserts.items():
        naive = torch.stack([tokens_of(trunk, images[i], {2: insert(i)})[0] for i in range(4)])
        assert_close(trunk(images, Given(2, prompt)), naive)
        assert (naive - trunk(images)).abs().max() > 0.01
    kept = torch.stack([tokens_of(trunk, images[i], {}, at_input=tokens[i])[1:5].mean(0) for i in range(4)])
    assert_close(trunk(images, Given(0, Tokens(tokens, keep=True))), kept)


@pytest.mark.parametrize("name", {**PROMPTED, **CLOSED_FORM})
def test_predictions(name: str, trunk: Trunk, tasks: tuple[TaskSpec, ...]) -> None:
    rehearsal = Recorded(trunk, tasks, {**PROMPTED, **CLOSED_FORM}[name])
    for task in tasks:
        rehearsal.learn(task)
        with torch.no_grad():
            output = rehearsal.output(pictures())
            known = rehearsal.known()
            naive = [answer(known, image) for image in pictures()]
        assert_close(output.logits, torch.stack([one.logits for one in naive]))
        assert (output.task_weights is None) == (naive[0].weights is None)
        if output.task_weights is not None:
            assert_close(output.task_weights.expand(4, -1), torch.stack([one.weights for one in naive]))
            assert task.index < 2 or output.task_weights.std(0).any(), "weights differ between pictures"


@pytest.mark.parametrize("name", ["l2p", "l2p prefix"])
def test_the_pictures_choose_differently_from_the_pool(name: str, trunk: Trunk, tasks: tuple[TaskSpec, ...]) -> None:
    rehearsal = Recorded(trunk, tasks, PROMPTED[name])
    for task in tasks:
        rehearsal.learn(task)
    assert len({tuple(nearest(rehearsal.known(), image)[1]) for image in pictures()}) > 1


@pytest.mark.parametrize("name", PROMPTED)
def test_loss_and_gradients_of_training(name: str, trunk: Trunk, tasks: tuple[TaskSpec, ...]) -> None:
    rehearsal = Recorded(trunk, tasks, PROMPTED[name])
    images, weights = pictures(), torch.tensor([0.5, 1.0, 0.2, 0.7])
    learner = rehearsal.learner
    for task in tasks:
        rehearsal.begin(task)
        rehearsal.train()
        labels = task.start + torch.arange(4) % len(task.classes)
        trained = {id(parameter) for group in learner.trained_parameters().values() for parameter in group}
        named = {key: value for key, value in rehearsal.live().items() if id(value) in trained}
        loss, _ = learner(images, labels, weights)

        copies = {key: value.detach().clone().requires_grad_() for key, value in rehearsal.live().items()}
        known, naive = rehearsal.known(copies), torch.zeros(())
        for image, label, weight in zip(images, labels, weights, strict=True):
            one = answer(known, image, training=True)
            naive = naive + weight * (
                functional.cross_entropy(one.logits[task.start :], label - task.start) + one.penalty
            )
        assert_close(loss, naive)
        gradients = torch.autograd.grad(loss, [*named.values()])
        expected = torch.autograd.grad(naive, [copies[key] for key in named])
        for actual, one in zip(gradients, expected, strict=True):
            assert_close(actual, one, GRADIENT_RTOL)
        rehearsal.end()


def started(rehearsal: Recorded, index: int) -> dict[str, Tensor]:
    """What the task after `index` finished ones trains, before its first step."""
    for task in rehearsal.tasks[:index]:
        rehearsal.learn(task)
    rehearsal.begin(rehearsal.tasks[index])
    return {name: value.detach().clone() for name, value in rehearsal.method.named_parameters()}


@pytest.mark.parametrize("index", [0, 1, 2])
def test_new_components_are_orthonormal_and_orthogonal_to_earlier_ones(index: int, trunk: Trunk, tasks) -> None:
    rehearsal = Recorded(trunk, tasks, PROMPTED["coda"])
    live = started(rehearsal, index)
    for name in ("prompts", "keys", "attentions"):
        for n in range(5):
            new = live[name][n].flatten(1)
            assert_close(new @ new.T, torch.eye(3))
            for past in rehearsal.past:
                old = past[name][n].flatten(1)
                assert old.abs().max() > 0.1
                assert (new @ old.T).abs().max() <= RTOL * old.norm(dim=1).max()


@pytest.mark.parametrize(
    ("name", "copied"),
    [("l2p", ["pool", "keys"]), ("dualprompt", ["general", "expert"]), ("apt", ["vectors"])],
)
def test_what_goes_on_training(name: str, copied: list[str], trunk: Trunk, tasks) -> None:
    rehearsal = Recorded(trunk, tasks, PROMPTED[name])
    live = started(rehearsal, 1)
    for parameter in copied:
        assert torch.equal(live[parameter], rehearsal.past[0][parameter])


GENERATORS: dict[str, hlgp_options.Generator] = {
    "bottleneck": hlgp_options.BottleneckGenerator(),
    "linear": hlgp_options.LinearGenerator(kind="linear"),
    "scale_shift": hlgp_options.ScaleShiftGenerator(kind="scale_shift"),
    "direct": hlgp_options.DirectGenerator(kind="direct"),
}
POSITIONS: dict[str, hlgp_options.Position] = {
    "learned": hlgp_options.LearnedPosition(),
    "multiplicative": hlgp_options.MultiplicativePosition(kind="multiplicative"),
    "sinusoidal": hlgp_options.SinusoidalPosition(kind="sinusoidal"),
    "none": hlgp_options.NoPosition(kind="none"),
}


@pytest.mark.parametrize("position", [name for name in POSITIONS if name != "sinusoidal"])
@pytest.mark.parametrize("generator", GENERATORS)
def test_a_delta_starts_at_zero(generator: str, position: str, trunk: Trunk, tasks) -> None:
    """METHOD 3.7: P_tot_t = P_tot_(t-1) + D_t, so nothing is different before a task's first step."""
    opts = hlgp(accumulation="sum_delta", generator=GENERATORS[generator], position=POSITIONS[position])
    rehearsal = Recorded(trunk, tasks, opts)
    rehearsal.learn(tasks[0])
    before = rehearsal.output(pictures()).logits
    rehearsal.begin(tasks[1])
    after = rehearsal.output(pictures()).logits
    assert_close(after[:, :3], before)


@pytest.mark.parametrize("kind", ["bottleneck", "linear", "scale_shift"])
def test_a_frozen_generator_stays_as_the_first_task_left_it(kind: str, trunk: Trunk, tasks) -> None:
    frozen = GENERATORS[kind].model_copy(update={"frozen_after_first_task": True})
    rehearsal = Recorded(trunk, tasks, hlgp(generator=frozen))
    learner = rehearsal.learner
    for task in tasks:
        rehearsal.begin(task)
        rehearsal.train()
        before = {name: value.detach().clone() for name, value in rehearsal.method.named_parameters()}
        optimizer = torch.optim.SGD(learner.trained_parameters()["prompt"], lr=1.0)
        learner(pictures(), torch.full((4,), task.start), torch.ones(4))[0].backward()
        optimizer.step()
        moved = {name for name, value in rehearsal.method.named_parameters() if not torch.equal(value, before[name])}
        assert moved == (set(before) if task.index == 0 else {"sub_prompts.root", "position.vectors"})
        rehearsal.end()
