"""One self-contained HTML page: everything inline, nothing fetched, every string from a record escaped."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from job import __version__
from job.manifest.optimizers import OPTIMIZERS
from job.report.analysis import wording
from job.report.analysis.effects import LARGE_EFFECT
from job.report.analysis.reasons import STANDINGS, Reason, Standing
from job.report.analysis.times import RULE
from job.report.render.chapter import Chapter, Drawing
from job.report.render.grid import MOST_ROWS, Grid
from job.report.render.grids import build_holes_grid, build_runs_grid

WORDING = ("count", "join", "name_optimizer", "percent", "show_margin", "show_target")


def render_page(chapters: Sequence[Chapter], holes: pd.DataFrame, *, source: str) -> str:
    """The page as HTML. Its content security policy allows its own script and style, and no other source."""
    environment = Environment(
        loader=PackageLoader("job.report.render"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {name: getattr(wording, name) for name in WORDING}
    environment.globals |= {
        "figure": show_figure,
        "figure_id": _name_figure,
        "mark": _mark,
        "mark_of": _mark_of,
        "time_rule": RULE,
    }
    environment.globals |= {"large_effect": LARGE_EFFECT}
    environment.filters["name_optimizer"] = wording.name_optimizer
    script = read_template("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    runs = build_runs_grid([chapter.study for chapter in chapters]).compact()
    page = environment.get_template("page.html").render(
        chapters=chapters,
        holes=build_holes_grid(holes),
        num_holes=len(holes),
        runs=replace(runs, rows=runs.rows[:MOST_ROWS], num_left_out=max(0, len(runs.rows) - MOST_ROWS)),
        num_runs=len(runs.rows),
        data=_pack(runs),
        source=source,
        version=__version__,
        style=Markup(read_template("page.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=digest,
    )
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", page)  # no line ends between a number and its percent sign


def read_template(name: str) -> str:
    """A file of the templates as text."""
    return resources.files("job.report.render").joinpath("templates", name).read_text(encoding="utf-8")


def _pack(runs: Grid) -> Markup:
    """What the script reads, as JSON that cannot end its element."""
    data = {
        "optimizers": {name: kind.__name__ for name, kind in OPTIMIZERS.items()},
        "most": MOST_ROWS,
        "texts": [column in runs.texts for column in runs.columns],
        "runs": [[cell.text for cell in row.cells] for row in runs.rows],
    }
    packed = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return Markup(packed.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e"))  # noqa: S704


def _mark(reason: Reason) -> Markup:
    """How well the reason is founded, in a frame."""
    return _mark_of(reason.standing)


def _mark_of(standing: Standing) -> Markup:
    return Markup('<span class="mark {}">{}</span>').format(standing, STANDINGS[standing])


def show_figure(drawing: Drawing) -> Markup:
    """A figure with its caption. The SVGs have no ids, and their texts are escaped."""
    name = _name_figure(drawing)
    svgs = [_inline(drawing.svg, name, "logarithmic" if drawing.linear else "")]
    if drawing.linear:
        svgs.append(_inline(drawing.linear, name, "linear"))
    caption = f'<figcaption id="{name}-caption">{escape(drawing.caption)}</figcaption>'
    return Markup(f'<figure id="{name}">{"".join(svgs)}{caption}</figure>')  # noqa: S704


def _name_figure(drawing: Drawing) -> str:
    return re.sub(r"[^a-z0-9]+", "-", drawing.path)


def _inline(svg: bytes, name: str, kind: str) -> str:
    """The SVG as part of the figure, of the class `kind`; the linear one is hidden until the switch shows it.

    Its size, its font and its white ground are the page's own.
    """
    marks = f' class="{kind}"' if kind else ""
    marks += " data-off" if kind == "linear" else ""
    start = rf'<svg role="img" aria-labelledby="{name}-caption"{marks} \1>'
    return re.sub(
        r'<svg [^>]*(viewBox="[^"]*")[^>]*>(?:<path fill="#fff"[^>]*/>)?', start, svg.decode().strip(), count=1
    )
