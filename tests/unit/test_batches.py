"""Which images a step sees, and what they have become by then."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from job.errors import DataError
from job.manifest.models import Augmentation
from job.training.engine.batches import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    BatchSource,
    EpochPlan,
    Part,
    batch_bounds,
    plan_epoch,
    split_data,
)
from job.training.inputs.datasets import ImageData

SIZE = 32
NUM_IMAGES = 40
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def images() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (NUM_IMAGES, 3, SIZE, SIZE), dtype=np.uint8)


@pytest.fixture
def part(images: npt.NDArray[np.uint8]) -> Part:
    """The label of every image is its index, so that a batch says what it holds."""
    return Part(torch.from_numpy(images.copy()), torch.arange(len(images)))


def plan(seed: int = 3, epoch: int = 1) -> EpochPlan:
    return plan_epoch(seed=seed, epoch=epoch, num_images=NUM_IMAGES, image_size=SIZE)


def normalised(images: npt.NDArray[np.uint8]) -> Tensor:
    """What torchvision makes of uint8 images."""
    transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    return transform(torch.from_numpy(np.ascontiguousarray(images)))


def pixels(images: Tensor) -> npt.NDArray[np.float64]:
    """Normalised images back on the scale from 0 to 255."""
    mean, std = (np.array(values).reshape(1, 3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
    return (images.double().numpy() * std + mean) * 255


def batches_of(source: BatchSource, drawn: EpochPlan, bounds: list[tuple[int, int]]) -> list[tuple[Tensor, Tensor]]:
    source.follow(drawn)
    return [source.batch(torch.arange(start, end)) for start, end in bounds]


def seen(
    part: Part, augmentation: Augmentation, *, image_size: int | None = None, batch_size: int = 12
) -> tuple[Tensor, list[int]]:
    """All images of one epoch in the order seen, and their indices."""
    source = BatchSource(part, image_size=image_size, augmentation=augmentation)
    batches = batches_of(source, plan(), batch_bounds(len(part), batch_size))
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches]).tolist()


# What is random


def test_plan_depends_on_seed_and_epoch_alone() -> None:
    first = plan()
    torch.manual_seed(99)
    np.random.seed(99)  # the global generator is what must not matter
    again = plan()
    for name in ("order", "flips", "offsets"):
        assert torch.equal(getattr(first, name), getattr(again, name))


@pytest.mark.parametrize("other", [{"seed": 4}, {"epoch": 2}], ids=str)
def test_another_seed_or_epoch_gives_another_plan(other: dict[str, int]) -> None:
    for name in ("order", "flips", "offsets"):
        assert not torch.equal(getattr(plan(), name), getattr(plan(**other), name))


def test_seed_and_epoch_are_not_interchangeable() -> None:
    assert not torch.equal(plan(seed=1, epoch=2).order, plan(seed=2, epoch=1).order)


@given(st.integers(0, 2**32 - 1), st.integers(1, 9_999), st.integers(1, 300), st.sampled_from([16, 32, 96, 100, 512]))
def test_plan_is_a_permutation_with_crops_inside_the_padding(seed: int, epoch: int, num_images: int, size: int) -> None:
    found = plan_epoch(seed=seed, epoch=epoch, num_images=num_images, image_size=size)
    assert sorted(found.order.tolist()) == list(range(num_images))
    assert found.flips.shape == (num_images,)
    assert found.flips.dtype == torch.bool
    assert found.offsets.shape == (num_images, 2)
    assert found.offsets.min() >= 0
    assert found.offsets.max() <= 2 * (size // 8)


def test_order_and_flips_do_not_depend_on_the_size_of_the_images() -> None:
    small, large = (plan_epoch(seed=0, epoch=1, num_images=500, image_size=size) for size in (32, 96))
    assert torch.equal(small.order, large.order)
    assert torch.equal(small.flips, large.flips)


def test_half_of_the_images_are_flipped_and_crops_lie_everywhere() -> None:
    found = plan_epoch(seed=0, epoch=1, num_images=20_000, image_size=SIZE)
    assert found.flips.float().mean().item() == pytest.approx(0.5, abs=0.02)  # 5.6 standard deviations
    counts = np.stack([np.bincount(found.offsets[:, axis], minlength=9) for axis in (0, 1)])
    assert counts.shape == (2, 9)
    assert counts == pytest.approx(20_000 / 9, rel=0.15)


def test_augmentations_see_the_same_images_in_the_same_order(part: Part) -> None:
    orders = [seen(part, augmentation)[1] for augmentation in ("none", "flip", "crop_flip")]
    assert orders[0] == plan().order.tolist()
    assert orders[0] == orders[1] == orders[2]


def test_batch_size_changes_neither_order_nor_augmentation(part: Part) -> None:
    small, large = seen(part, "crop_flip", batch_size=3), seen(part, "crop_flip", batch_size=40)
    assert torch.equal(small[0], large[0])
    assert small[1] == large[1]


def test_epoch_continues_in_its_middle_with_the_same_batches(part: Part) -> None:
    source = BatchSource(part, image_size=None, augmentation="crop_flip")
    bounds = batch_bounds(len(part), 12)
    whole = batches_of(source, plan(), bounds)
    rest = batches_of(source, plan(), bounds[2:])
    assert len(rest) == len(whole) - 2
    for (images, labels), (again, same_labels) in zip(whole[2:], rest, strict=True):
        assert torch.equal(images, again)
        assert torch.equal(labels, same_labels)


# What becomes of the images


def test_images_are_normalised_as_torchvision_does(part: Part, images: npt.NDArray[np.uint8]) -> None:
    found, order = seen(part, "none")
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, normalised(images[order]), rtol=1e-5, atol=1e-6)


def test_exactly_the_drawn_images_are_mirrored(part: Part, images: npt.NDArray[np.uint8]) -> None:
    found, order = seen(part, "flip")
    flips = plan().flips.tolist()
    assert 0 < sum(flips) < NUM_IMAGES
    expected = np.stack(
        [images[index][:, :, ::-1] if flip else images[index] for index, flip in zip(order, flips, strict=True)]
    )
    torch.testing.assert_close(found, normalised(expected), rtol=1e-5, atol=1e-6)


def test_crop_is_cut_from_the_padded_image_at_the_drawn_place(part: Part, images: npt.NDArray[np.uint8]) -> None:
    found, order = seen(part, "crop_flip")
    epoch = plan()
    padding = SIZE // 8
    expected = []
    for index, flip, (top, left) in zip(order, epoch.flips.tolist(), epoch.offsets.tolist(), strict=True):
        padded = np.pad(images[index], ((0, 0), (padding, padding), (padding, padding)))
        crop = padded[:, top : top + SIZE, left : left + SIZE]
        expected.append(crop[:, :, ::-1] if flip else crop)
    torch.testing.assert_close(found, normalised(np.stack(expected)), rtol=1e-5, atol=1e-6)


def test_crop_in_the_middle_is_the_image_itself(part: Part, images: npt.NDArray[np.uint8]) -> None:
    middle = EpochPlan(
        order=torch.arange(NUM_IMAGES),
        flips=torch.zeros(NUM_IMAGES, dtype=torch.bool),
        offsets=torch.full((NUM_IMAGES, 2), SIZE // 8),
    )
    source = BatchSource(part, image_size=None, augmentation="crop_flip")
    ((found, _),) = batches_of(source, middle, [(0, NUM_IMAGES)])
    torch.testing.assert_close(found, normalised(images), rtol=1e-5, atol=1e-6)


def test_evaluation_sees_every_image_once_in_order_and_without_augmentation(
    part: Part, images: npt.NDArray[np.uint8]
) -> None:
    batches = list(BatchSource(part, image_size=None, augmentation="crop_flip").evaluation(17))
    assert [len(batch) for batch in batches] == [17, 17, 6]
    torch.testing.assert_close(torch.cat(batches), normalised(images), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [20, 48])
def test_image_size_resizes_as_pillow_does(part: Part, images: npt.NDArray[np.uint8], size: int) -> None:
    (found,) = BatchSource(part, image_size=size).evaluation(NUM_IMAGES)
    assert found.shape == (NUM_IMAGES, 3, size, size)
    expected = np.stack(
        [
            np.asarray(Image.fromarray(image.transpose(1, 2, 0)).resize((size, size), Image.Resampling.BILINEAR))
            for image in images
        ]
    ).transpose(0, 3, 1, 2)
    assert np.abs(pixels(found) - expected).max() < 1.5  # Pillow rounds to whole values, twice


def test_image_size_resizes_training_images_after_their_augmentation(part: Part) -> None:
    native, order = seen(part, "crop_flip")
    found, same_order = seen(part, "crop_flip", image_size=20)
    assert order == same_order
    whole = torch.from_numpy(pixels(native).round().clip(0, 255).astype(np.uint8))
    expected = v2.functional.resize(whole.float(), [20, 20], antialias=True)
    assert np.abs(pixels(found) - expected.numpy()).max() < 0.01


def test_without_normalization_the_channels_stay_between_0_and_1(part: Part, images: npt.NDArray[np.uint8]) -> None:
    source = BatchSource(part, image_size=None, normalization="none")
    (evaluated,) = source.evaluation(NUM_IMAGES)
    assert torch.equal(evaluated, torch.from_numpy(images).float() / 255)
    ((trained, order),) = batches_of(source, plan(), [(0, NUM_IMAGES)])
    assert torch.equal(trained, evaluated[order])


def test_image_size_equal_to_the_images_own_changes_nothing(part: Part) -> None:
    assert torch.equal(seen(part, "flip", image_size=SIZE)[0], seen(part, "flip")[0])


@pytest.mark.parametrize("image_size", [None, 20])
def test_data_on_the_device_stay_as_they_are(part: Part, images: npt.NDArray[np.uint8], image_size: int | None) -> None:
    seen(part, "crop_flip", image_size=image_size)
    list(BatchSource(part, image_size=image_size).evaluation(40))
    assert np.array_equal(part.images.numpy(), images)


# Batches and parts


@pytest.mark.parametrize(
    ("num_images", "batch_size", "bounds"),
    [
        (100, 50, [(0, 50), (50, 100)]),
        (120, 50, [(0, 50), (50, 100), (100, 120)]),
        (102, 50, [(0, 50), (50, 100), (100, 102)]),
        (101, 50, [(0, 50), (50, 101)]),
        (51, 50, [(0, 51)]),
        (50, 50, [(0, 50)]),
        (30, 50, [(0, 30)]),
        (3, 2, [(0, 3)]),
    ],
)
def test_bounds_of_the_batches(num_images: int, batch_size: int, bounds: list[tuple[int, int]]) -> None:
    assert batch_bounds(num_images, batch_size) == bounds


@given(st.integers(2, 5000), st.integers(2, 500))
def test_batches_cover_every_image_once_and_none_holds_a_single_one(num_images: int, batch_size: int) -> None:
    bounds = batch_bounds(num_images, batch_size)
    assert [index for start, end in bounds for index in range(start, end)] == list(range(num_images))
    assert all(2 <= end - start <= batch_size + 1 for start, end in bounds)


def labelled(counts: list[int]) -> ImageData:
    """Images whose first two values are their index; as many of each class as `counts` says, mixed."""
    labels = np.random.default_rng(1).permutation(np.repeat(np.arange(len(counts)), counts)).astype(np.int64)
    images = np.zeros((len(labels), 3, 2, 2), dtype=np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.arange(len(labels)) // 256, np.arange(len(labels)) % 256
    names = tuple(f"class{index}" for index in range(len(counts)))
    return ImageData(names, images, labels, images[:7].copy(), labels[:7].copy())


def indices(part: Part) -> list[int]:
    return (part.images[:, 0, 0, 0].int() * 256 + part.images[:, 0, 0, 1]).tolist()


def test_validation_part_is_disjoint_stratified_and_keeps_labels_with_images() -> None:
    counts = [100, 60, 300, 7]
    data = labelled(counts)
    parts = split_data(data, validation_fraction=0.2, seed=0, device=CPU)
    assert parts.validation is not None
    assert torch.bincount(parts.validation.labels).tolist() == [20, 12, 60, 1]
    assert torch.bincount(parts.train.labels).tolist() == [80, 48, 240, 6]
    assert sorted(indices(parts.train) + indices(parts.validation)) == list(range(sum(counts)))
    for part in (parts.train, parts.validation):
        assert part.labels.tolist() == data.train_labels[indices(part)].tolist()
        assert len(part) == len(part.images)


def test_validation_part_is_decided_by_the_seed() -> None:
    data = labelled([50] * 4)

    def held_out(seed: int) -> list[int]:
        validation = split_data(data, validation_fraction=0.1, seed=seed, device=CPU).validation
        assert validation is not None
        return indices(validation)

    assert held_out(0) == held_out(0)
    assert held_out(0) != held_out(1)


def test_validation_part_is_not_the_beginning_of_every_class() -> None:
    data = labelled([100, 100])
    validation = split_data(data, validation_fraction=0.2, seed=0, device=CPU).validation
    assert validation is not None
    for label in (0, 1):
        members = np.flatnonzero(data.train_labels == label)
        assert not set(members[:20].tolist()) <= set(indices(validation))


@pytest.mark.parametrize("fraction", [5e-324, 1e-9, 0.5])
def test_some_image_of_every_class_is_held_out_however_small_the_fraction(fraction: float) -> None:
    """Else the best epoch would be chosen on the test images, although the manifest forbids it."""
    parts = split_data(labelled([2, 3, 1]), validation_fraction=fraction, seed=0, device=CPU)
    assert parts.validation is not None
    assert torch.bincount(parts.validation.labels, minlength=3).tolist() == (
        [1, 2, 0] if fraction == 0.5 else [1, 1, 0]
    )
    assert torch.bincount(parts.train.labels).min() >= 1
    with pytest.raises(DataError, match="no class has two training images") as caught:
        split_data(labelled([1, 1]), validation_fraction=fraction, seed=0, device=CPU)
    assert caught.value.exit_code == 66


def test_without_validation_all_training_images_stay_in_order() -> None:
    data = labelled([30, 20])
    parts = split_data(data, validation_fraction=0.0, seed=0, device=CPU)
    assert parts.validation is None
    assert indices(parts.train) == list(range(50))
    assert indices(parts.test) == list(range(7))
    assert parts.test.labels.tolist() == data.test_labels.tolist()
