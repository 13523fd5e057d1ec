"""One self-contained HTML page over the finished runs: a table, and for each run its curves and its confusion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure
from pydantic import ValidationError

from job import __version__, plots
from job.logs import get_logger
from job.report.tables import render_epochs
from job.runs import EPOCHS_KEY, REPORT_KEY, RunResult, is_result_key
from job.storage import Store


@dataclass(frozen=True)
class RunSection:
    """What the page shows of one run."""

    result: RunResult
    attributes: str
    figures: list[Markup]


def write_report(store: Store) -> str:
    """Write the page and the table over all finished runs of `store`; returns where the page is."""
    results = sorted(read_results(store), key=lambda result: result.final.top1 if result.final else -1.0, reverse=True)
    if not results:
        get_logger().warning("no_results", output=store.uri)
    store.write(EPOCHS_KEY, render_epochs(results))
    store.write(REPORT_KEY, render_page(results, source=store.uri).encode())
    return store.locate(REPORT_KEY)


def read_results(store: Store) -> Iterator[RunResult]:
    """All readable results in `store`; a broken one is warned of and left out."""
    for key in store.list_keys(""):
        if is_result_key(key):
            try:
                yield RunResult.model_validate_json(store.read(key))
            except ValidationError as error:
                get_logger().warning("result_ignored", result=store.locate(key), reason=str(error).splitlines()[0])


def render_page(results: list[RunResult], *, source: str) -> str:
    """The page as HTML; every string from a record is escaped."""
    environment = Environment(
        loader=PackageLoader("job.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return environment.get_template("page.html").render(
        sections=[_build_section(result) for result in results], source=source, version=__version__
    )


def _build_section(result: RunResult) -> RunSection:
    optimizer = result.manifest.optimizer.model_dump(exclude={"name"})
    attributes = ", ".join(f"{name} {value}" for name, value in optimizer.items())
    return RunSection(result, attributes, [_inline_svg(figure) for figure in _figures(result)])


def _figures(result: RunResult) -> Iterator[Figure]:
    title = result.manifest.name
    if result.final is None:
        return
    yield plots.draw_loss(result.history, title=title)
    yield plots.draw_accuracy(result.history, title=title)
    if result.confusion:
        yield plots.draw_confusion(result.confusion, classes=result.classes, title=title)
        yield plots.draw_class_accuracy(
            result.class_accuracy, classes=result.classes, top1=result.final.top1, title=title
        )


def _inline_svg(figure: Figure) -> Markup:
    """The figure as an element of the page; matplotlib escapes the text in it."""
    svg = plots.render(figure, "svg").decode()
    return Markup(svg[svg.index("<svg") :])  # noqa: S704
