"""The optimizers as data: each is one class, and everything else reads what it says here.

The class has the name of torch's class in `torch.optim`. Training finds torch's class by this name, and the report
writes it. The fields are the arguments of torch's constructor that change what is computed, with torch's defaults.
Left out are the switches between implementations of the same formula (foreach, fused, capturable, differentiable),
which training chooses for the device, and maximize, which would climb the loss.
Defaults and ranges: https://docs.pytorch.org/docs/stable/optim.html.

This module must not import torch: a report or a submission needs the optimizers, and not torch.

A field that is added here is marked `Since`, so that no run id changes: `job.manifest.base` has the rule.
"""

from typing import TYPE_CHECKING, Annotated, Literal, Self, Union

from pydantic import Field, model_validator

from job.manifest.attributes import (
    Betas,
    Coefficient,
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
from job.manifest.base import Since, tag
from job.manifest.library import LIBRARY, LibraryOptimizer


class Adam(OptimizerModel):
    """Kingma and Ba 2014, arXiv:1412.6980."""

    colour = "#0072B2"
    marker = "o"
    is_fused = True

    name: Literal["adam"]
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0
    amsgrad: bool = False
    """Keep the largest second moment seen (Reddi et al. 2018, arXiv:1904.09237)."""
    decoupled_weight_decay: Decoupled = False


class AdamW(OptimizerModel):
    """Loshchilov and Hutter 2017, arXiv:1711.05101."""

    colour = "#56B4E9"
    marker = "P"
    is_fused = True
    is_decoupled = True

    name: Literal["adamw"]
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.01
    amsgrad: bool = False
    """Keep the largest second moment seen (Reddi et al. 2018, arXiv:1904.09237)."""


class Adamax(OptimizerModel):
    """Adam with the infinity norm, arXiv:1412.6980 section 7.1."""

    colour = "#000000"
    marker = "X"

    name: Literal["adamax"]
    lr: LearningRate = 0.002
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0


class NAdam(OptimizerModel):
    """Adam with Nesterov momentum, Dozat 2016."""

    colour = "#6b7280"
    marker = "<"

    name: Literal["nadam"]
    lr: LearningRate = 0.002
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0
    momentum_decay: NonNegative = 0.004
    """Decay of the momentum schedule, psi in Dozat 2016."""
    decoupled_weight_decay: Decoupled = False


class RAdam(OptimizerModel):
    """Rectified Adam, Liu et al. 2019, arXiv:1908.03265."""

    colour = "#a070f0"
    marker = ">"

    name: Literal["radam"]
    lr: LearningRate = 0.001
    betas: Betas = (0.9, 0.999)
    eps: Eps = 1e-8
    weight_decay: WeightDecay = 0.0
    decoupled_weight_decay: Decoupled = False


class Adagrad(OptimizerModel):
    """Duchi, Hazan and Singer 2011, JMLR 12."""

    colour = "#009E73"
    marker = "s"
    is_fused = True

    name: Literal["adagrad"]
    lr: LearningRate = 0.01
    lr_decay: NonNegative = 0.0
    """The learning rate is divided by 1 + step * lr_decay."""
    weight_decay: WeightDecay = 0.0
    initial_accumulator_value: NonNegative = 0.0
    """Where each weight's sum of squared gradients starts."""
    eps: Eps = 1e-10


class Adadelta(OptimizerModel):
    """Zeiler 2012, arXiv:1212.5701. The method was designed for lr 1."""

    colour = "#CC79A7"
    marker = "D"

    name: Literal["adadelta"]
    lr: LearningRate = 1.0
    rho: Annotated[float, Field(ge=0, le=1)] = 0.9
    """Decay rate of the running averages of squared gradients and of squared updates."""
    eps: Eps = 1e-6
    weight_decay: WeightDecay = 0.0


class RMSprop(OptimizerModel):
    """Tieleman and Hinton 2012, lecture 6.5; with `centered`, Graves 2013, arXiv:1308.0850."""

    colour = "#D55E00"
    marker = "^"

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


class SGD(OptimizerModel):
    """Stochastic gradient descent, with momentum as in Sutskever et al. 2013."""

    colour = "#E69F00"
    marker = "v"
    is_fused = True

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
        if self.nesterov:
            check_nesterov(momentum=self.momentum, dampening=self.dampening)
        return self


class Adafactor(OptimizerModel):
    """Shazeer and Stern 2018, arXiv:1804.04235. It keeps only the means of the squared gradients over rows and columns;
    torch takes each 3x3 part of a convolution's kernel for a matrix."""

    colour = "#0018a8"
    marker = "p"
    is_capturable = False
    is_decoupled = True

    name: Literal["adafactor"]
    lr: Annotated[Positive, Since("0.2.0")] = 0.01
    """The largest step relative to the size of a weight; the step also shrinks with 1 / sqrt(number of steps)."""
    beta2_decay: Annotated[float, Field(ge=-10, le=0), Since("0.2.0")] = -0.8
    """Step t enters the running averages with weight t ** beta2_decay."""
    eps: Annotated[tuple[NonNegative | None, NonNegative], Since("0.2.0")] = (None, 0.001)
    """The smallest root of a mean square that is divided by, null for the precision of fp32, and the smallest size of a
    weight that a step is relative to."""
    d: Annotated[float, Field(ge=1, le=1e6), Since("0.2.0")] = 1.0
    """The root mean square above which an update is scaled down to it."""
    weight_decay: Annotated[WeightDecay, Since("0.2.0")] = 0.0


class ASGD(OptimizerModel):
    """Averaged SGD, Polyak and Juditsky 1992. torch keeps the average beside the weights and does not use it: what is
    evaluated are the weights, so this is SGD with a falling learning rate."""

    colour = "#603000"
    marker = "h"

    name: Literal["asgd"]
    lr: Annotated[Positive, Since("0.2.0")] = 0.01
    """Learning rate of the first step. After t steps it is lr / (1 + lambd * lr * t) ** alpha, with the lr that the
    schedule gave to the step before."""
    lambd: Annotated[NonNegative, Since("0.2.0")] = 0.0001
    """Part of the weights that decays with each unit of learning rate, and how fast the learning rate falls."""
    alpha: Annotated[NonNegative, Since("0.2.0")] = 0.75
    """Power with which the learning rate falls."""
    t0: Annotated[float, Field(ge=0, le=1e9), Since("0.2.0")] = 1e6
    """Step from which on torch averages the weights."""
    weight_decay: Annotated[WeightDecay, Since("0.2.0")] = 0.0


class Rprop(OptimizerModel):
    """Riedmiller and Braun 1993: steps by the gradient's sign, each weight with a step size of its own. It is made for
    gradients over all images: the noise of small batches changes signs and shrinks the steps."""

    colour = "#904830"
    marker = "*"

    name: Literal["rprop"]
    lr: Annotated[Positive, Since("0.2.0")] = 0.01
    """The first step of each weight. Later ones do not depend on it, so a schedule changes the first step alone."""
    etas: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], Annotated[float, Field(gt=1, le=1e6)]], Since("0.2.0")
    ] = (0.5, 1.2)
    """What a step size is multiplied with where the gradient's sign has changed, and where it has not."""
    step_sizes: Annotated[tuple[NonNegative, NonNegative], Since("0.2.0")] = (1e-6, 50.0)
    """The smallest and the largest step size."""

    @model_validator(mode="after")
    def _smallest_step_is_below_the_largest(self) -> Self:
        smallest, largest = self.step_sizes
        if smallest > largest:
            raise ValueError(f"step_sizes is [{smallest:g}, {largest:g}]; the first must be at most the second")
        return self


