"""What each attribute does in its optimizer's update rule, a sentence each, read off the formulas in `update_rules`.

A key is `optimizer.attribute`, or the attribute alone where it does the same in all optimizers that have it.
"""

from __future__ import annotations

from collections.abc import Mapping

from job.manifest.optimizers import Optimizer
from job.report.analysis.reasons.predictions import is_decoupled
from job.report.analysis.wording import show_attribute

_INTO_GRADIENT = "weight_decay times the weight is added to the gradient before anything else"
_DECOUPLED = "every step takes lr · weight_decay of each weight away, whatever the gradient is"

MECHANISMS: Mapping[str, str] = {
    "lr": "every step is multiplied by lr",
    "rprop.lr": "lr is the first step of each weight; later steps do not depend on it",
    "adafactor.lr": "lr is the largest step, as a part of the size of the weights",
    "betas": "the betas say how much of the running means of g and g² is kept; the first step does not depend on them",
    "nadam.betas": "the betas say how much of the running means of g and g² is kept, and the first one how far NAdam "
    "looks ahead",
    "radam.betas": "the betas say how much of the running means of g and g² is kept, and the second one how many first "
    "steps are not divided",
    "eps": "eps is added to the root of the mean of g² that the step is divided by, so it counts where gradients are "
    "not large beside it",
    "adagrad.eps": "eps is added to the root of the sum of all g² that the step is divided by, so it counts where "
    "gradients are not large beside it, and less with every step",
    "adamax.eps": "eps is added to each |g| before the largest is kept, so it counts where gradients are not large "
    "beside it",
    "adadelta.eps": "eps is where the mean of the squared updates starts, so early steps grow with its root",
    "adafactor.eps": "eps holds the smallest mean of g² and the smallest size of a weight that a step is relative to",
    "amsgrad": "amsgrad divides by the largest mean of g² so far, so a step cannot grow where gradients become smaller",
    "momentum_decay": "momentum_decay says how fast the momentum rises to its full value",
    "initial_accumulator_value": "the sum of squared gradients that steps are divided by starts at this value, so it "
    "makes early steps smaller",
    "lr_decay": "lr is divided by 1 + lr_decay · (number of steps so far), so the first step stays as it is",
    "rho": "rho says how much of the means of g² and of the squared updates is kept; both start at 0, so early steps "
    "grow as 1/sqrt(1 − rho)",
    "alpha": "alpha says how much of the mean of g² is kept; it starts at 0 and nothing corrects for that, so the "
    "first step is about lr/sqrt(1 − alpha)",
    "asgd.alpha": "alpha says how fast lr falls; the first step does not depend on it",
    "momentum": "each step repeats momentum times the step before it, so steps in one direction grow up to "
    "1/(1 − momentum) times; the first step stays as it is",
    "muon.momentum": "momentum says how much of the accumulated gradient is kept, of which Muon takes the direction",
    "centered": "the step is divided by the standard deviation of the gradient in place of its root mean square, which "
    "is smaller",
    "dampening": "a gradient enters the accumulated one with weight 1 − dampening, from the second step on",
    "nesterov": "the step looks ahead by momentum times the accumulated gradient",
    "beta2_decay": "beta2_decay says how fast the mean of g² forgets old gradients",
    "d": "an update whose root mean square is above d is scaled down to it",
    "lambd": "lambd is a decay of the weights, and says how fast lr falls",
    "t0": "t0 is the step from which torch averages weights; the average is not what is evaluated",
    "etas": "the etas are what a weight's step is multiplied with where its gradient's sign changed, and where not",
    "step_sizes": "step_sizes are the smallest and the largest step of a weight",
    "decoupled_weight_decay": "the decay is taken from the weights directly, and not added to the gradient",
    "ns_steps": "ns_steps says how near to orthogonal the update of a kernel becomes",
    "ns_coefficients": "ns_coefficients say how near to orthogonal the update of a kernel becomes",
    "adjust_lr_fn": "adjust_lr_fn says how the step depends on the shape of a kernel",
    "adan.betas": "the betas say how much of the running means of g, of its difference and of the square of both is "
    "kept; the first step does not depend on them",
    "lion.betas": "the first beta says how much of the running mean counts in a step's sign, the second how much of it "
    "is kept; the first step does not depend on them",
    "nadamw.betas": "the betas say how much of the running means of g and g² is kept, and the first one how far NAdamW "
    "looks ahead",
    "adabelief.betas": "the betas say how much of the running means of g and of its distance from that mean is kept",
    "novograd.betas": "the betas say how much of the running means of g and of its squared norm is kept",
    "adabelief.eps": "eps is added to the mean of the squared distances in each step, and to its root",
    "adopt.eps": "eps is the smallest root of the mean of g² that a gradient is divided by",
    "lars.eps": "eps is added to the norms that a tensor's step is divided by",
    "madgrad.eps": "eps is added to lr, and to the cube root that the step is divided by",
    "madgrad.momentum": "a step keeps momentum of the weights, so the first one is 1 − momentum as large",
    "novograd.eps": "eps is added to the norm of a tensor's gradient that the step is divided by",
    "rmsproptf.alpha": "alpha says how much of the mean of g² is kept; it starts at 1, so early steps are small",
    "rmsproptf.eps": "eps is added to the mean of g² within the root that the step is divided by",
    "delta": "delta says how near to a right angle weights and gradient are where the part of a step along the weights "
    "is left out",
    "wd_ratio": "wd_ratio is what weight_decay is multiplied with where that part is left out",
    "no_prox": "no_prox takes the decay before the step instead of after it",
    "clip_exp": "step t is clipped to (t − 1)^clip_exp for each weight, so early steps are smaller",
    "caution": "caution leaves out of a step what points against the gradient; in the first step nothing does",
    "corrected_weight_decay": "the decay follows lr² over the largest lr, so it falls faster than lr where a schedule "
    "lowers it",
    "decoupled_decay": "the decay is taken from the weights directly, and not added to the gradient",
    "decoupled": "the decay is taken from the weights directly, and not added to the gradient",
    "fixed_decay": "every step takes weight_decay of each weight away, whatever lr is",
    "rectify": "while the variance is unknown, rectify steps along the mean gradient without dividing it",
    "degenerated_to_sgd": "without degenerated_to_sgd the first steps, of unknown variance, are left out",
    "bias_correction": "without bias_correction the means are not corrected for their start at 0",
    "grad_averaging": "grad_averaging weighs a gradient with 1 − β1 where it enters its mean",
    "max_grad_norm": "all gradients together are scaled down to a norm of max_grad_norm",
    "trust_clip": "trust_clip never lets the norm of the weights make a step larger",
    "always_adapt": "always_adapt follows the norm of the weights also without weight_decay",
    "trust_coeff": "trust_coeff is what the norm of the weights over that of the gradient is multiplied with",
    "gamma": "gamma says how much the difference of two gradients counts; the first step does not depend on it",
    "mars_type": "mars_type says whether the step is AdamW's or Lion's",
    "optimize_1d": "optimize_1d reduces the variance for BatchNorm and biases too",
    "lr_1d_factor": "lr_1d_factor is what the lr of BatchNorm and biases is multiplied with",
    "betas_1d": "betas_1d are the betas of BatchNorm and biases",
    "clipping_threshold": "a tensor's step whose root mean square is above clipping_threshold is scaled down to it",
    "lr_in_momentum": "without lr_in_momentum a change of lr counts for old updates too",
    "adamwschedulefree.betas": "the first beta says how near to the average a gradient is taken, the second how much "
    "of the running mean of g² is kept",
    "r": "r says how much more late steps count in the average than early ones",
    "weight_lr_power": "weight_lr_power says how much less steps of a small lr count in the average",
    "prodigy.lr": "every step is the estimate d times lr",
    "beta3": "beta3 says how much is kept of the sums that the estimate d is made of",
    "decouple": "the decay is taken from the weights directly, and not added to the gradient",
    "use_bias_correction": "use_bias_correction corrects the means for their start at 0",
    "safeguard_warmup": "safeguard_warmup leaves lr out of the estimate's denominator",
    "d0": "the estimate d starts at d0, so the first steps are multiplied by it",
    "d_coef": "each new estimate is multiplied by d_coef",
    "growth_rate": "the estimate grows at most growth_rate times in a step",
    "adamw_lr": "steps of BatchNorm, biases and fc are multiplied by adamw_lr; kernels take Muon's",
    "schedule": "the schedule says what lr is multiplied with in each step",
    "batch_size": "a gradient is the mean over batch_size images, so larger batches are less noisy and an epoch has "
    "fewer steps",
    "epochs": "more epochs are more steps",
    "augmentation": "augmentation changes the training images anew in each epoch",
    "label_smoothing": "label smoothing takes a part of the probability from the true class, so the loss has its "
    "lowest value at less certain answers",
    "image_size": "the images are resized before the network sees them",
    "precision": "the precision is that of the arithmetic, and no part of the update rule",
    "model.freeze_backbone": "with a frozen backbone fc alone is trained",
    "model.weights": "training starts from these weights",
    "model.name": "another network is trained",
}


def describe_mechanism(optimizer: Optimizer, attribute: str) -> str:
    """What `attribute` does, as a clause; what is not in the table is said to be part of the configuration alone."""
    name = show_attribute(attribute)
    if name == "weight_decay":
        return _DECOUPLED if is_decoupled(optimizer) else _describe_penalty(optimizer)
    own = MECHANISMS.get(f"{optimizer.name}.{name}") or MECHANISMS.get(name)
    return own or f"{name} is a part of the configuration"


def _describe_penalty(optimizer: Optimizer) -> str:
    if optimizer.name == "novograd":
        return "weight_decay times the weight is added to the gradient after it was divided by its norm"
    if optimizer.name == "lamb":
        return "weight_decay times the weight is added to the step, which then gets the norm of the weights"
    if optimizer.name == "lars":
        return f"{_INTO_GRADIENT}, and the step then follows the norm of the weights"
    if optimizer.name in ("sgd", "asgd"):
        return f"{_INTO_GRADIENT}, so each step pulls the weights towards 0"
    if optimizer.name == "rprop":
        return f"{_INTO_GRADIENT}, of which the sign alone counts"
    return f"{_INTO_GRADIENT}, and then divided as the gradient is"
