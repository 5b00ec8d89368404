"""Every method that ships keeps the contract, and the contract tells who does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from hlgp_dist.config import classifier_options, hlgp_options, plugins
from hlgp_dist.config import method_options as options
from hlgp_dist.contract.check import check_method
from hlgp_dist.contract.demand import ContractBroken
from hlgp_dist.contract.placement import check_placement
from tests.methods.broken import Options

CURRENT = {"train_mixture": "current"}
METHODS: dict[str, options.Method] = {
    "hlgp": hlgp_options.Hlgp(),
    "hlgp auxiliary": hlgp_options.Hlgp(matching=hlgp_options.AuxiliaryMatching(kind="auxiliary"), **CURRENT),
    "hlgp prototype": hlgp_options.Hlgp(matching=hlgp_options.PrototypeMatching(kind="prototype"), **CURRENT),
    "hlgp combined": hlgp_options.Hlgp(
        matching=hlgp_options.AuxiliaryMatching(kind="auxiliary"), prediction="combined", **CURRENT
    ),
    "hlgp tokens": hlgp_options.Hlgp(insertion="tokens"),
    "hlgp cls": hlgp_options.Hlgp(insertion="cls", prompt_length=1),
    "hlgp ema": hlgp_options.Hlgp(accumulation="ema"),
    "hlgp sum_delta": hlgp_options.Hlgp(accumulation="sum_delta"),
    "hlgp multiplicative": hlgp_options.Hlgp(position=hlgp_options.MultiplicativePosition(kind="multiplicative")),
    "hlgp frozen generator": hlgp_options.Hlgp(
        generator=hlgp_options.BottleneckGenerator(frozen_after_first_task=True)
    ),
    "independent": hlgp_options.Independent(kind="independent"),
    "l2p": options.L2p(kind="l2p", pool_size=4, prompt_length=3, top_k=2),
    "l2p++": options.L2p(kind="l2p", pool_size=4, prompt_length=3, top_k=2, insertion="prefix"),
    "dualprompt": options.DualPrompt(kind="dualprompt"),
    "coda": options.Coda(kind="coda", num_components=9, orthogonality=0.1),
    "apt": options.Apt(kind="apt"),
    "linear": options.Linear(kind="linear"),
    "full": options.FullFineTuning(kind="full"),
    "ncm": classifier_options.NearestMean(kind="ncm"),
    "gaussian": classifier_options.Gaussian(kind="gaussian"),
    "ranpac": classifier_options.RanPac(kind="ranpac", projection_width=50, features="pooled_and_patches"),
}


@pytest.mark.parametrize("name", METHODS)
def test_every_method_keeps_the_contract(name: str) -> None:
    check_method(METHODS[name])


@pytest.mark.parametrize("name", METHODS)
def test_every_method_stays_on_its_device(name: str) -> None:
    assert check_placement(METHODS[name])


LOOKS = ("LooksAtValues", "PrintsValues")
BROKEN = {
    "MeanOfTheBatch": "logits of a picture after task 0 depend on the rest of its batch: 33 pictures in batches of 1, ",
    "MeanOfAFullBatch": "logits of a picture while training task 0 depend on the rest of its batch: 33 pictures",
    "MeanOfTheTrainingBatch": "logits of a picture while training task 0 depend on the rest of its batch",
    "MeanOfALargeBatch": "logits of a picture while training task 0 depend on the rest of its batch: 33 pictures",
    "VoteOfTheBatch": "logits of a picture while training task 0 depend on the rest of its batch",
    "GradientByBatchSize": "the gradient of method.prompts while training task 0, summed over the shares of a batch",
    "OfTheHost": "forward computes aten.add.Tensor of tensors of the host and of the device while training task 0, ",
    "TableOnTheHost": "forward computes aten.index.Tensor of tensors of the host and of the device while training",
    "StackedOnTheHost": "forward computes of tensors of the host and of the device while training task 0, which a GPU",
    "HiddenOnTheHost": "forward computes aten.mul.Tensor of tensors of the host and of the device after task 0, which",
    "SharesTooMuch": "first_block is 3: the logits while training task 0, computed once below it, and in each ",
    "FutureClass": "logits of 5 pictures while training task 0 must be [5, 3], they are [5, 4]",
    "OnePenalty": "penalties of 5 pictures while training task 0 must be [5], they are []",
    "NoDistribution": "task_weights while training task 1 must add up to one, differ by 1, where",
    "NotFinite": "logits while training task 0 are not finite",
    "Blind": "the logits while training task 0 are the same for every picture",
    "Unused": "trained() names method.spare, which the loss while training task 0 does not depend on",
    "NothingTrained": "trained() names nothing in any task, so optimizer.prompt_lr has no effect",
    "NoGradients": "takes_gradients of its options is not its has_gradients",
    "TrunkTrained": "trunk.vit.norm.weight, trunk.vit.norm.bias got a gradient while training task 0",
    "WrittenInTraining": "method.shift changed while training task 0, and trained() does not name them",
    "Attached": "end_task remembers method.shift with a gradient",
    "NoBuffer": "logits while training task 1 of a method that was restored from the state dict",
    "LateBuffer": "method.late: a state dict must hold the same names at all times",
    "GlobalDraws": "method.prompts differ between two builds with one seed",
    "LateDraws": "method.prompts differ between two builds with one seed",
    "OneSeed": "method.prompts are the same under two seeds, and so is some of what is drawn",
    "NoOracle": "takes_task_weights is True, and the logits are the same whichever task the given weights name",
    "EarlierRows": "end_task of task 1 changed head.past_weight; the trunk and the rows of earlier tasks are frozen",
    "NotOnMeta": "the method cannot be built on the meta device",
    "NoOutput": "forward must return an Output, not a Tensor",
    "Understated": "num_stored_parameters() is 0 after task 0, kept() holds 1,000,768 numbers",
    "LeftOut": "logits after task 0 depend on method.shift, which kept() leaves out",
    "OldPictures": "numbers more are kept outside of the state dict; memory belongs into buffers",
    "OldPicturesOfAll": "numbers more are kept outside of the state dict; memory belongs into buffers",
    "Replayed": "method.level after task 0 differ between a method that was restored from the state dict at its end",
    "NotCosines": "similarity_of_blocks after task 0 are not all in -1..1",
    "ChangedByTelling": "diagnostics() changed method.prompts after task 0",
    "Boom": "forward raised RuntimeError: boom while training task 0",
    "BoomInTheSecondTask": "begin_task raised KeyError: 'boom' at the beginning of task 1",
    "BoomAtTheEnd": "end_task raised IndexError: index 99 is out of bounds for dimension 3 with size 32 after task 0",
    "NoGraph": "the method raised RuntimeError: element 0 of tensors does not require grad",
}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The plug-ins of `broken` and `first_session`, each under its class's name."""
    info = tmp_path / "others-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: others\nVersion: 0.1\n")
    classes = ["first_session:FirstSession", *(f"broken:{name}" for name in (*LOOKS, *BROKEN))]
    points = [f"{name.partition(':')[2]} = tests.methods.{name}\n" for name in classes]
    (info / "entry_points.txt").write_text("".join([f"[{plugins.GROUP}]\n", *points]))
    monkeypatch.syspath_prepend(tmp_path)
    plugins._found.cache_clear()
    yield
    plugins._found.cache_clear()


@pytest.mark.parametrize("name", LOOKS)
def test_a_method_may_look_at_values(name: str, installed: None) -> None:
    check_method(Options(kind=name))
    assert not check_placement(Options(kind=name))


def test_prompts_may_train_in_the_first_task_alone(installed: None) -> None:
    check_method(Options(kind="FirstSession"))


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_contract_is_said(name: str, installed: None) -> None:
    with pytest.raises(ContractBroken, match=re.escape(BROKEN[name])) as broken:
        check_method(Options(kind=name))
    assert "\n" not in str(broken.value)