class Muon(OptimizerModel):
    """Jordan et al. 2024, https://kellerjordan.github.io/posts/muon: a step along the momentum, made orthogonal. Muon
    takes matrices, so it trains the kernels of convolutions, each as a matrix with a row for an output channel. AdamW,
    with the attributes that begin with `adamw_`, trains the rest: BatchNorm, biases and fc. On a CPU the orthogonal
    matrix is computed in fp32, elsewhere in bf16."""

    colour = "#604878"
    marker = "d"
    is_capturable = False
    needs_backbone = True
    is_decoupled = True

    name: Literal["muon"]
    lr: Annotated[Positive, Since("0.2.0")] = 0.001
    """Learning rate of Muon. Its steps are as large as this times an orthogonal matrix: the author takes 0.02."""
    weight_decay: Annotated[NonNegative, Since("0.2.0")] = 0.1
    """Muon's decay of the weights, decoupled from the gradient."""
    momentum: Annotated[Momentum, Since("0.2.0")] = 0.95
    """Decay rate of the accumulated gradient."""
    nesterov: Annotated[bool, Since("0.2.0")] = True
    """Look ahead by one momentum step."""
    ns_coefficients: Annotated[tuple[Coefficient, Coefficient, Coefficient], Since("0.2.0")] = (3.4445, -4.775, 2.0315)
    """Coefficients of the Newton-Schulz iteration that makes a matrix orthogonal."""
    eps: Annotated[Eps, Since("0.2.0")] = 1e-7
    ns_steps: Annotated[int, Field(ge=1, le=99), Since("0.2.0")] = 5
    """Iterations of Newton-Schulz."""
    adjust_lr_fn: Annotated[Literal["original", "match_rms_adamw", "spectral_unclamped"] | None, Since("0.2.0")] = None
    """How the learning rate depends on the shape of a matrix; null means `original`. An old torch lacks some."""
    adamw_lr: Annotated[Positive, Since("0.2.0")] = 0.001
    """Learning rate of AdamW. A schedule changes both in the same proportion."""
    adamw_betas: Annotated[Betas, Since("0.2.0")] = (0.9, 0.999)
    adamw_eps: Annotated[Eps, Since("0.2.0")] = 1e-8
    adamw_weight_decay: Annotated[NonNegative, Since("0.2.0")] = 0.01
    """AdamW's decay of the weights."""


