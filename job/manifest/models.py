"""The manifest: everything that decides what a run computes, and nothing about where it runs.

A field that is added here is marked `Since`, so that no run id changes: `job.manifest.base` has the rule.
"""

import json
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StringConstraints, ValidationInfo, field_validator, model_validator

from job.manifest.base import AS_WRITTEN, Since, StrictModel
from job.manifest.optimizers import Optimizer
from job.places import find_fault
from job.secrets import CREDENTIALS_IN_URL

NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$"
"""Of run and experiment names: they become parts of keys, file names and DNS labels."""
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Precision = Literal["auto", "bf16", "fp16", "tf32", "fp32"]
Augmentation = Literal["none", "flip", "crop_flip"]
Normalization = Literal["imagenet", "none"]
BatchNormStatistics = Literal["batch", "running"]


NAMED_WEIGHTS = ("imagenet", "none")
"""What `model.weights` can be beside a place."""


class DatasetModel(StrictModel):
    """What all data sets have in common."""

    validation_fraction: Annotated[float, Field(ge=0, le=0.5)] = 0.0
    """Part of the training images, stratified by class, held out to choose the best epoch on. With 0 the
    best epoch is chosen on the test images, and reports say so."""


class OfficialDataset(DatasetModel):
    """A data set that comes as official files, which `job stage` puts where containers fetch them quickly."""

    size: ClassVar[int]
    num_train: ClassVar[int]
    num_test: ClassVar[int]


class STL10(OfficialDataset):
    """5000 training and 8000 test photographs, 96x96, ten classes (Coates, Ng and Lee 2011)."""

    name: Literal["stl10"]
    size, num_train, num_test = 96, 5000, 8000


class CIFAR10(OfficialDataset):
    """50000 training and 10000 test photographs, 32x32, ten classes (Krizhevsky 2009)."""

    name: Literal["cifar10"]
    size, num_train, num_test = 32, 50_000, 10_000


class CIFAR100(OfficialDataset):
    """50000 training and 10000 test photographs, 32x32, a hundred classes (Krizhevsky 2009)."""

    name: Literal["cifar100"]
    size, num_train, num_test = 32, 50_000, 10_000


class Folder(DatasetModel):
    """Image files in `train/<class>/` and `test/<class>/` below the folder given by --data."""

    name: Literal["folder"]
    size: Annotated[int, Field(ge=16, le=512)] = 96
    """Pixels: images are resized once so that the shorter side has this length, then centre-cropped square."""


class Synthetic(DatasetModel):
    """Ten classes of generated shapes and textures: a learnable task without any download."""

    name: Literal["synthetic"]
    size: Annotated[int, Field(ge=16, le=256)] = 32
    """Width and height in pixels."""
    num_train: Annotated[int, Field(ge=20, le=100_000)] = 1000
    """Number of training images, the classes as even as the number allows."""
    num_test: Annotated[int, Field(ge=10, le=100_000)] = 500
    """Number of test images."""


Dataset = Annotated[STL10 | CIFAR10 | CIFAR100 | Folder | Synthetic, Field(discriminator="name")]


RELATIVE_FLOP = {"resnet18": 1.0, "resnet34": 2.02, "resnet50": 2.26}
"""Floating-point operations of an image against ResNet18's: torchvision's table has 1.81, 3.66 and 4.09 GFLOP."""


class Model(StrictModel):
    """The network and where its weights come from."""

    name: Literal["resnet18", "resnet34", "resnet50"] = "resnet18"
    """torchvision's architecture of this name (He et al. 2015, arXiv:1512.03385); fc gets one output a class."""
    weights: Annotated[str, Field(min_length=1, max_length=1024)] = "imagenet"
    """`imagenet` (torchvision's IMAGENET1K_V1), `none`, or the path or s3:// URI of a .pth or .safetensors
    state dict; what a training wraps around torchvision's names is taken off."""
    freeze_backbone: bool = False
    """Train fc alone; the backbone keeps its weights and its BatchNorm statistics."""
    batch_norm: Annotated[BatchNormStatistics | None, Since("0.2.0")] = None
    """What BatchNorm normalises with while the network trains: `batch`, the statistics of the batch, from which the
    running ones are averaged; or `running`, those of the pretrained weights, which then stay. null is `batch`, and
    `running` with `freeze_backbone`. Evaluation takes the running ones in any case."""

    @field_validator("weights")
    @classmethod
    def _weights_can_be_written_down(cls, weights: str) -> str:
        """They stand in every record of the run, in its log and on terminals."""
        if not weights.isprintable():
            raise ValueError(f"{json.dumps(weights[:40])} holds characters that cannot be printed")
        if CREDENTIALS_IN_URL.search(weights):
            raise ValueError("must hold no credentials; they come from the environment")
        return weights

    @field_validator("weights")
    @classmethod
    def _weights_are_named_or_a_place(cls, weights: str, info: ValidationInfo) -> str:
        if info.context != AS_WRITTEN:
            return weights
        for name in NAMED_WEIGHTS:
            if weights != name and weights.lower() == name:
                raise ValueError(f"is {json.dumps(weights)}; did you mean {name!r}?")
        fault = find_fault(weights)
        if fault:
            raise ValueError(f"{json.dumps(weights[:80])} {fault}")
        return weights


