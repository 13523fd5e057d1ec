"""The optimizers of timm as data: a line here for each, and the arguments of its constructor in `timm.json`.

timm (https://github.com/huggingface/pytorch-image-models) is under Apache-2.0, as the originals of these files are, or
under MIT or BSD. It belongs to the extra `optimizers` and need not be installed to validate, submit or report: names,
order and defaults of the arguments are frozen in `timm.json`, which `make docs` writes and a test compares with the
installed timm. What an argument may be is said here, once for all optimizers that have it.

A run id rests on the defaults, so a default that has been released never changes: if timm changes one, the test fails,
and the old one stays.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, create_model, model_validator

from job.manifest.attributes import (
    Betas,
    Decoupled,
    Eps,
    LearningRate,
    Momentum,
    NonNegative,
    OptimizerModel,
    Positive,
    WeightDecay,
    check_nesterov,
)
from job.manifest.base import Since

FROZEN = Path(__file__).with_name("timm.json")
NOT_ATTRIBUTES = {"params", "foreach", "fused", "capturable", "differentiable", "maximize"}
"""Arguments that choose an implementation, or are not the user's to give."""


@dataclass(frozen=True)
class Entry:
    """What is said of one optimizer beside its arguments."""

    name: str
    """timm's name for it."""
    kind: str
    """Its class in `timm.optim`."""
    description: str
    colour: str
    marker: str | tuple[int, int, int]
    is_capturable: bool = False
    is_decoupled: bool = False


ENTRIES = (
    Entry("adabelief", "AdaBelief", "Zhuang et al. 2020, arXiv:2010.07468: Adam that divides by how far the gradient "
          "is from its mean. By its defaults it is rectified as RAdam is.", "#3cb478", "8"),
    Entry("adamp", "AdamP", "Heo et al. 2020, arXiv:2006.08217: Adam without the part of a step that only makes the "
          "weights larger.", "#900c30", "H", is_decoupled=True),
    Entry("adan", "Adan", "Xie et al. 2022, arXiv:2208.06677: Nesterov momentum from the differences of gradients.",
          "#185454", (4, 1, 0), is_decoupled=True),
    Entry("adopt", "Adopt", "Taniguchi et al. 2024, arXiv:2411.02853: Adam that divides by the mean of the squares "
          "before this gradient. Its first step only fills that mean, and the weights stay.", "#84c060", (3, 1, 0),
          is_capturable=True),
    Entry("lamb", "Lamb", "You et al. 2019, arXiv:1904.00962: Adam's step, for each tensor as large as lr times the "
          "norm of its weights. All gradients together are clipped to a norm of max_grad_norm.", "#a80c90", (6, 1, 0)),
    Entry("laprop", "LaProp", "Ziyin, Wang and Ueda 2020, arXiv:2002.04839: Adam that divides first and averages "
          "afterwards.", "#8490cc", (8, 1, 0), is_decoupled=True),
    Entry("lars", "Lars", "You, Gitman and Ginsburg 2017, arXiv:1708.03888: SGD, for each tensor in proportion to the "
          "norm of its weights over that of its gradient. Without weight_decay and always_adapt it is SGD.",
          "#908448", "1"),
    Entry("lion", "Lion", "Chen et al. 2023, arXiv:2302.06675: the sign of an average, so all weights take steps of "
          "one size. Its authors take a tenth to a third of AdamW's lr.", "#e40ca8", (4, 1, 45), is_capturable=True,
          is_decoupled=True),
    Entry("madgrad", "MADGRAD", "Defazio and Jelassi 2021, arXiv:2101.11075: dual averaging, divided by the cube root "
          "of the sum of squares.", "#a85400", "2"),
    Entry("mars", "Mars", "Yuan et al. 2024, arXiv:2411.10438: AdamW or Lion with a variance-reduced gradient. Vectors "
          "(BatchNorm, biases) take AdamW's step.", "#8454fc", "3", is_decoupled=True),
    Entry("nadamw", "NAdamW", "AdamW with Nesterov momentum as in Choi et al. 2019, arXiv:1910.05446, table 1.",
          "#b4a8a8", "4", is_capturable=True, is_decoupled=True),
    Entry("novograd", "NvNovoGrad", "Ginsburg et al. 2019, arXiv:1905.11286: each tensor's gradient over its norm.",
          "#482448", (5, 1, 36)),
    Entry("rmsproptf", "RMSpropTF", "RMSprop as TensorFlow has it: the mean of the squares starts at 1, and eps stands "
          "within the root.", "#1848b4", (3, 0, 180)),
    Entry("sgdw", "SGDW", "SGD with decoupled weight decay, Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 1.",
          "#846c48", (5, 0, 36), is_decoupled=True),
)  # fmt: skip

_Decay = Annotated[float, Field(ge=0, lt=1)]
_Betas3 = Annotated[
    tuple[Momentum, Momentum, Momentum],
    Field(description="Decay rates of the averages of the gradient, of its difference and of the square of both."),
]


def _flag(description: str) -> Any:
    return Annotated[bool, Field(description=description)]


