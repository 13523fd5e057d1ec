"""The update rules of the optimizers as data: formula, source, and what the formula says of the first step.

`job.report.analysis.reasons.predictions` has the first steps as numbers, `mechanisms` what each attribute does.
The notation is one for all: w a weight, g its gradient, t the number of the step from 1, sqrt the square root.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class UpdateRule:
    """What an optimizer does to one weight in one step, as torch computes it."""

    formula: str
    reference: str
    """The paper, and where in it the formula stands."""
    first_step: str
    """The size of the first step of one weight, from the formula; lr is that of the first step."""


_ADAM = "m = β1·m + (1 − β1)·g, v = β2·v + (1 − β2)·g²"

UPDATE_RULES: dict[str, UpdateRule] = {
    "adam": UpdateRule(
        f"{_ADAM}, w = w − lr · m/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps)",
        "Kingma and Ba 2014, arXiv:1412.6980, algorithm 1",
        "lr · |g| / (|g| + eps), about lr",
    ),
    "adamw": UpdateRule(
        f"{_ADAM}, w = w − lr · weight_decay · w − lr · m/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps)",
        "Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 2",
        "lr · |g| / (|g| + eps) and the decay lr · weight_decay · |w|, about lr",
    ),
    "adamax": UpdateRule(
        "m = β1·m + (1 − β1)·g, u = max(β2·u, |g| + eps), w = w − lr/(1 − β1^t) · m/u",
        "Kingma and Ba 2014, arXiv:1412.6980, algorithm 2",
        "lr · |g| / (|g| + eps), about lr",
    ),
    "nadam": UpdateRule(
        f"{_ADAM}, μt = β1 · (1 − 0.96^(t · momentum_decay)/2), w = w − lr · (μt+1 · m/(1 − μ1 ··· μt+1) + "
        "(1 − μt) · g/(1 − μ1 ··· μt)) / (sqrt(v/(1 − β2^t)) + eps)",
        "Dozat 2016, Incorporating Nesterov Momentum into Adam, ICLR workshop, as torch.optim.NAdam has it",
        "lr · (1 + μ2 · (1 − β1)/(1 − μ1·μ2)) · |g| / (|g| + eps), a little more than lr",
    ),
    "radam": UpdateRule(
        f"{_ADAM}, w = w − lr · m/(1 − β1^t) while the variance of v is unknown (ρt ≤ 5), afterwards as Adam with the "
        "factor rt, which rises to 1",
        "Liu et al. 2019, arXiv:1908.03265, algorithm 2",
        "lr · |g|, because the first steps are not divided by anything",
    ),
    "adagrad": UpdateRule(
        "s = s + g² (from initial_accumulator_value), w = w − lr/(1 + (t − 1) · lr_decay) · g / (sqrt(s) + eps)",
        "Duchi, Hazan and Singer 2011, JMLR 12, the algorithm with diagonal matrices",
        "lr · |g| / (sqrt(initial_accumulator_value + g²) + eps), about lr where the sum starts at 0",
    ),
    "adadelta": UpdateRule(
        "v = rho·v + (1 − rho)·g², d = sqrt(u + eps)/sqrt(v + eps) · g, u = rho·u + (1 − rho)·d², w = w − lr·d",
        "Zeiler 2012, arXiv:1212.5701, algorithm 1 (there without lr)",
        "lr · sqrt(eps) · |g| / sqrt((1 − rho)·g² + eps), at most lr · sqrt(eps/(1 − rho))",
    ),
    "rmsprop": UpdateRule(
        "v = alpha·v + (1 − alpha)·g², centered: a = alpha·a + (1 − alpha)·g and v − a² in place of v, "
        "b = momentum·b + g / (sqrt(v) + eps), w = w − lr·b",
        "Tieleman and Hinton 2012, Neural Networks for Machine Learning, lecture 6.5; centered: Graves 2013, "
        "arXiv:1308.0850, equations 38 to 41",
        "lr · |g| / (sqrt(1 − alpha)·|g| + eps), about lr/sqrt(1 − alpha), and centered lr/sqrt(alpha·(1 − alpha))",
    ),
    "sgd": UpdateRule(
        "b = momentum·b + (1 − dampening)·g (b = g in the first step), w = w − lr·b, with nesterov w = w − lr · "
        "(g + momentum·b)",
        "Sutskever et al. 2013, ICML, equations 1 to 4, with lr as torch.optim.SGD has it",
        "lr · |g|, and with nesterov lr · (1 + momentum) · |g|",
    ),
    "adafactor": UpdateRule(
        "v = rows and columns of the mean of g² with weight t^beta2_decay, d' = g/sqrt(v) scaled down to a root mean "
        "square of d, w = w − max(eps2, rms(w)) · min(lr, 1/sqrt(t)) · d' − lr · weight_decay · w",
        "Shazeer and Stern 2018, arXiv:1804.04235, algorithms 4 and 5",
        "min(lr, 1) · rms(w) where the update has a root mean square of 1",
    ),
    "asgd": UpdateRule(
        "w = w − η·(g + lambd·w), η = lr / (1 + lambd · lr · t)^alpha, lr in the first step",
        "Polyak and Juditsky 1992, SIAM Journal on Control and Optimization 30, as torch.optim.ASGD has it",
        "lr · |g + lambd·w|",
    ),
    "rprop": UpdateRule(
        "s = s·1.2 where the sign of g stayed and s·0.5 where it changed (etas), within step_sizes, w = w − s·sign(g)",
        "Riedmiller and Braun 1993, IEEE International Conference on Neural Networks",
        "lr within step_sizes",
    ),
    "muon": UpdateRule(
        "B = momentum·B + (1 − momentum)·G for a kernel as a matrix, W = W − lr · scale · orthogonal(B) − lr · "
        "weight_decay · W; all other weights as AdamW",
        "Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, as torch.optim.Muon has it",
        "not predicted: it depends on the shapes of the kernels, not on the size of the gradient",
    ),
}