class Constant(StrictModel):
    """The learning rate stays, after an optional linear warm-up."""

    name: Literal["none"] = "none"
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Epochs over which the learning rate rises linearly to lr."""


class Cosine(StrictModel):
    """Cosine annealing to `final_fraction` (Loshchilov and Hutter 2016, arXiv:1608.03983, eq. 5)."""

    name: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """Epochs over which the learning rate rises linearly to lr before it falls."""
    final_fraction: Fraction = 0.0
    """The last learning rate as a fraction of lr."""


class OneCycle(StrictModel):
    """One rise and one fall (Smith 2018, arXiv:1803.09820), torch's OneCycleLR without its cycled momentum."""

    name: Literal["onecycle"]
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Part of the steps spent rising, pct_start in torch."""
    div_factor: Annotated[float, Field(ge=1, le=1e9)] = 25.0
    """The first learning rate is lr / div_factor."""
    final_div_factor: Annotated[float, Field(ge=1, le=1e9)] = 1e4
    """The last learning rate is lr / div_factor / final_div_factor."""


Schedule = Annotated[Constant | Cosine | OneCycle, Field(discriminator="name")]


class Manifest(StrictModel):
    """One configuration: what is trained, with which optimizer, on what."""

    name: Name
    """Names the run in paths and reports: lower-case letters, digits and dashes, at most 40."""
    optimizer: Optimizer
    """The optimizer and its attributes, by torch's names."""
    epochs: Annotated[int, Field(ge=1, le=9_999)] = 10  # the keys of checkpoints have four digits
    """Passes over the training images."""
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 50
    """Images per step."""
    seed: Seed = 0
    """Decides the first fc, the order of the images and the augmentation; the same for every optimizer."""
    dataset: Dataset = STL10(name="stl10")
    """The images."""
    model: Model = Model()
    """The network."""
    schedule: Schedule = Constant()
    """How the learning rate changes over the steps."""
    label_smoothing: Fraction = 0.0
    """Probability taken from the true class and spread over all (Szegedy et al. 2015, arXiv:1512.00567)."""
    augmentation: Augmentation = "none"
    """`flip`: mirrored with probability one half; `crop_flip`: also a random crop after padding by an eighth."""
    image_size: Annotated[int, Field(ge=16, le=512)] | None = None
    """Pixels to which the images are resized on the device; null keeps their own size."""
    normalization: Annotated[Normalization, Since("0.2.0")] = "imagenet"
    """`imagenet`: of each channel ImageNet's mean is taken off, and the rest is divided by ImageNet's standard
    deviation, as the pretrained weights expect it; `none`: the channels stay between 0 and 1."""
    precision: Precision = "auto"
    """Arithmetic of forward and backward pass; `auto` takes what the device does fast and safely."""
    deterministic: bool = False
    """Only deterministic CUDA kernels: slower, and a resumed run is equal bit for bit. On CPU it always is."""

    @model_validator(mode="after")
    def _warmup_ends_before_training(self) -> Self:
        warmup_epochs = getattr(self.schedule, "warmup_epochs", 0.0)
        if warmup_epochs > self.epochs:
            raise ValueError(f"schedule.warmup_epochs is {warmup_epochs:g}, more than the {self.epochs} epochs")
        return self

    @model_validator(mode="after")
    def _optimizer_has_weights_to_train(self) -> Self:
        if self.optimizer.needs_backbone and self.model.freeze_backbone:
            raise ValueError(
                f"optimizer {self.optimizer.name} trains kernels of convolutions, and model.freeze_backbone leaves "
                "none of them; take another optimizer, such as adamw"
            )
        return self