class AdamWScheduleFree(OptimizerModel):
    """Defazio et al. 2024, arXiv:2405.15682: AdamW that needs no schedule. It trains at one point and evaluates the
    average of where it has been; checkpoints, scores and final weights are of the average. BatchNorm's statistics are
    taken anew for it before each evaluation, over all training images, which takes a third of an epoch's time. With a
    schedule or a warm-up of the manifest the average follows the learning rate."""

    library = "job"
    colour = "#780cfc"
    marker = (6, 2, 0)
    is_capturable = False
    is_decoupled = True

    name: Literal["adamwschedulefree"]
    lr: Annotated[LearningRate, Since("0.2.0")] = 0.0025
    betas: Annotated[
        tuple[Annotated[float, Field(gt=0, lt=1)], Momentum],
        Field(description="How near to the average the training point is, and the decay rate of the average of g²."),
        Since("0.2.0"),
    ] = (0.9, 0.999)
    eps: Annotated[Eps, Since("0.2.0")] = 1e-8
    weight_decay: Annotated[NonNegative, Since("0.2.0")] = 0.0
    """Decay of the weights, decoupled from the gradient."""
    r: Annotated[float, Field(ge=0, le=100), Since("0.2.0")] = 0.0
    """Step t enters the average with weight t ** r."""
    weight_lr_power: Annotated[float, Field(ge=0, le=100), Since("0.2.0")] = 2.0
    """A step enters the average with the largest lr so far to this power."""


class Prodigy(OptimizerModel):
    """Mishchenko and Defazio 2023, arXiv:2306.06101: Adam that multiplies lr by an estimate d of how far the weights
    are from the best ones, so lr stays at 1. It begins with tiny steps, until d has grown."""

    library = "job"
    colour = "#0c2424"
    marker = (8, 2, 0)
    is_capturable = False

    name: Literal["prodigy"]
    lr: Annotated[Positive, Since("0.2.0")] = 1.0
    """What the estimate is multiplied with."""
    betas: Annotated[Betas, Since("0.2.0")] = (0.9, 0.999)
    beta3: Annotated[Momentum | None, Since("0.2.0")] = None
    """Decay rate of the sums that the estimate is made of; null is the root of the second beta."""
    eps: Annotated[Eps, Since("0.2.0")] = 1e-8
    weight_decay: Annotated[WeightDecay, Since("0.2.0")] = 0.0
    decouple: Annotated[Decoupled, Since("0.2.0")] = True
    use_bias_correction: Annotated[bool, Since("0.2.0")] = False
    """Correct the averages for their start at 0, as Adam does."""
    safeguard_warmup: Annotated[bool, Since("0.2.0")] = False
    """Leave lr out of the estimate's denominator, for schedules with a warm-up."""
    d0: Annotated[float, Field(gt=0, le=1e6), Since("0.2.0")] = 1e-6
    """Where the estimate starts."""
    d_coef: Annotated[Positive, Since("0.2.0")] = 1.0
    """What each new estimate is multiplied with."""
    growth_rate: Annotated[Annotated[float, Field(ge=1, le=1e6)] | None, Since("0.2.0")] = None
    """How many times the estimate may grow in one step; null sets no limit."""


OWN = (
    Adam, AdamW, Adamax, NAdam, RAdam, Adagrad, Adadelta, RMSprop, SGD, Adafactor, ASGD, Rprop, Muon, AdamWScheduleFree,
    Prodigy,
)  # fmt: skip

if TYPE_CHECKING:  # a type checker cannot know classes that are made of data
    Optimizer = (
        Adam | AdamW | Adamax | NAdam | RAdam | Adagrad | Adadelta | RMSprop | SGD | Adafactor | ASGD | Rprop | Muon
        | AdamWScheduleFree | Prodigy | LibraryOptimizer
    )  # fmt: skip
else:
    Optimizer = Annotated[Union[(*OWN, *LIBRARY)], Field(discriminator="name")]

_ALL: tuple[type[OptimizerModel], ...] = (*OWN, *LIBRARY)
OPTIMIZERS: dict[str, type[OptimizerModel]] = {tag(kind): kind for kind in _ALL}
"""The classes by the name that a manifest gives them."""

NOT_TO_BE_HAD = {
    "lbfgs": "its step evaluates the loss several times, and a training step here has one forward and backward pass",
    "sparseadam": "it takes sparse gradients alone, and a ResNet has none",
    "sam": "its step needs the gradient at a second point, and a training step here has one backward pass",
    "adahessian": "its step needs second derivatives, and a training step here has first ones",
    "lookahead": "it is a wrapper around another optimizer, and a manifest names one",
    "soap": "neither torch nor timm has it",
    "shampoo": "neither torch nor timm has it",
    "sophia": "neither torch nor timm has it",
    "kron": "it draws random numbers of its own, which a checkpoint here does not hold",
    "adafactorbv": "torch's Adafactor is here as adafactor",
    "adamuon": "torch's Muon is here as muon",
    "schedulefree": "AdamW is the one that is here without a schedule, as adamwschedulefree",
}
"""Optimizers that people look for, and why a manifest cannot name them."""
