"""The page of a sweep that is still running. Like the report's it is one file, and asks the network for nothing.

While the sweep runs the page loads itself again; a button stops that. A refresh that nobody can stop would keep people
out who need more time (WCAG 2.2.1).
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from job import __version__
from job.report.analysis.live import LiveSweep, draw_live
from job.report.analysis.wording import count, percent
from job.report.render.chapter import Drawing
from job.report.render.figures import draw
from job.report.render.page import read_template, show_figure
from job.report.render.svg import render_svg

RELOAD_SECONDS = 20
MINUTES_SHOWN = 120
"""Durations up to this are shown in minutes."""


def render_live(sweep: LiveSweep, *, source: str, now: datetime) -> bytes:
    """The page as HTML, as it stands at `now`."""
    environment = Environment(
        loader=PackageLoader("job.report.render"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.globals |= {"count": count, "percent": percent, "duration": _show_duration, "dollars": _show_dollars}
    script = read_template("live.js").replace("RELOAD_SECONDS", str(RELOAD_SECONDS))
    page = environment.get_template("live.html").render(
        sweep=sweep,
        figure=_draw(sweep),
        source=source,
        moment=f"{now:%Y-%m-%d %H:%M:%S} UTC",
        reload_seconds=RELOAD_SECONDS,
        version=__version__,
        style=Markup(read_template("page.css")),  # noqa: S704 - our own file
        script=Markup(script),  # noqa: S704 - our own file
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    return page.encode(errors="replace")


def _draw(sweep: LiveSweep) -> Markup | None:
    chart = draw_live(sweep)
    if chart is None:
        return None
    caption = "Lines are means over the seeds that have come so far; they say which is ahead, not which is better."
    if len(sweep.curves) < sweep.num_configurations:
        chosen = f"{len(sweep.curves)} of {sweep.num_configurations:,} configurations"
        caption = f"{chosen}: the best of each optimizer by its last test accuracy, then the best of all. {caption}"
    return show_figure(Drawing("live", caption, render_svg(draw(chart)), b""))


def _show_duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    return f"about {minutes} min" if minutes < MINUTES_SHOWN else f"about {minutes / 60:.1f} h"


def _show_dollars(usd: float) -> str:
    return f"${usd:,.2f}"
