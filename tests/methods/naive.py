"""Every method once more, from its formulae (METHOD 2, 3, 6.0 and the papers): one picture and one head at a time.

It shares no code with the package but timm's modules, and keeps its own record of what every task has trained.
S tokens, L prompt length, D width, F width of the feature, C classes seen so far, t tasks seen so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

from hlgp_dist.config import classifier_options, hlgp_options
from hlgp_dist.config import method_options as options
from hlgp_dist.models.trunk import Trunk
from hlgp_dist.types import TaskSpec

LDA_SHRINKAGE = 0.1


class Insert(NamedTuple):
    """What one block gets: (keys, values) [L, D] before the tokens' own, vectors onto CLS's [D], or tokens [L, D]."""

    prefix: tuple[Tensor, Tensor] | None = None
    on_cls: tuple[Tensor, Tensor] | None = None
    tokens: Tensor | None = None


def attention(attn: nn.Module, x: Tensor, insert: Insert) -> Tensor:
    """[S, D] of [S, D], head by head."""
    query, key, value = (x @ attn.qkv.weight.T + attn.qkv.bias).chunk(3, dim=1)
    if insert.on_cls is not None:
        key = torch.cat([key[:1] + insert.on_cls[0], key[1:]])
        value = torch.cat([value[:1] + insert.on_cls[1], value[1:]])
    if insert.prefix is not None:
        key, value = torch.cat([insert.prefix[0], key]), torch.cat([insert.prefix[1], value])
    heads = []
    for head in torch.arange(x.shape[1]).chunk(attn.num_heads):
        scores = torch.einsum("sk,tk->st", query[:, head], key[:, head]) / math.sqrt(len(head))
        heads.append(torch.einsum("st,tk->sk", scores.softmax(1), value[:, head]))
    return attn.proj(torch.cat(heads, 1))


def tokens_of(
    trunk: Trunk,
    image: Tensor,
    inserts: Mapping[int, Insert],
    at_input: Tensor | None = None,
    depth: int | None = None,
) -> Tensor:
    """Tokens [S, D] behind the last norm of one picture [3, R, R]; tokens `at_input` [L, D] stay to the end.

    depth: how many blocks it passes.
    """
    vit = trunk.vit
    x = vit.patch_embed(((image - trunk.normalisation.mean[0]) / trunk.normalisation.std[0])[None])[0]
    x = torch.cat([vit.cls_token[0], x]) + vit.pos_embed[0]
    if at_input is not None:
        x = torch.cat([x[:1], at_input, x[1:]])
    for index in range(depth or len(vit.blocks)):
        block, insert = vit.blocks[index].inner, inserts.get(index, Insert())
        if insert.tokens is not None:
            x = torch.cat([x[:1], insert.tokens, x[1:]])
        x = x + attention(block.attn.inner, block.norm1(x), insert)
        x = x + block.mlp.fc2(gelu(block.mlp.fc1(block.norm2(x))))
        if insert.tokens is not None:
            x = torch.cat([x[:1], x[1 + len(insert.tokens) :]])
    return vit.norm(x)


def gelu(x: Tensor) -> Tensor:
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b) / (a.norm() * b.norm())


class Answer(NamedTuple):
    """Of one picture: logits [C], what training adds to its loss [], task weights [t] where there are any."""

    logits: Tensor
    penalty: Tensor | float = 0.0
    weights: Tensor | None = None


@dataclass
class Known:
    """What a derivation may know: parameters of every task so far as the task left them, and the tasks' pictures."""

    trunk: Trunk
    options: options.Method
    tasks: Sequence[TaskSpec]
    history: list[dict[str, Tensor]]
    """By name, the head's rows of the task among them; the last one's may be live."""
    pictures: list[tuple[Tensor, Tensor]]
    """Images and labels in stream order of each finished task."""
    projection: Tensor | None = None
    """RanPAC's random matrix, which nothing but chance gives."""
    features: dict[str, Tensor] = field(default_factory=dict)
    """Un-prompted ones of the pictures, by kind, so that they are computed once."""

    @property
    def depth(self) -> int:
        return len(self.trunk.vit.blocks)

    def feature(self, image: Tensor, inserts: Mapping[int, Insert] | None = None) -> Tensor:
        return tokens_of(self.trunk, image, inserts or {})[0]

    def head(self, feature: Tensor) -> Tensor:
        """Each task's own rows, as it left them."""
        return torch.cat([task["head.weight"] @ feature + task["head.bias"] for task in self.history])

    def sums(self, values: Tensor) -> Tensor:
        """[t] of one value a seen class."""
        return torch.stack([values[task.start : task.stop].sum() for task in self.tasks[: len(self.history)]])