ATTRIBUTES: Mapping[str, Any] = {
    "lr": LearningRate,
    "betas": Betas,
    "adan.betas": _Betas3,
    "eps": Eps,
    "weight_decay": WeightDecay,
    "momentum": Annotated[_Decay, Field(description="Decay rate of the accumulated gradient.")],
    "rmsproptf.momentum": Annotated[_Decay, Field(description="Decay rate of the accumulated update.")],
    "madgrad.momentum": Annotated[_Decay, Field(description="How much of the weights a step keeps.")],
    "dampening": Annotated[
        float, Field(ge=0, le=1, description="The fresh gradient enters the accumulated one with weight 1 - dampening.")
    ],
    "nesterov": _flag("Look ahead by one momentum step."),
    "alpha": Annotated[_Decay, Field(description="Decay rate of the running average of squared gradients.")],
    "centered": _flag("Divide by the estimated standard deviation instead of the root mean square."),
    "amsgrad": _flag("Keep the largest second moment seen (Reddi et al. 2018, arXiv:1904.09237)."),
    "caution": _flag("Leave out what points against the gradient (Liang et al. 2024, arXiv:2411.16085)."),
    "corrected_weight_decay": _flag(
        "Decay by lr² over the largest lr instead of by lr (Defazio 2025, arXiv:2506.02285)."
    ),
    "decoupled_decay": Decoupled,
    "decoupled": Decoupled,
    "fixed_decay": _flag("Decay the weights by weight_decay itself instead of lr · weight_decay."),
    "rectify": _flag("Rectify the step while its variance is unknown, as RAdam does."),
    "degenerated_to_sgd": _flag("While the variance is unknown step along the mean gradient; otherwise not at all."),
    "delta": Annotated[
        NonNegative, Field(description="Below this cosine between weights and gradient the step is projected.")
    ],
    "wd_ratio": Annotated[NonNegative, Field(description="Multiplies weight_decay where it is projected.")],
    "no_prox": _flag("Decay the weights before the step, as AdamW does, instead of after it."),
    "clip_exp": Annotated[
        Annotated[float, Field(ge=0, le=10)] | None,
        Field(description="Step t is clipped to (t - 1) ** clip_exp for each weight; null clips nothing."),
    ],
    "bias_correction": _flag("Correct the averages for their start at 0."),
    "grad_averaging": _flag("A gradient enters its average with weight 1 - beta1 instead of 1."),
    "max_grad_norm": Annotated[
        Positive | None, Field(description="Norm to which all gradients together are clipped; null clips nothing.")
    ],
    "clipping_threshold": Annotated[
        Positive | None,
        Field(description="Root mean square above which the step of a tensor is scaled down; null clips nothing."),
    ],
    "trust_clip": _flag("Never make a step larger by the norm of the weights."),
    "always_adapt": _flag("Follow the norm of the weights also where weight_decay is 0."),
    "trust_coeff": Annotated[Positive, Field(description="What the ratio of the norms is multiplied with.")],
    "gamma": Annotated[NonNegative, Field(description="How much the difference of two gradients counts.")],
    "mars_type": Annotated[Literal["adamw", "lion"], Field(description="Whose step is taken with that gradient.")],
    "optimize_1d": _flag("Reduce the variance for vectors (BatchNorm, biases) too."),
    "lr_1d_factor": Annotated[Positive, Field(description="What lr is multiplied with for vectors.")],
    "betas_1d": Annotated[
        tuple[Momentum, Momentum] | None, Field(description="The betas of vectors; null takes `betas`.")
    ],
    "lr_in_momentum": _flag("Multiply by lr before the update is accumulated, so that old updates keep their lr."),
}  # fmt: skip
"""Type, range and description by argument, or by `optimizer.argument` where one differs."""


class LibraryOptimizer(OptimizerModel):
    """An optimizer of timm."""

    library = "timm"

    name: str
    lr: float

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if getattr(self, "nesterov", False):
            check_nesterov(momentum=getattr(self, "momentum", 1.0), dampening=getattr(self, "dampening", 0.0))
        return self


def _build(entry: Entry, defaults: Mapping[str, Any]) -> type[LibraryOptimizer]:
    fields: dict[str, Any] = {"name": (Literal[entry.name], ...)}
    for attribute, default in defaults.items():
        annotation = ATTRIBUTES.get(f"{entry.name}.{attribute}", ATTRIBUTES.get(attribute))
        if annotation is None:
            raise LookupError(f"{entry.name}.{attribute} of {FROZEN.name} has no entry in ATTRIBUTES")
        value = tuple(default) if isinstance(default, list) else default
        fields[attribute] = (Annotated[annotation, Since("0.2.0")], value)
    description = f"{entry.description} Of timm, in the extra `optimizers`."
    model = create_model(entry.kind, __base__=LibraryOptimizer, __module__=__name__, __doc__=description, **fields)
    for attribute in ("colour", "marker", "is_capturable", "is_decoupled"):
        setattr(model, attribute, getattr(entry, attribute))
    return model


_READ = json.loads(FROZEN.read_bytes())
RELEASE: str = _READ["timm"]
"""The release of timm whose arguments these are."""
LIBRARY = tuple(_build(entry, _READ["defaults"][entry.name]) for entry in ENTRIES if entry.name in _READ["defaults"])
"""The models. An entry whose arguments are not frozen yet has none, so that `make docs` can be run to freeze them."""
