"""The generated task is the same everywhere, and needs more than a linear model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from job.manifest.models import Synthetic
from job.training.inputs.datasets import ImageData, load_data
from job.training.inputs.datasets.synthetic import load_synthetic
from tests.conftest import Answer


def test_same_numbers_give_the_same_images() -> None:
    first, second = (load_synthetic(size=16, num_train=50, num_test=20) for _ in range(2))
    assert first.sha256() == second.sha256()


def test_images_are_those_that_earlier_results_were_made_with() -> None:
    """A change here makes new runs incomparable with the old: rounding is left out, the numbers are pinned."""
    data = load_synthetic(size=16, num_train=20, num_test=10)
    means = data.train_images[:5].reshape(5, -1).mean(axis=1)
    np.testing.assert_allclose(means, [61.9, 152.3, 89.0, 157.8, 69.5], atol=0.5)


def test_more_images_begin_with_the_same_ones() -> None:
    few = load_synthetic(size=16, num_train=30, num_test=10)
    many = load_synthetic(size=16, num_train=50, num_test=20)
    np.testing.assert_array_equal(many.train_images[:30], few.train_images)
    np.testing.assert_array_equal(many.test_images[:10], few.test_images)


def test_no_test_image_is_a_training_image() -> None:
    data = load_synthetic(size=16, num_train=100, num_test=100)
    train, test = ({image.tobytes() for image in images} for images in (data.train_images, data.test_images))
    assert len(train) == len(test) == 100
    assert not train & test


def test_ten_classes_are_as_even_as_the_number_allows() -> None:
    data = load_synthetic(size=16, num_train=50, num_test=23)
    assert len(set(data.classes)) == 10
    assert np.bincount(data.train_labels, minlength=10).tolist() == [5] * 10
    assert sorted(np.bincount(data.test_labels, minlength=10)) == [2] * 7 + [3] * 3


@pytest.mark.parametrize("size", [16, 33, 96])
def test_manifest_decides_size_and_numbers(tmp_path: Path, size: int) -> None:
    dataset = Synthetic(name="synthetic", size=size, num_train=30, num_test=20)
    data = load_data(dataset, data=None, cache=tmp_path, num_threads=1)
    assert data.train_images.shape == (30, 3, size, size)
    assert data.test_images.shape == (20, 3, size, size)
    assert (data.train_images.dtype, data.train_labels.dtype) == (np.dtype(np.uint8), np.dtype(np.int64))
    assert not list(tmp_path.iterdir())


def test_mean_image_of_every_class_is_about_the_same_grey() -> None:
    data = load_synthetic(size=16, num_train=1000, num_test=10)
    means = [data.train_images[data.train_labels == label].mean() for label in range(10)]
    assert max(means) - min(means) < 25


@pytest.mark.slow
def test_network_learns_what_a_linear_model_cannot(job: Callable[..., Answer], tmp_path: Path) -> None:
    dataset = {"name": "synthetic", "size": 32, "num_train": 1000, "num_test": 300}
    manifest = {
        "name": "learnable",
        "optimizer": {"name": "adam", "lr": 0.001},
        "epochs": 2,
        "batch_size": 25,
        "dataset": dataset,
        "model": {"weights": "none"},
    }
    (tmp_path / "learnable.json").write_text(json.dumps(manifest))
    answer = job("run", "--manifest", tmp_path / "learnable.json", "--output", tmp_path / "out")
    assert answer.exit_code == 0, answer.stderr
    (result,) = tmp_path.glob("out/*/runs/*/result.json")
    network = json.loads(result.read_text())["final"]["top1"]

    data = load_synthetic(size=32, num_train=1000, num_test=300)
    accuracies = [fit_linear(data, decay=decay) for decay in (1e-2, 1e-1, 1.0)]
    (_, linear) = max(accuracies, key=lambda pair: pair[1])  # chosen on the test images: in favour of the linear model
    assert max(train for train, _ in accuracies) > 0.95  # it was trained to the end
    assert network >= linear + 0.2, f"network {network:.3f}, linear model {linear:.3f}"


def fit_linear(data: ImageData, *, decay: float) -> tuple[float, float]:
    """Train and test top-1 of multinomial logistic regression with an L2 penalty, at its optimum."""
    pixels = [torch.from_numpy(images).flatten(1).float() for images in (data.train_images, data.test_images)]
    mean, std = pixels[0].mean(), pixels[0].std()
    train, test = ((values - mean) / std for values in pixels)
    train_labels, test_labels = torch.from_numpy(data.train_labels), torch.from_numpy(data.test_labels)
    model = nn.Linear(train.shape[1], 10)
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=60, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = functional.cross_entropy(model(train), train_labels) + decay * model.weight.square().sum() / 2
        value.backward()
        return value

    optimizer.step(loss)
    with torch.no_grad():
        return tuple(
            (model(values).argmax(1) == labels).float().mean().item()
            for values, labels in ((train, train_labels), (test, test_labels))
        )