# Prompts of a pool


def nearest(known: Known, image: Tensor) -> tuple[list[Tensor], list[int]]:
    """Cosines of the query with all keys of the pool, and which prompts are chosen, the nearest first."""
    query = known.feature(image)
    cosines = [cosine(query, key) for key in known.history[-1]["keys"]]
    return cosines, sorted(range(len(cosines)), key=lambda index: -cosines[index].item())[: known.options.top_k]


def l2p(known: Known, image: Tensor, training: bool) -> Answer:
    live, (cosines, chosen) = known.history[-1], nearest(known, image)
    penalty = -known.options.pull * sum(cosines[index] for index in chosen)
    if known.options.insertion == "prefix":
        keys = torch.cat([live["pool"][index, 0] for index in chosen])
        values = torch.cat([live["pool"][index, 1] for index in chosen])
        return Answer(known.head(known.feature(image, {0: Insert(prefix=(keys, values))})), penalty)
    prompts = torch.cat([live["pool"][index] for index in chosen])
    tokens = tokens_of(known.trunk, image, {}, at_input=prompts + known.trunk.vit.pos_embed[0, 0])
    return Answer(known.head(tokens[1 : 1 + len(prompts)].mean(0)), penalty)


def dualprompt(known: Known, image: Tensor, training: bool) -> Answer:
    live, query = known.history[-1], known.feature(image)
    penalty = known.options.pull * sum(1 - cosine(query, key) for key in live["keys"])
    votes, inserts = torch.zeros(len(known.history)), {}
    for n, block in enumerate(known.options.general_layers):
        inserts[block] = Insert(prefix=(live["general"][n, 0], live["general"][n, 1]))
    for n, block in enumerate(known.options.expert_layers):
        k = n if known.options.keys == "per_layer" else 0
        cosines = torch.stack([cosine(query, task["keys"][k]) for task in known.history])
        chosen = len(cosines) - 1 if training else int(cosines.argmax())
        votes[chosen] += 1 / len(known.options.expert_layers)
        expert = known.history[chosen]["expert"]
        inserts[block] = Insert(prefix=(expert[n, 0], expert[n, 1]))
    return Answer(known.head(known.feature(image, inserts)), penalty, votes)


def coda(known: Known, image: Tensor, training: bool) -> Answer:
    query, inserts, penalty = known.feature(image), {}, torch.zeros(())
    for n, block in enumerate(known.options.layers):
        prompt = torch.zeros(())
        for task in known.history:
            for component, key, attended in zip(
                task["prompts"][n], task["keys"][n], task["attentions"][n], strict=True
            ):
                prompt = prompt + cosine(query * attended, key) * component
        inserts[block] = Insert(prefix=(prompt[0], prompt[1]))
        for name in ("prompts", "keys", "attentions"):
            rows = torch.cat([task[name][n].flatten(1) for task in known.history])
            penalty = penalty + ((rows @ rows.T - torch.eye(len(rows))) ** 2).mean()
    return Answer(known.head(known.feature(image, inserts)), known.options.orthogonality * penalty)


# Prompts of a task


def apt(known: Known, image: Tensor, training: bool) -> Answer:
    vectors, decay = known.history[0]["vectors"], known.options.ema_decay
    for task in known.history[1:]:
        vectors = decay * vectors + (1 - decay) * task["vectors"]
    if training:
        vectors = known.history[-1]["vectors"]
    inserts = {block: Insert(on_cls=(vectors[block, 0], vectors[block, 1])) for block in range(known.depth)}
    return Answer(known.head(known.feature(image, inserts)))


