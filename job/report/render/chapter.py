"""A study with its pictures drawn: what HTML and Markdown both show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from job import plots
from job.report.analysis.budget import tell_budget
from job.report.analysis.charts import Chart, PanelChart, Picture
from job.report.analysis.elsewhere import Elsewhere
from job.report.analysis.forest import build_forest
from job.report.analysis.measurements import Floats
from job.report.analysis.reasons import Reason
from job.report.analysis.reference import SideBySide
from job.report.analysis.samples import Gallery
from job.report.analysis.setup import Setup, describe_setup
from job.report.analysis.study import Study
from job.report.render import class_pictures, figures, pictures, reference_pictures, sensitivity_pictures
from job.report.render.effect_pictures import build_effects
from job.report.render.grid import Grid
from job.report.render.grids import (
    build_budget_grid,
    build_effects_grid,
    build_first_steps_grid,
    build_importance_grid,
    build_leaderboard_grid,
    build_reference_grid,
)
from job.report.render.sample_pictures import SampleSheet, draw_samples
from job.report.render.svg import render_svg


@dataclass(frozen=True)
class Drawing:
    """A picture as files."""

    path: str
    """The name of its files below report/, without `.svg` or `.png`."""
    caption: str
    svg: bytes
    png: bytes
    linear: bytes = b""
    """The SVG with linear heights, of curves whose heights in `svg` are logarithmic: the page switches between them."""


@dataclass(frozen=True)
class Chapter:
    """One study, ready to be shown."""

    study: Study
    setup: Setup
    sides: SideBySide | None
    gallery: Gallery | None
    """Test images that all get wrong or one alone gets right; None where fewer than two runs tell."""
    sheets: list[SampleSheet]
    """Pictures of them, where the runs kept any."""
    ranking: list[Drawing]
    """The figure beside the answer, where there is one."""
    sensitivity: list[Drawing]
    """Accuracy over the values of each attribute, all optimizers on one axis, and which attributes matter."""
    values: list[Drawing]
    """Curves for each value of an attribute."""
    curves: list[Drawing]
    classes: list[Drawing]
    cost: list[Drawing]
    effects: list[list[Drawing]]
    """The drawings of each of `study.effects`, in the same order."""
    reasons: list[Drawing]
    """A drawing for each of `study.reasons`, in the same order; several may share one."""
    budget: list[Drawing]
    reference: list[Drawing]
    elsewhere: Elsewhere | None = None
    """What another experiment of the report reached on the same images, where that is more."""

    def drawings(self) -> list[Drawing]:
        """All drawings of the chapter, each once."""
        parts = (
            self.ranking, self.reasons, self.sensitivity, *self.effects, self.values, self.curves, self.classes,
            self.cost, self.budget, self.reference,
        )  # fmt: skip
        return list({drawing.path: drawing for part in parts for drawing in part}.values())

    @cached_property
    def told_reasons(self) -> list[tuple[Reason, Drawing, Reason]]:
        """Each reason with its drawing, and the first reason that has this drawing: it is shown there."""
        first: dict[str, Reason] = {}
        return [
            (reason, drawing, first.setdefault(drawing.path, reason))
            for reason, drawing in zip(self.study.reasons, self.reasons, strict=True)
        ]

    @cached_property
    def first_steps_grid(self) -> Grid:
        return build_first_steps_grid(self.study)

    @cached_property
    def leaderboard_grid(self) -> Grid:
        return build_leaderboard_grid(self.study)

    @cached_property
    def importance_grids(self) -> list[Grid]:
        """One for each of `study.effects`; so are `effects_grids`."""
        return [build_importance_grid(effects) for effects in self.study.effects]

    @cached_property
    def effects_grids(self) -> list[Grid]:
        return [build_effects_grid(effects) for effects in self.study.effects]

    @cached_property
    def budget_sentences(self) -> list[str]:
        return tell_budget(self.study.budget)

    @cached_property
    def budget_grid(self) -> Grid:
        return build_budget_grid(self.study)

    @cached_property
    def reference_grid(self) -> Grid | None:
        return build_reference_grid(self.sides) if self.sides else None


def draw_chapter(
    study: Study,
    *,
    sides: SideBySide | None = None,
    confusions: Mapping[str, tuple[list[str], Floats]],
    gallery: Gallery | None = None,
    elsewhere: Elsewhere | None = None,
) -> Chapter:
    """The chapter of `study` with all its pictures drawn; `confusions` has a matrix by a configuration's digest."""

    drawn: dict[str, Drawing] = {}

    def draw(wanted: Iterable[Picture]) -> list[Drawing]:
        for picture in (listed := list(wanted)):
            if picture.name not in drawn:
                drawn[picture.name] = _render(f"figures/{study.slug}/{picture.name}", picture)
        return [drawn[picture.name] for picture in listed]

    curves = pictures.build_curves(study)
    return Chapter(
        study,
        describe_setup(study),
        sides,
        gallery,
        draw_samples(gallery) if gallery else [],
        ranking=draw(build_forest(study.standings)),
        sensitivity=draw(
            [*sensitivity_pictures.build_sensitivity(study), *sensitivity_pictures.build_importance(study)]
        ),
        values=draw(sensitivity_pictures.build_attribute_curves(study)),
        curves=[
            replace(drawing, linear=_render_linear(picture.chart))
            for picture, drawing in zip(curves, draw(curves), strict=True)
        ],
        classes=draw(
            [*class_pictures.build_class_accuracy(study), *class_pictures.build_confusions(confusions, study)]
        ),
        cost=draw(pictures.build_cost(study)),
        effects=[
            draw(build_effects(effects, study.judgement.fitted) if study.judgement else []) for effects in study.effects
        ],
        reasons=draw(pictures.share_pictures([reason.picture for reason in study.reasons])),
        budget=draw(pictures.build_budget(study)),
        reference=draw(
            [
                *pictures.build_reference(sides, study),
                *reference_pictures.build_reference_losses(sides),
                *reference_pictures.build_reference_classes(sides),
            ]
        )
        if sides
        else [],
        elsewhere=elsewhere,
    )


def _render(path: str, picture: Picture) -> Drawing:
    figure = figures.draw(picture.chart)
    return Drawing(path, picture.caption, render_svg(figure), plots.render(figure, "png"))


def _render_linear(chart: Chart) -> bytes:
    """The same lines with linear heights; empty where they are linear anyway."""
    if isinstance(chart, PanelChart) and any(panel.logarithmic for panel in chart.panels):
        linear = replace(chart, panels=[replace(panel, logarithmic=False) for panel in chart.panels])
        return render_svg(figures.draw(linear))
    return b""
