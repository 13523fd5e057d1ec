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
    "adabelief": UpdateRule(
        "m = β1·m + (1 − β1)·g, s = β2·s + (1 − β2)·(g − m)² + eps, w = w − lr · rt · m/(1 − β1^t) / (sqrt(s) + eps), "
        "while the variance is unknown (rectify) w = w − lr · m/(1 − β1^t)",
        "Zhuang et al. 2020, arXiv:2010.07468, algorithm 2, as timm has it",
        "lr · |g| where it is rectified, otherwise about lr/β1",
    ),
    "adamp": UpdateRule(
        f"{_ADAM}, d = m/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps), without its part along w where w and g are nearly at "
        "right angles, w = w − lr·d",
        "Heo et al. 2020, arXiv:2006.08217, algorithm 2",
        "not predicted: it depends on the angle between weights and gradient",
    ),
    "adan": UpdateRule(
        "m = β1·m + (1 − β1)·g, u = β2·u + (1 − β2)·(g − g'), n = β3·n + (1 − β3)·(g + β2·(g − g'))² with the gradient "
        "g' of the step before, w = (w − lr · (m + β2·u)/(sqrt(n) + eps)) / (1 + lr · weight_decay), each mean "
        "corrected for its start; timm's betas are 1 minus the paper's",
        "Xie et al. 2022, arXiv:2208.06677, algorithm 1",
        "lr · |g| / (|g| + eps) and the decay lr · weight_decay · |w|, about lr",
    ),
    "adopt": UpdateRule(
        "d = g / max(sqrt(v), eps) within ±(t − 1)^clip_exp, m = β1·m + (1 − β1)·d, w = w − lr·m, "
        "v = β2·v + (1 − β2)·g² afterwards (v = g² in the first step)",
        "Taniguchi et al. 2024, arXiv:2411.02853, algorithm 2",
        "0: it only fills the mean of squares, so nothing is predicted",
    ),
    "lamb": UpdateRule(
        f"{_ADAM}, d = m/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps) + weight_decay · w, w = w − lr · |w|/|d| · d with the "
        "norms of the tensor",
        "You et al. 2019, arXiv:1904.00962, algorithm 2, as timm has it",
        "lr · rms(w), and as Adam where weight_decay is 0",
    ),
    "laprop": UpdateRule(
        "v = β2·v + (1 − β2)·g², m = β1·m + (1 − β1) · lr · g / (sqrt(v/(1 − β2^t)) + eps), w = w − m/(1 − β1^t) − lr "
        "· weight_decay · w",
        "Ziyin, Wang and Ueda 2020, arXiv:2002.04839, algorithm 1",
        "lr · |g| / (|g| + eps) and the decay lr · weight_decay · |w|, about lr",
    ),
    "lars": UpdateRule(
        "g' = trust_coeff · |w|/(|g| + weight_decay · |w| + eps) · (g + weight_decay · w) with the norms of the tensor "
        "(g' = g where weight_decay is 0), b = momentum·b + (1 − dampening)·g' (b = g' in the first step), "
        "w = w − lr·b",
        "You, Gitman and Ginsburg 2017, arXiv:1708.03888, algorithm 1",
        "lr · |g| where weight_decay is 0, as SGD; otherwise not predicted: it depends on the norms of each tensor",
    ),
    "lion": UpdateRule(
        "w = w · (1 − lr · weight_decay) − lr · sign(β1·m + (1 − β1)·g), m = β2·m + (1 − β2)·g",
        "Chen et al. 2023, arXiv:2302.06675, algorithm 2",
        "lr, and the decay lr · weight_decay · |w|",
    ),
    "madgrad": UpdateRule(
        "s = s + lr · sqrt(t) · g, v = v + lr · sqrt(t) · g², z = w0 − s/(cuberoot(v) + eps), "
        "w = momentum·w + (1 − momentum)·z",
        "Defazio and Jelassi 2021, arXiv:2101.11075, algorithm 1",
        "(1 − momentum) · lr · |g| / (cuberoot(lr · g²) + eps)",
    ),
    "mars": UpdateRule(
        "c = g + gamma · β1/(1 − β1) · (g − g') with the gradient g' of the step before, clipped to norm 1 for each "
        "tensor, then AdamW's step with c, or Lion's",
        "Yuan et al. 2024, arXiv:2411.10438, algorithms 2 and 3",
        "lr · |g| / (|g| + eps) and the decay lr · weight_decay · |w|, about lr",
    ),
    "nadamw": UpdateRule(
        f"{_ADAM}, w = w · (1 − lr · weight_decay) − lr · (β1·m + (1 − β1)·g)/(1 − β1^t) / (sqrt(v/(1 − β2^t)) + eps)",
        "Choi et al. 2019, arXiv:1910.05446, table 1, as timm has it",
        "lr · (1 + β1) · |g| / (|g| + eps), nearly 2·lr",
    ),
    "novograd": UpdateRule(
        "v = β2·v + (1 − β2)·|g|² with the norm of the tensor (v = |g|² in the first step), m = β1·m + g/(sqrt(v) + "
        "eps) + weight_decay · w, w = w − lr·m",
        "Ginsburg et al. 2019, arXiv:1905.11286, algorithm 1",
        "not predicted: lr for all weights of a tensor together, so it depends on how many there are",
    ),
    "rmsproptf": UpdateRule(
        "v = alpha·v + (1 − alpha)·g² (from 1), centered: a = alpha·a + (1 − alpha)·g and v − a² in place of v, "
        "b = momentum·b + lr · g / sqrt(v + eps), w = w − b",
        "Tieleman and Hinton 2012, lecture 6.5, as TensorFlow and timm have it",
        "lr · |g| / sqrt(alpha + (1 − alpha)·g² + eps), about lr · |g|/sqrt(alpha) where gradients are small",
    ),
    "sgdw": UpdateRule(
        "b = momentum·b + (1 − dampening)·g (b = g in the first step), w = w · (1 − lr · weight_decay) − lr·b, with "
        "nesterov g + momentum·b in place of b",
        "Loshchilov and Hutter 2017, arXiv:1711.05101, algorithm 1, as timm has it",
        "lr · |g|, with nesterov lr · (1 + momentum) · |g|, and the decay lr · weight_decay · |w|",
    ),
    "adamwschedulefree": UpdateRule(
        "v = β2·v + (1 − β2)·g², d = g / (sqrt(v/(1 − β2^t)) + eps) + weight_decay · y, z = z − lr·d, "
        "x = (1 − c)·x + c·z with c = lr²/(sum of lr²), so that x is the average, y = (1 − β1)·z + β1·x; trained is y, "
        "evaluated x",
        "Defazio et al. 2024, arXiv:2405.15682, algorithm 1",
        "lr · |g| / (|g| + eps) and the decay lr · weight_decay · |w|, about lr",
    ),
    "prodigy": UpdateRule(
        "m = β1·m + (1 − β1)·d·g, v = β2·v + (1 − β2)·d²·g², w = w − d·lr · m / (sqrt(v) + d·eps), and d is the "
        "largest estimate so far of the distance to the best weights",
        "Mishchenko and Defazio 2023, arXiv:2306.06101, algorithm 4",
        "d0·lr · (1 − β1)·|g| / (sqrt(1 − β2)·|g| + eps), about 3·d0·lr",
    ),
}
