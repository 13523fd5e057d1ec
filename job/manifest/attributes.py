"""What the classes of the optimizers are made of: their base, and the types of the attributes that many of them have.

This module must not import torch: a report or a submission needs the optimizers, and not torch.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from job.manifest.base import StrictModel

Positive = Annotated[float, Field(gt=0, le=1e6)]
LearningRate = Annotated[Positive, Field(description="Learning rate.")]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Coefficient = Annotated[float, Field(ge=-1000, le=1000)]
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


def check_nesterov(*, momentum: float, dampening: float) -> None:
    """Raises `ValueError` where there is no momentum to look ahead by, as torch and timm do."""
    if momentum == 0 or dampening != 0:
        raise ValueError("nesterov needs momentum above 0 and dampening 0")


class OptimizerModel(StrictModel):
    """What every optimizer says about itself besides its attributes."""

    library: ClassVar[Literal["torch", "timm", "job"]] = "torch"
    """Who wrote the class that training takes: torch, timm, or this program where no library has it."""
    colour: ClassVar[str]
    """Of its lines and points in the report. Most are Okabe and Ito's, told apart also by colour-blind people
    (https://jfly.uni-koeln.de/color/); their yellow, unreadable on white, is darkened."""
    marker: ClassVar[str | tuple[int, int, int]]
    """matplotlib's marker of its points, which no other optimizer has."""
    is_fused: ClassVar[bool] = False
    """Whether torch has one kernel for its whole step, on CPU and CUDA. The others are stepped tensor list by tensor
    list on CUDA."""
    is_capturable: ClassVar[bool] = True
    """Whether a CUDA graph can hold its step. The others read numbers back to the host, or count their steps there."""
    needs_backbone: ClassVar[bool] = False
    """Whether it is for kernels of convolutions, so that a frozen backbone leaves it nothing to train."""
    torch_release: ClassVar[str] = "2.11"
    """The oldest release of torch that has the class and that this program works with."""
    is_decoupled: ClassVar[bool] = False
    """Whether its weight decay always goes past the gradient."""
