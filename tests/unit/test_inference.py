"""The engine of the verdicts: error rates, coverage and power by simulation, and numbers against other computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats

from job.report.analysis.inference.attributes import Attribute, Design, judge_attributes
from job.report.analysis.inference.comparisons import MARGIN, Family, compare_all
from job.report.analysis.inference.failures import LEVEL, estimate_success
from job.report.analysis.inference.model import fit
from job.report.analysis.inference.noise import Floats, judge_noise, moderate
from job.report.analysis.inference.optimizers import compare_optimizers
from job.report.analysis.inference.pairs import DRAWS_AT_ONCE, Draws, Images
from job.report.analysis.inference.seeds_needed import count_seeds, find_seeds_needed
from job.report.analysis.inference.sweep import Sweep
from job.report.analysis.inference.time_to_target import estimate_time
from job.report.analysis.inference.variance import Share
from tests import simulation
from tests.simulation import NUM_IMAGES, UNEQUAL, Case, count_as_chance, find_within_reach

pytestmark = pytest.mark.slow  # simulates thousands of sweeps


def at_most(part: float, num: int) -> float:
    """The largest part of `num` sweeps that a true rate of `part` shows but once in a thousand times."""
    return stats.binom.ppf(0.999, num, part) / num


# Error rates. docs/measurements/2026-11-25-statistics.md has them with many more repeats.


@pytest.mark.parametrize("diverging", [False, True])
@pytest.mark.parametrize("unequal", [0.0, UNEQUAL])
@pytest.mark.parametrize(
    ("num_settings", "num_seeds", "repeats"), [(1, 3, 300), (10, 2, 200), (10, 3, 200), (10, 10, 120), (50, 3, 60)]
)
def test_equal_optimizers_are_decided_in_at_most_five_percent_of_sweeps(
    num_settings: int, num_seeds: int, repeats: int, unequal: float, diverging: bool
) -> None:
    case = Case((0.8,) * (num_settings + 1), num_seeds, unequal, diverging)
    found = simulation.measure(case, repeats, errors_alone=True)
    assert found["optimizers decided"] <= at_most(0.05, repeats)
    assert found["any wrong answer"] <= at_most(0.05, repeats)
    assert found["all intervals held"] >= 1 - at_most(0.05, repeats)


def test_the_simulation_tells_a_method_that_chooses_and_tests_with_the_same_scores() -> None:
    found = simulation.measure(Case((0.8,) * 51, 5), 100, errors_alone=True)
    assert found["optimizers decided, before"] > at_most(0.05, 100)


def test_two_points_among_seventeen_are_found_with_three_seeds_and_nearly_always_with_five() -> None:
    three = simulation.measure(Case((0.8,) * 16 + (0.82,), 3), 200)
    assert three["optimizers decided"] >= 0.5
    five = simulation.measure(Case((0.8,) * 16 + (0.82,), 5), 100)
    assert three["last found, before"] < 0.15
    assert three["last found, against the baseline"] >= 0.65
    assert three["last found"] >= 0.35
    assert five["last found"] >= 0.8
    assert three["best within reach"] >= 0.95


def test_very_unequal_noise_leaves_power_and_the_error_rate() -> None:
    found = simulation.measure(Case((0.8,) * 16 + (0.82,), 3, UNEQUAL), 200)
    assert found["last found, against the baseline"] >= 0.3
    assert found["intervals with the baseline held"] >= 1 - at_most(0.07, 200)


@pytest.mark.parametrize("unequal", [0.0, UNEQUAL])
def test_four_equal_optimizers_with_four_settings_each_are_rarely_told_apart(unequal: float) -> None:
    decided, groups = 0, [range(start, start + 4) for start in (0, 4, 8, 12)]
    for accuracies, _, _ in simulation.draw(Case((0.8,) * 16, 3, unequal), 200, 5):
        family = compare_optimizers(fit(Sweep(accuracies, NUM_IMAGES), num_draws=1000), groups)
        decided += int((family.low > 0).any())
    assert decided / 200 <= at_most(0.05, 200)


@pytest.mark.parametrize("unequal", [0.0, UNEQUAL])
def test_configurations_a_margin_apart_are_called_equal_in_at_most_five_percent(unequal: float) -> None:
    found = simulation.measure(Case((0.8, 0.8 + MARGIN), 10, unequal, noise=0.004), 400, errors_alone=True)
    assert found["last equal to the first"] <= at_most(0.05, 400)


def test_configurations_alike_are_called_equal_where_the_seeds_suffice() -> None:
    found = simulation.measure(Case((0.8,) * 5, 10, noise=0.004), 50, errors_alone=True)
    assert found["last equal to the first"] > 0.8


@pytest.mark.parametrize("case", [Case((0.8,) * 17, 3), Case((0.8,) * 5, 5), Case((0.8,) * 17, 5, UNEQUAL)])
def test_seeds_needed_are_within_a_factor_of_two_in_eighty_percent(case: Case) -> None:
    named, near = simulation.measure_seeds_needed(case, 100)
    assert named > 0.1
    assert near >= 0.8


def test_intervals_for_new_images_hold_and_are_narrower_where_the_right_images_are_known() -> None:
    held, widths = simulation.measure_new_images(200)
    assert held.min() >= 1 - at_most(0.05, 200)
    assert widths[0] < widths[1]


def test_intervals_for_these_images_are_too_narrow_for_new_ones() -> None:
    rng = np.random.default_rng(0)
    scores = 0.8 + 0.002 * rng.standard_normal((3, 5))
    model = fit(Sweep(scores, 1000))
    these, new = (compare_all(model, images=images).compare(0, 1) for images in ("these", "new"))
    assert new.high - new.low > 3 * (these.high - these.low)


# Against other computations.


def limma_prior(variances: Floats, freedom: float) -> tuple[float, float]:
    """fitFDist of limma 3.60 in its words: Smyth 2004, section 6.2, by the moments of log s²."""
    logs = np.log(variances) - special.digamma(freedom / 2) + np.log(freedom / 2)
    excess = np.var(logs, ddof=1) - special.polygamma(1, freedom / 2)
    half = optimize.brentq(lambda x: special.polygamma(1, x) - excess, 1e-3, 1e6)
    return np.exp(logs.mean() + special.digamma(half) - np.log(half)), 2 * half


@pytest.mark.parametrize("true_freedom", [4.0, 8.0])
def test_moderated_variances_are_limmas_where_there_are_many_configurations(true_freedom: float) -> None:
    rng = np.random.default_rng(3)
    num, freedom = 2000, 2.0
    truth = 0.5 * true_freedom / rng.chisquare(true_freedom, num)
    seen = truth * rng.chisquare(freedom, num) / freedom
    prior, prior_freedom = limma_prior(seen, freedom)
    expected = (prior_freedom * prior + freedom * seen) / (prior_freedom + freedom)
    noise, _ = judge_noise(seen, np.full(num, freedom), apart=np.zeros(num, bool), rng=rng, num_draws=200)
    ratio = np.sqrt(noise.variances / expected)  # of the moderated t
    assert np.abs(ratio - 1).max() < 0.12
    assert np.median(np.abs(ratio - 1)) < 0.05
    assert np.median(noise.freedom) == pytest.approx(true_freedom + freedom, rel=0.1)


def test_a_known_prior_gives_smyths_formula() -> None:
    variances, freedom = moderate(np.array([1.0, 4.0]), np.array([2.0, 2.0]), np.array([2.0]), np.array([4.0]))
    assert variances == pytest.approx([10 / 6, 16 / 6])
    assert freedom == pytest.approx([6, 6])


def test_two_configurations_are_compared_by_the_paired_t_test() -> None:
    ours, theirs = np.array([0.851, 0.842, 0.856, 0.849]), np.array([0.841, 0.840, 0.843, 0.839])
    reference = stats.ttest_rel(ours, theirs)
    low, high = reference.confidence_interval(LEVEL)
    found = compare_all(fit(Sweep(np.array([ours, theirs]), NUM_IMAGES), num_draws=100_000)).compare(0, 1)
    assert found.p == pytest.approx(reference.pvalue, abs=0.004)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.0006)
    assert found.difference == pytest.approx((ours - theirs).mean())


def test_three_configurations_of_one_variance_keep_tukeys_error() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(300):
        family = compare_all(fit(Sweep(0.8 + 0.005 * rng.standard_normal((3, 3)), NUM_IMAGES), num_draws=1000))
        held += int((family.low <= 0).all())
    assert held / 300 >= 1 - at_most(0.05, 300)


def test_success_rates_have_clopper_and_pearsons_interval() -> None:
    for succeeded, num in ((0, 3), (2, 3), (3, 3), (7, 10)):
        expected = stats.binomtest(succeeded, num).proportion_ci(LEVEL, method="exact")
        found = estimate_success(succeeded, num)
        assert (found.low, found.high) == pytest.approx((expected.low, expected.high))


def test_time_to_target_agrees_with_the_curve_of_the_6mp_trial() -> None:
    # Freireich et al. 1963 (Blood 21), the example of most textbooks: remission in weeks, median 23.
    events = [6, 6, 6, 7, 10, 13, 16, 22, 23]
    censored = [6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35]
    found = estimate_time(events + censored, [True] * 9 + [False] * 12)
    curve = stats.ecdf(stats.CensoredData(uncensored=events, right=censored)).sf
    weeks = np.arange(35)  # all times are whole weeks, so the curve is flat within each
    assert found.mean == pytest.approx(curve.evaluate(weeks).sum())
    assert found.median == 23
    assert (found.num_reached, found.num, found.horizon) == (9, 21, 35)


def test_time_to_target_of_runs_that_all_reached_it_is_the_mean_with_its_t_interval() -> None:
    times = [3.0, 4.0, 6.0, 4.0]
    expected = stats.t.interval(LEVEL, 3, np.mean(times), stats.sem(times))
    found = estimate_time(times, [True] * 4)
    assert (found.low, found.high) == pytest.approx(expected)


def test_a_run_that_never_reached_the_target_makes_its_configuration_slower() -> None:
    assert estimate_time([3, 10], [True, False]).mean == pytest.approx(6.5)
    assert estimate_time([3, 10], [True, False]).median == 3
    assert estimate_time([10, 10], [False, False]).median is None


# One family.


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 6), st.integers(1, 4), st.integers(0, 2**32 - 1))
def test_intervals_p_values_and_answers_never_contradict(num: int, num_seeds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = np.clip(
        rng.uniform(0.1, 1.02, (num, 1)) + rng.choice([0, 0.002, 0.1]) * rng.standard_normal((num, num_seeds)), 0, 1
    )
    scores[rng.random(scores.shape) < 0.2] = np.nan
    failed = np.isfinite(scores) & (rng.random(scores.shape) < rng.choice([0, 0.2]))
    scores = count_as_chance(scores, failed, num_classes=10)
    model = fit(Sweep(scores, 500, failed=failed), num_draws=500)
    limits = model.find_intervals()
    if limits is not None:
        for low, accuracy, high in zip(limits[0], model.accuracies, limits[1], strict=True):
            assert np.isnan(accuracy) or 0 <= low <= accuracy + 1e-12 <= high + 2e-12 <= 1 + 2e-12
    these, new = (compare_all(model, images=images) for images in ("these", "new"))
    assert (new.low <= these.low + 1e-12).all()
    assert (new.p >= these.p).all()
    half = compare_all(model, level=1 - (1 - LEVEL) / 2)
    assert (half.low <= these.low + 1e-12).all()
    families: tuple[tuple[Images, Family], ...] = (("these", these), ("new", new), ("these", half))
    for images, family in families:
        assert (np.abs(family.low) <= 1).all()
        assert (np.abs(family.high) <= 1).all()
        assert family.low == pytest.approx(-family.high.T)
        for a in range(num):
            for b in set(range(num)) - {a}:
                found = family.compare(a, b)
                assert (found.p <= 1 - LEVEL) == (found.low > 0 or found.high < 0)
                assert found.answer != "better" or (found.low > 0 and b not in find_within_reach(family))
                assert found.answer != "equal" or max(-found.low, found.high) < MARGIN
        groups = compare_optimizers(model, [range(num // 2), range(num // 2, num)], images=images).compare(0, 1)
        if not np.isnan(groups.difference):
            assert groups.low - 1e-9 <= groups.difference <= groups.high + 1e-9
        assert (groups.p <= 1 - LEVEL) == (groups.low > 0 or groups.high < 0)


def test_the_same_sweep_gives_the_same_answer() -> None:
    scores = np.array([[0.8, 0.81, 0.79], [0.82, 0.83, 0.82]])
    first, second = (compare_all(fit(Sweep(scores, 8000))).compare(0, 1) for _ in range(2))
    assert first == second


def test_seeds_that_agree_are_evidence_and_not_a_division_by_zero() -> None:
    found = compare_all(fit(Sweep(np.array([[0.8] * 3, [0.82] * 3]), 8000))).compare(1, 0)
    assert found.answer == "better"
    assert 0.015 < found.low < 0.02 < found.high < 0.025


def test_images_that_turn_between_seeds_are_noise_even_where_the_accuracies_agree() -> None:
    rng = np.random.default_rng(0)
    right = np.zeros((2, 3, 1000), dtype=bool)
    for row in right.reshape(6, 1000):
        row[rng.permutation(1000)[:800]] = True
    accuracies = right.mean(axis=-1)
    blind, seeing = (compare_all(fit(Sweep(accuracies, 1000, known))).compare(0, 1) for known in (None, right))
    assert seeing.high > 10 * blind.high


def test_a_single_seed_and_seeds_without_a_link_tell_nothing() -> None:
    for scores in ([[0.9], [0.2]], [[0.9, 0.91, np.nan, np.nan], [np.nan, np.nan, 0.2, 0.21]]):
        family = compare_all(fit(Sweep(np.array(scores), 1000)))
        assert family.compare(0, 1).answer == "unknown"
        assert (family.compare(0, 1).low, family.compare(0, 1).high) == (-1, 1)
        assert find_within_reach(family) == {0, 1}


def test_a_configuration_that_diverged_does_not_hide_what_the_others_tell() -> None:
    rng = np.random.default_rng(1)
    scores = np.repeat([[0.8], [0.8], [0.83], [0.8], [0.8]], 3, axis=1) + 0.004 * rng.standard_normal((5, 3))
    failed = np.zeros_like(scores, dtype=bool)
    failed[4, 1] = True
    alone = compare_all(fit(Sweep(scores[:4], 8000)))
    lost = compare_all(fit(Sweep(count_as_chance(scores, failed, num_classes=10), 8000, failed=failed)))
    assert lost.compare(2, 0).answer == alone.compare(2, 0).answer == "better"
    assert lost.compare(4, 0).difference == pytest.approx(-0.7 / 3, abs=0.01)
    assert lost.compare(4, 0).answer == "unknown"  # where it finishes it is as good


def test_a_configuration_that_fails_sometimes_is_worse_than_what_is_better_than_its_finished_runs() -> None:
    rng = np.random.default_rng(2)
    scores = np.repeat([[0.8], [0.8], [0.8], [0.8], [0.75]], 3, axis=1) + 0.004 * rng.standard_normal((5, 3))
    failed = np.zeros_like(scores, dtype=bool)
    failed[4, 1] = True
    model = fit(Sweep(count_as_chance(scores, failed, num_classes=10), 8000, failed=failed))
    for family in (compare_all(model), compare_optimizers(model, [[0, 1, 2, 3], [4]])):
        found = family.compare(0, len(family.low) - 1)
        assert found.answer == "better"
        assert 0.02 < found.low < 0.05
        assert found.difference == pytest.approx(0.8 - (2 * 0.75 + 0.1) / 3, abs=0.01)
        assert found.high > 0.5  # with two of three seeds the rate of success may be 9 %


def test_a_rate_of_success_that_many_seeds_tell_lets_a_configuration_win_in_spite_of_a_failure() -> None:
    scores = np.repeat([[0.5], [0.9]], 40, axis=1) + 0.004 * np.random.default_rng(3).standard_normal((2, 40))
    failed = np.zeros_like(scores, dtype=bool)
    failed[1, 7] = True
    family = compare_all(fit(Sweep(count_as_chance(scores, failed, num_classes=10), 8000, failed=failed)))
    found = family.compare(1, 0)
    assert found.answer == "better"
    assert found.difference == pytest.approx((39 * 0.9 + 0.1) / 40 - 0.5, abs=0.005)
    assert 0.2 < found.low < 0.35


def test_accuracies_have_the_interval_of_students_t_where_configurations_share_no_noise_of_seeds() -> None:
    """A sweep whose seeds have nothing in common: each mean by itself, with the noise that all of them show."""
    rng = np.random.default_rng(4)
    held, num = 0, 300
    for _ in range(num):
        scores = 0.8 + 0.006 * rng.standard_normal((6, 3)) + 0.004 * rng.standard_normal((1, 3))
        limits = fit(Sweep(scores, 8000), num_draws=1000).find_intervals()
        assert limits is not None
        held += int(limits[0][0] <= 0.8 <= limits[1][0])
    assert 0.9 <= held / num <= 0.995


def test_a_configuration_whose_seeds_all_failed_is_worse() -> None:
    scores = np.array([[0.8, 0.805, 0.795], [0.81, 0.8, 0.8], [0.1, 0.1, 0.1]])
    family = compare_all(fit(Sweep(scores, 8000, failed=scores == 0.1)))
    assert family.compare(2, 0).answer == "worse"
    assert 2 not in find_within_reach(family)


# Attributes.


def known(p: float | None) -> float:
    assert p is not None
    return p


def grid(num_rates: int, num_decays: int) -> Design:
    rates = tuple(rate for rate in range(num_rates) for _ in range(num_decays))
    decays = tuple(decay for _ in range(num_rates) for decay in range(num_decays))
    return Design(
        tuple(range(num_rates * num_decays)),
        (
            Attribute("lr", rates, tuple(range(num_rates)), is_ordered=True),
            Attribute("weight_decay", decays, tuple(range(num_decays)), is_ordered=True),
        ),
    )


def test_attributes_without_effect_are_found_in_at_most_five_percent() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for accuracies, _, _ in simulation.draw(Case((0.8,) * 9, 3, UNEQUAL), 300, 4):
        model = fit(Sweep(accuracies, NUM_IMAGES), num_draws=1000, seed=int(rng.integers(1000)))
        effects = judge_attributes(model, [grid(3, 3)])[0]
        wrong += any(known(p) <= 1 - LEVEL for effect in effects for p in (effect.p, effect.trend_p))
    assert wrong / 300 <= at_most(0.05, 300)


def test_an_attribute_that_matters_comes_first_with_its_trend() -> None:
    truth = tuple(0.78 + 0.01 * rate for rate in range(4) for _ in range(3))
    accuracies, _, _ = next(iter(simulation.draw(Case(truth, 3), 1, 0)))
    first, second = judge_attributes(fit(Sweep(accuracies, NUM_IMAGES)), [grid(4, 3)])[0]
    assert (first.name, second.name) == ("lr", "weight_decay")
    assert max(known(first.p), known(first.trend_p)) <= 0.01
    assert first.importance == pytest.approx(0.03, abs=0.01)
    assert first.trend == pytest.approx(0.03, abs=0.01)
    assert known(second.p) > 0.05


def test_attributes_that_only_change_together_cannot_be_told_apart() -> None:
    both = tuple(Attribute(name, (0, 1, 2), (0, 1, 2), is_ordered=True) for name in ("lr", "batch_size"))
    model = fit(Sweep(np.array([[0.8, 0.81], [0.82, 0.82], [0.85, 0.86]]), 1000))
    assert [effect.p for effect in judge_attributes(model, [Design((0, 1, 2), both)])[0]] == [None, None]


def test_attributes_changed_one_at_a_time_have_the_difference_from_the_baseline() -> None:
    changed = Design(
        (0, 1, 2),
        (
            Attribute("lr", (0, 1, 0), (0, 1), is_ordered=True),
            Attribute("momentum", (0, 0, 1), (0, 1), is_ordered=True),
        ),
    )
    model = fit(Sweep(np.array([[0.8, 0.81, 0.8], [0.83, 0.84, 0.83], [0.8, 0.81, 0.8]]), 8000))
    first, second = judge_attributes(model, [changed])[0]
    assert (first.name, first.trend_p) == ("lr", None)
    assert first.importance == pytest.approx(0.03, abs=0.002)
    assert second.importance == pytest.approx(0, abs=1e-9)


# Shares of the variance.


def one_at_a_time(num_attributes: int) -> Design:
    """A baseline and two more values of every attribute."""
    rows = [(0,) * num_attributes]
    rows += [
        tuple(value if place == other else 0 for other in range(num_attributes))
        for place in range(num_attributes)
        for value in (1, 2)
    ]
    names = [f"attribute {place}" for place in range(num_attributes)]
    columns = zip(*rows, strict=True)
    return Design(
        tuple(range(len(rows))),
        tuple(Attribute(name, column, (0, 1, 2), is_ordered=True) for name, column in zip(names, columns, strict=True)),
    )


def shares_of(accuracies: Floats, design: Design, *, num_images: int = NUM_IMAGES) -> dict[str, Share | None]:
    effects = judge_attributes(fit(Sweep(accuracies, num_images), num_draws=1000), [design])[0]
    return {effect.name: effect.share for effect in effects}


def test_shares_of_a_grid_are_those_of_the_analysis_of_variance() -> None:
    """Sums of squares by hand over the logits of a 3 by 2 grid with an interaction; without noise nothing is off."""
    logits = special.logit(np.array([[0.6, 0.7], [0.75, 0.8], [0.7, 0.9]]))
    rates = logits.mean(axis=1) - logits.mean()
    decays = logits.mean(axis=0) - logits.mean()
    expected = np.array([(rates**2).mean(), (decays**2).mean()]) / logits.var()
    shares = shares_of(special.expit(logits).reshape(6, 1), grid(3, 2), num_images=10**6)
    assert [known_share(shares[name]).fraction for name in ("lr", "weight_decay")] == pytest.approx(expected, abs=1e-4)
    assert expected.sum() < 0.95  # the rest is the interaction's
    assert {known_share(share).low for share in shares.values()} == {None}  # one seed tells nothing about the noise


def test_shares_intervals_hold_the_true_shares() -> None:
    """The truth is drawn: three attributes whose effects are from much larger than the noise to smaller than it."""
    rng = np.random.default_rng(5)
    design, held, total = one_at_a_time(3), 0, 0
    for _ in range(100):
        effects = rng.normal(size=(3, 3)) * np.array([0.2, 0.05, 0.01])[:, None]
        rows = np.array([attribute.values for attribute in design.attributes]).T
        logits = special.logit(0.8) + sum(effects[place][rows[:, place]] for place in range(3))
        seen = special.expit(logits)[:, None] + 0.01 * rng.normal(size=3) + 0.006 * rng.normal(size=(7, 3))
        shares = shares_of(np.round(seen * NUM_IMAGES) / NUM_IMAGES, design)
        variances = effects.var(axis=1)
        for place, share in enumerate(variances / variances.sum()):
            found = shares[f"attribute {place}"]
            if found is not None and found.low is not None and found.high is not None:
                held += found.low <= share <= found.high
                total += 1
    assert total > 280
    assert 1 - held / total <= at_most(0.05, total)


def test_attributes_that_noise_alone_explains_have_no_share_or_one_that_may_be_anything() -> None:
    rng = np.random.default_rng(6)
    seen = 0.8 + 0.006 * rng.normal(size=(5, 3))
    for share in shares_of(np.round(seen * NUM_IMAGES) / NUM_IMAGES, one_at_a_time(2)).values():
        assert share is None or (share.low == pytest.approx(0, abs=0.02) and share.high == pytest.approx(1, abs=0.02))


def test_attributes_that_only_change_together_have_no_shares() -> None:
    both = tuple(Attribute(name, (0, 1, 2), (0, 1, 2), is_ordered=True) for name in ("lr", "batch_size"))
    shares = shares_of(np.array([[0.8, 0.81], [0.82, 0.82], [0.85, 0.86]]), Design((0, 1, 2), both))
    assert shares == {"lr": None, "batch_size": None}


def known_share(share: Share | None) -> Share:
    assert share is not None
    return share


# Seeds.


def test_seeds_needed_have_the_power_that_they_promise() -> None:
    needed = count_seeds(0.006**2, 0.02, 0.05, 1)
    assert needed is not None
    power = [
        1 - stats.nct.cdf(stats.t.ppf(0.975, num - 1), num - 1, 0.02 / (0.006 * np.sqrt(2 / num)))
        for num in (needed - 1, needed)
    ]
    assert power[1] >= 0.75
    assert power[0] < 0.85


def test_two_configurations_with_three_seeds_tell_no_number() -> None:
    model = fit(Sweep(np.array([[0.8, 0.81, 0.79], [0.82, 0.83, 0.82]]), 8000))
    assert find_seeds_needed(model, compare_all(model)) is None


def test_a_noise_that_no_number_of_seeds_overcomes_tells_none() -> None:
    rng = np.random.default_rng(0)
    model = fit(Sweep(0.5 + 0.15 * rng.standard_normal((12, 6)).clip(-2, 2), 8000))
    assert find_seeds_needed(model, compare_all(model)) is None


@pytest.mark.parametrize("owners", [[0, 1, 0, 2, 1, 0, 2], [0, 1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 1, 1]])
@pytest.mark.parametrize("is_within", [True, False])
def test_errors_drawn_in_parts_are_those_drawn_at_once(owners: list[int], is_within: bool) -> None:
    rng = np.random.default_rng(0)
    errors, squares = rng.standard_normal((DRAWS_AT_ONCE + 10, 7)), rng.uniform(1, 2, (7, 7))
    squares, own = squares + squares.T, np.array(owners)
    tested = ((own[:, None] == own) == is_within) & ~np.eye(7, dtype=bool)
    gaps = (errors[:, None, :] - errors[:, :, None]) / np.sqrt(squares)
    expected = np.where(tested.any(axis=1), np.where(tested, gaps, -np.inf).max(axis=2), 0.0)
    assert np.array_equal(Draws((errors,), squares, tested).maxima, expected.T)
