"""The report from beginning to end: it reads the runs, analyses them, draws, and writes the files to the output."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from job.logs import get_logger
from job.report.analysis.elsewhere import find_elsewhere
from job.report.analysis.inference.comparisons import MARGIN
from job.report.analysis.reference import compare_with
from job.report.analysis.samples import Gallery, choose_sample_runs, compare_images
from job.report.analysis.study import Study, build_studies
from job.report.read.answers import read_answers
from job.report.read.holes import STRICT_KINDS
from job.report.read.load import read_confusion, read_runs
from job.report.read.reference import Reference
from job.report.render.chapter import draw_chapter
from job.report.render.markdown import render_markdown
from job.report.render.page import render_page
from job.report.render.pdf import print_page
from job.report.render.sentences import render_sentences
from job.report.render.summary import Summary, summarise
from job.report.render.tables import build_epochs, build_leaderboard, build_results, render_csv, render_parquet
from job.runs import EPOCHS_KEY, REPORT_KEY
from job.storage import Store
from job.storage.ahead import NUM_READERS


@dataclass(frozen=True)
class WrittenReport:
    """Where the page is, which runs it lacks, and what it was written from."""

    location: str
    holes: pd.DataFrame
    summary: Summary
    studies: list[Study]

    @property
    def num_lacking(self) -> int:
        """How many holes make a strict report fail."""
        return int(self.holes["kind"].isin(STRICT_KINDS).sum())


def write_report(
    store: Store,
    *,
    experiment: str | None = None,
    reference: Reference | None = None,
    target: float | None = None,
    margin: float = MARGIN,
    browser: str | None = None,
    now: datetime | None = None,
) -> WrittenReport:
    """Write the report over the runs of `store` to its report/, the page last; `browser` also prints it to a PDF.

    Raises `UsageError` where no run is, and where the browser prints nothing.
    """
    runs = read_runs(store, experiment=experiment, now=now)
    if runs.runs.empty:
        get_logger().warning("no_results", output=store.uri)
    studies = build_studies(runs, target=target, margin=margin)
    summary = summarise(studies, runs.holes, margin=margin)
    chapters = []
    for place, study in enumerate(studies):
        matrices = {
            configuration.digest: read_confusion(store, configuration.finished) for configuration in study.shown
        }
        known = {digest: matrix for digest, matrix in matrices.items() if matrix is not None}
        gallery = _read_gallery(store, study)
        sides = compare_with(reference, study) if reference else None
        if sides and place > 0 and not any(pair.ours for pair in sides.pairs):
            sides = None  # the published study stands once, and beside what it can be compared with
        elsewhere = find_elsewhere(study, studies)
        chapters.append(draw_chapter(study, sides=sides, confusions=known, gallery=gallery, elsewhere=elsewhere))
    results = build_results(runs, studies)
    files = {
        "report/results.csv": render_csv(results),
        "report/results.parquet": render_parquet(results),
        "report/leaderboard.csv": render_csv(build_leaderboard(studies)),
        "report/holes.csv": render_csv(runs.holes),
        "report/report.json": f"{summary.model_dump_json(indent=2)}\n".encode(errors="replace"),
        "report/sentences.json": render_sentences(chapters),
        EPOCHS_KEY: render_csv(build_epochs(runs)),
        "report/report.md": render_markdown(chapters, runs.holes, source=store.uri).encode(errors="replace"),
    }
    for chapter in chapters:
        for drawing in chapter.drawings():
            files[f"report/{drawing.path}.svg"] = drawing.svg
            files[f"report/{drawing.path}.png"] = drawing.png
    with ThreadPoolExecutor(NUM_READERS) as writers:
        list(writers.map(lambda item: store.write(*item), files.items()))
    page = render_page(chapters, runs.holes, source=store.uri).encode(errors="replace")
    store.write(REPORT_KEY, page)
    if browser:
        store.write("report/report.pdf", print_page(page, browser=browser))
    return WrittenReport(store.locate(REPORT_KEY), runs.holes, summary, studies)


def _read_gallery(store: Store, study: Study) -> Gallery | None:
    """What one run of each configuration shown says of the same test images; None where fewer than two recorded it."""
    chosen = choose_sample_runs(study)
    if not chosen:
        return None
    answers = read_answers(store, chosen.values())
    known = {label: answers[run] for label, run in chosen.items() if run in answers}
    seeds = study.runs.runs.set_index("run")["seed"]
    return compare_images(known, seed=int(seeds[next(iter(chosen.values()))]))
