"""One self-contained HTML page: everything inline, nothing fetched, every string from a record escaped."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Sequence
from importlib import resources

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from job import __version__
from job.report.analysis import wording
from job.report.analysis.effects import LARGE_EFFECT
from job.report.analysis.times import RULE
from job.report.render.chapter import Chapter, Drawing

MOST_ROWS = 100
"""So many rows of the leaderboard and of the holes are shown; the CSV files hold all."""


def render_page(chapters: Sequence[Chapter], holes: pd.DataFrame, *, source: str) -> str:
    """The page as HTML. Its content security policy allows its own script and style, and no other source."""
    environment = Environment(
        loader=PackageLoader("job.report.render"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {name: getattr(wording, name) for name in WORDING}
    environment.globals |= {"figure": _figure, "time_rule": RULE}
    environment.globals |= {"large_effect": LARGE_EFFECT}
    script = resources.files("job.report.render").joinpath("templates", "sort.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("page.html").render(
        chapters=chapters,
        holes=holes.head(MOST_ROWS).to_dict("records"),
        num_holes=len(holes),
        most_rows=MOST_ROWS,
        source=source,
        version=__version__,
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=digest,
    )


WORDING = (
    "duration", "join", "name_optimizer", "percent", "points", "show_attribute", "show_comparison", "show_estimate",
    "show_margin", "show_p", "show_time", "show_value",
)  # fmt: skip


def _figure(drawing: Drawing) -> Markup:
    """A figure with its caption. matplotlib escapes the text in an SVG; its ids are made unique in the page."""
    svg = drawing.svg.decode()
    svg = svg[svg.index("<svg") :]
    prefix = re.sub(r"[^a-z0-9]+", "-", drawing.path)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    label = escape(drawing.caption)
    svg = svg.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)
    return Markup(f'<figure id="{prefix}">{svg}<figcaption>{label}</figcaption></figure>')  # noqa: S704