Prompts = dict[int, Tensor]
"""By block, [parts, L, D]: keys and values, or tokens."""


def sub_prompt(generator: hlgp_options.Generator, task: Mapping[str, Tensor], group: int) -> Tensor:
    """S_g [parts, L, D], a vector at a time."""
    root = task["sub_prompts.root"]
    if generator.kind == "direct":
        return root[group]

    def of(name: str, part: int) -> Tensor:
        return task[f"sub_prompts.{name}"][group, part if generator.separate_kv else 0].squeeze(0)

    def generated(r: Tensor, part: int) -> Tensor:
        if generator.kind == "linear":
            return r + of("weight", part) @ r + of("bias", part)
        if generator.kind == "scale_shift":
            return of("scale", part) * r + of("shift", part)
        hidden = gelu(of("down", part).T @ r + of("down_bias", part))
        return r + of("up", part).T @ hidden + of("up_bias", part)

    return torch.stack([torch.stack([generated(r, part) for r in rows]) for part, rows in enumerate(root)])


def sines(index: int, width: int, scale: float) -> Tensor:
    angles = [index / 10000 ** (2 * (d // 2) / width) for d in range(width)]
    return scale * torch.tensor([math.cos(a) if d % 2 else math.sin(a) for d, a in enumerate(angles)])


def layer_prompts(known: Known, task: Mapping[str, Tensor]) -> Prompts:
    """P_l of one task: its group's sub-prompt, adjusted by the layer's position."""
    opts, blocks, prompts = known.options, known.options.layers or range(known.depth), {}
    for n, block in enumerate(blocks):
        if isinstance(opts, hlgp_options.Independent):
            prompts[block] = task["sub_prompts.root"][n]
            continue
        group = n * opts.num_groups // len(blocks)
        if opts.group_layout is not None:
            group = sum(n >= sum(opts.group_layout[: g + 1]) for g in range(len(opts.group_layout)))
        sub = sub_prompt(opts.generator, task, group)
        if opts.position.kind == "learned":
            sub = sub + task["position.vectors"][n]
        if opts.position.kind == "multiplicative":
            sub = sub * (1 + task["position.vectors"][n])
        if opts.position.kind == "sinusoidal":
            sub = sub + sines(block, sub.shape[-1], opts.position.scale)
        prompts[block] = sub
    return prompts


def combination(prompts: Sequence[Prompts], weights: Sequence[float] | Tensor) -> Prompts:
    return {block: sum(w * p[block] for w, p in zip(weights, prompts, strict=True)) for block in prompts[0]}


def prompted(known: Known, image: Tensor, prompts: Prompts) -> Tensor:
    """Logits [C]."""
    how, inserts = known.options.insertion, {}
    for block, prompt in prompts.items():
        if how == "prefix":
            inserts[block] = Insert(prefix=(prompt[0], prompt[1]))
        elif how == "cls":
            inserts[block] = Insert(on_cls=(prompt[0, 0], prompt[1, 0]))
        else:
            inserts[block] = Insert(tokens=prompt[0])
    return known.head(known.feature(image, inserts))


def match(known: Known, image: Tensor, prompts: Sequence[Prompts]) -> Tensor:
    """Weights [t] of one picture, by the options' matching."""
    matching, t = known.options.matching, len(prompts)
    if matching.kind == "posterior":
        weights = torch.full((t,), 1 / t)
        for _ in range(matching.cycles - 1):
            posterior = (prompted(known, image, combination(prompts, weights)) / matching.temperature).softmax(0)
            weights = known.sums(posterior).detach()
        return weights
    if matching.kind == "auxiliary":
        return known.sums((unprompted_logits(known, matching.classifier, image) / matching.temperature).softmax(0))
    cosines = unprompted_logits(known, classifier_options.NearestMean(kind="ncm"), image)
    similarity = torch.stack([cosines[task.start : task.stop].max() for task in known.tasks[:t]])
    return (similarity / matching.temperature).softmax(0)


def hlgp(known: Known, image: Tensor, training: bool) -> Answer:
    opts, t = known.options, len(known.history)
    prompts = [layer_prompts(known, task) for task in known.history]
    if training and (opts.accumulation in ("last", "ema") or opts.train_mixture == "current"):
        return Answer(prompted(known, image, prompts[-1]))
    if opts.accumulation == "soft":
        weights = match(known, image, prompts)
        logits = prompted(known, image, combination(prompts, weights))
        if opts.prediction == "combined":
            other = unprompted_logits(known, opts.matching.classifier, image)
            logits = logits.log_softmax(0) + (other / opts.matching.temperature).log_softmax(0)
        uniform = opts.matching.kind == "posterior" and opts.matching.cycles == 1
        return Answer(logits, weights=None if uniform else weights)
    if opts.accumulation == "ema":
        merged = prompts[0]
        for own in prompts[1:]:
            merged = combination([merged, own], [opts.ema_decay, 1 - opts.ema_decay])
        return Answer(prompted(known, image, merged))
    fixed = {"mean": [1 / t] * t, "last": [0.0] * (t - 1) + [1.0]}.get(opts.accumulation, [1.0] * t)
    return Answer(prompted(known, image, combination(prompts, fixed)))


# Closed form, on un-prompted features


def unprompted_feature(known: Known, image: Tensor, kind: str) -> Tensor:
    tokens = tokens_of(known.trunk, image, {})
    if kind == "pooled":
        return tokens[0]
    inner = [3, 4] if kind == "several_blocks" else []  # of six: the fourth and the fifth
    patches = [tokens_of(known.trunk, image, {}, depth=block + 1)[1:].mean(0) for block in inner]
    return torch.cat([tokens[0], tokens[1:].mean(0), *patches])


def training_set(known: Known, kind: str) -> tuple[Tensor, Tensor]:
    """Features [n, F] and labels [n] of every picture of every finished task, in float64."""
    if kind not in known.features:
        images = torch.cat([images for images, _ in known.pictures])
        known.features[kind] = torch.stack([unprompted_feature(known, image, kind) for image in images]).double()
    return known.features[kind], torch.cat([labels for _, labels in known.pictures])


def unprompted_logits(known: Known, opts: classifier_options.Unprompted, image: Tensor) -> Tensor:
    features, labels = training_set(known, opts.features)
    x = unprompted_feature(known, image, opts.features).double()
    means = [features[labels == label].mean(0) for label in range(int(labels.max()) + 1)]
    if opts.kind == "ncm":
        return torch.stack([cosine(x, mean) for mean in means]).float()
    if opts.kind == "gaussian":
        deviations = torch.stack([f - means[label] for f, label in zip(features, labels, strict=True)])
        covariance = deviations.T @ deviations / (len(features) - len(means))
        spread = covariance.diagonal().mean() * torch.eye(len(covariance))
        inverse = ((1 - LDA_SHRINKAGE) * covariance + LDA_SHRINKAGE * spread).inverse()
        return torch.stack([x @ inverse @ mean - mean @ inverse @ mean / 2 for mean in means]).float()
    projection = known.projection.double()
    hidden, targets = (features @ projection).relu(), torch.eye(len(means), dtype=torch.float64)[labels]
    ridge = opts.ridge * hidden.square().mean() * len(hidden)
    kernel = hidden @ hidden.T + ridge * torch.eye(len(hidden))
    return ((x @ projection).relu() @ hidden.T @ kernel.inverse() @ targets).float()


DERIVATIONS: dict[str, Callable[[Known, Tensor, bool], Answer]] = {
    "l2p": l2p,
    "dualprompt": dualprompt,
    "coda": coda,
    "apt": apt,
    "hlgp": hlgp,
    "independent": hlgp,
    "linear": lambda known, image, training: Answer(known.head(known.feature(image))),
    "ncm": lambda known, image, training: Answer(unprompted_logits(known, known.options, image)),
    "gaussian": lambda known, image, training: Answer(unprompted_logits(known, known.options, image)),
    "ranpac": lambda known, image, training: Answer(unprompted_logits(known, known.options, image)),
}


def answer(known: Known, image: Tensor, *, training: bool = False) -> Answer:
    return DERIVATIONS[known.options.kind](known, image, training)
