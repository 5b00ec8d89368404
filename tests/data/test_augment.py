"""A batch on its way to the model against one picture at a time, by torchvision, from the same stored pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as torchvision

from hlgp_dist.config.schema import Augmentation, Jitter
from hlgp_dist.data import jitter
from hlgp_dist.data.augment import augment, to_float
from hlgp_dist.data.batches import training_batches
from hlgp_dist.data.buffers import Memory
from hlgp_dist.data.crops import crop_boxes, mirrored
from hlgp_dist.data.loading import Loading
from hlgp_dist.data.transfer import to_device
from hlgp_dist.data.uniforms import Key
from hlgp_dist.types import Batch, PictureSize, Regions, World
from tests.data.test_jitter import REFERENCES, TOLERANCE
from tests.pictures import InMemory, of_epoch, smooth

KEY = Key(1, 2, 3)
JITTERED = Augmentation(jitter=Jitter())


@pytest.fixture(scope="module", params=["bilinear", "bicubic"])
def pictures(request: pytest.FixtureRequest) -> InMemory:
    sides = np.random.default_rng(0).integers(27, 60, (16, 2)).tolist()
    arrays = [smooth(height, width, seed=index) for index, (height, width) in enumerate(sides)]
    return InMemory(arrays, PictureSize(24, 0.875, request.param))


def batch_of(pictures: InMemory, augmentation: Augmentation | None, key: Key = KEY) -> Batch:
    """All pictures in one."""
    ((batch,),) = training_batches(
        pictures,
        augmentation=augmentation,
        **of_epoch(key, len(pictures), len(pictures)),
        global_batch_size=len(pictures),
        world=World(),
        accumulation=1,
        loading=Loading(),
    )
    return batch


def augmented(pictures: InMemory, augmentation: Augmentation | None, key: Key = KEY) -> Tensor:
    """[N, 3, S, S] by sample id."""
    batch = batch_of(pictures, augmentation, key)
    out = augment(batch.images, batch.samples, size=pictures.size, augmentation=augmentation, key=key)
    return out[batch.samples.argsort()]


def reference(pictures: InMemory, augmentation: Augmentation) -> Tensor:
    """What `augmented` must be, written plainly; only the draws are ours."""
    samples, side = np.arange(len(pictures)), pictures.size.size
    boxes = crop_boxes(samples, pictures.shapes, crop_scale=augmentation.crop_scale, key=KEY)
    out = []
    for sample, box, mirror in zip(samples, boxes.tolist(), mirrored(samples, KEY), strict=True):
        image = torch.from_numpy(pictures[sample].copy()).permute(2, 0, 1)
        mode = torchvision.InterpolationMode(pictures.size.interpolation)
        image = torchvision.resized_crop(image, *box, size=[side, side], interpolation=mode, antialias=True)
        if augmentation.flip and mirror:
            image = torchvision.horizontal_flip(image)
        image = image.to(torch.float32) / 255.0
        if augmentation.jitter is not None:
            steps = jitter.plan(samples[sample : sample + 1], augmentation.jitter, KEY)
            for operation, factor in zip(steps.operations[:, 0], steps.factors[:, 0], strict=True):
                image = REFERENCES[operation](image, float(factor))
        out.append(image)
    return torch.stack(out)


@pytest.mark.parametrize("crop_scale", [0.08, 0.5, 1.0])
@pytest.mark.parametrize("flip", [True, False])
def test_crop_and_flip_are_torchvisions_bit_for_bit(pictures: InMemory, crop_scale: float, flip: bool) -> None:
    augmentation = Augmentation(crop_scale=crop_scale, flip=flip)
    assert torch.equal(augmented(pictures, augmentation), reference(pictures, augmentation))


def test_jitter_is_torchvisions(pictures: InMemory) -> None:
    expected = reference(pictures, JITTERED)
    torch.testing.assert_close(augmented(pictures, JITTERED), expected, rtol=0.0, atol=TOLERANCE)


def test_none_only_converts(pictures: InMemory) -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1)
    assert to_float(images).flatten().tolist() == pytest.approx([0.0, 0.2, 1.0])
    batch = batch_of(pictures, None)
    assert isinstance(batch.images, Tensor)
    out = augment(batch.images, batch.samples, size=pictures.size, augmentation=None, key=KEY)
    assert torch.equal(out, to_float(batch.images))


@pytest.mark.parametrize("part", [[5], [3, 9], list(range(15, -1, -1))])
def test_a_sample_looks_the_same_in_any_batch(pictures: InMemory, part: list[int]) -> None:
    whole, batch = augmented(pictures, JITTERED), batch_of(pictures, JITTERED)
    assert isinstance(batch.images, Regions)
    pixels = batch.images.pixels.split((3 * batch.images.shapes.prod(1)).tolist())
    own = Regions(torch.cat([pixels[index] for index in part]), batch.images.shapes[part])
    ids = batch.samples[part]
    assert torch.equal(augment(own, ids, size=pictures.size, augmentation=JITTERED, key=KEY), whole[ids])


@pytest.mark.parametrize("changed", ["seed", "task", "epoch"])
def test_every_part_of_the_key_counts(pictures: InMemory, changed: str) -> None:
    first, second = (augmented(pictures, JITTERED, key) for key in (KEY, KEY._replace(**{changed: 9})))
    assert not torch.isclose(first, second).all(dim=(1, 2, 3)).any()


def test_nothing_waits_for_the_device(pictures: InMemory) -> None:
    """On the meta device nothing can be read back, so whatever ran there needs no answer."""
    batch = to_device(batch_of(pictures, JITTERED), "meta")
    out = augment(batch.images, batch.samples, size=pictures.size, augmentation=JITTERED, key=KEY)
    assert (out.device.type, out.shape, out.dtype) == ("meta", (16, 3, 24, 24), torch.float32)


def test_ids_must_be_on_the_host(pictures: InMemory) -> None:
    batch = batch_of(pictures, JITTERED)
    with pytest.raises(AssertionError):
        augment(batch.images, batch.samples.to("meta"), size=pictures.size, augmentation=JITTERED, key=KEY)


def test_memory_that_is_used_again_changes_no_bit(pictures: InMemory) -> None:
    memory, batch = Memory(), batch_of(pictures, JITTERED)
    expected, places = augmented(pictures, JITTERED), set()
    for _ in range(3):
        out = augment(batch.images, batch.samples, size=pictures.size, augmentation=JITTERED, key=KEY, memory=memory)
        places.add(out.data_ptr())
        assert torch.equal(out[batch.samples.argsort()], expected)
        del out
    assert len(places) == 1
