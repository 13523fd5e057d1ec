"""The optimizers as data: torch's names, defaults and ranges; `training.optimizers` builds them.

Each class lists the arguments of the torch.optim constructor of the same name that change what is
computed. Left out are the switches between implementations of the same formula (foreach, fused,
capturable, differentiable), which training chooses for the device, and maximize, which would climb the loss.
Defaults and ranges: https://docs.pytorch.org/docs/stable/optim.html.

A field that is added here is marked `Since`, so that no run id changes: `job.manifest.base` has the rule.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from job.manifest.base import StrictModel

LearningRate = Annotated[float, Field(gt=0, le=1e6, description="Learning rate.")]
Momentum = Annotated[float, Field(ge=0, lt=1)]
NonNegative = Annotated[float, Field(ge=0, le=1e6)]
Betas = Annotated[
    tuple[Momentum, Momentum],
    Field(description="Decay rates of the running averages of the gradient and of its square."),
]
Eps = Annotated[float, Field(ge=0, le=1e6, description="Added to the denominator for numerical stability.")]
WeightDecay = Annotated[
    float, Field(ge=0, le=1e6, description="L2 penalty, or decoupled decay where the optimizer has it.")
]
Decoupled = Annotated[
    bool, Field(description="Decay the weights directly, as AdamW does, instead of through the gradient.")
]


class Adam(StrictModel):
    """Kingma and Ba 2014, arXiv:1412.6980."""

    name: Literal["adam"]
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0
    amsgrad: bool = False
    """Keep the largest second moment seen (Reddi et al. 2018, arXiv:1904.09237)."""
    decoupled_weight_decay: Decoupled = False


class AdamW(StrictModel):
    """Loshchilov and Hutter 2017, arXiv:1711.05101."""

    name: Literal["adamw"]
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.01
    amsgrad: bool = False
    """Keep the largest second moment seen (Reddi et al. 2018, arXiv:1904.09237)."""


class Adamax(StrictModel):
    """Adam with the infinity norm, arXiv:1412.6980 section 7.1."""

    name: Literal["adamax"]
    lr: LearningRate = 0.002
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0


class NAdam(StrictModel):
    """Adam with Nesterov momentum, Dozat 2016."""

    name: Literal["nadam"]
    lr: LearningRate = 0.002
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0
    momentum_decay: NonNegative = 0.004
    """Decay of the momentum schedule, psi in Dozat 2016."""
    decoupled_weight_decay: Decoupled = False


class RAdam(StrictModel):
    """Rectified Adam, Liu et al. 2019, arXiv:1908.03265."""

    name: Literal["radam"]
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0
    decoupled_weight_decay: Decoupled = False


class Adagrad(StrictModel):
    """Duchi, Hazan and Singer 2011, JMLR 12."""

    name: Literal["adagrad"]
    lr: LearningRate = 0.01
    lr_decay: NonNegative = 0.0
    """The learning rate is divided by 1 + step * lr_decay."""
    weight_decay: WeightDecay = 0.0
    initial_accumulator_value: NonNegative = 0.0
    """Where each weight's sum of squared gradients starts."""
    eps: Eps = 1e-10


class Adadelta(StrictModel):
    """Zeiler 2012, arXiv:1212.5701. The method was designed for lr 1."""

    name: Literal["adadelta"]
    lr: LearningRate = 1.0
    rho: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Decay rate of the running averages of squared gradients and of squared updates."""
    eps: Eps = 1e-6
    weight_decay: WeightDecay = 0.0


class RMSprop(StrictModel):
    """Tieleman and Hinton 2012, lecture 6.5; with `centered`, Graves 2013, arXiv:1308.0850."""

    name: Literal["rmsprop"]
    lr: LearningRate = 0.01
    alpha: Annotated[float, Field(ge=0, lt=1)] = 0.99
    """Decay rate of the running average of squared gradients."""
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0
    momentum: Momentum = 0.0
    """Decay rate of the accumulated update."""
    centered: bool = False
    """Divide by the estimated standard deviation instead of the root mean square."""


class SGD(StrictModel):
    """Stochastic gradient descent, with momentum as in Sutskever et al. 2013."""

    name: Literal["sgd"]
    lr: LearningRate = 0.001
    momentum: Momentum = 0.0
    """Decay rate of the accumulated gradient."""
    dampening: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The fresh gradient enters the accumulated one with weight 1 - dampening."""
    weight_decay: WeightDecay = 0.0
    nesterov: bool = False
    """Look ahead by one momentum step; needs momentum above 0 and no dampening."""

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self) -> Self:
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError("nesterov needs momentum above 0 and dampening 0")
        return self


Optimizer = Annotated[
    Adam | AdamW | Adamax | NAdam | RAdam | Adagrad | Adadelta | RMSprop | SGD,
    Field(discriminator="name"),
]
