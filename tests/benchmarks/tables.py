"""The benchmark's JSON document as Markdown; every number in it is the document's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]


def render_markdown(document: Document) -> str:
    """What was measured on what, and the tables that there are measurements for."""
    return "\n".join([*_heading(document), *_speed(document), *_startup(document)]) + "\n"


def _heading(document: Document) -> Iterable[str]:
    environment, settings = document["environment"], document["settings"]
    packages = ", ".join(f"{name} {environment['packages'][name]}" for name in ("torch", "torchvision"))
    yield "# Speed"
    yield ""
    yield (
        f"{environment['device']} ({document['cpu']}, {environment['cpu_capability']}), {environment['precision']}, "
        f"threads {environment['num_threads']}, Python {environment['python']}, {packages}, "
        f"commit {environment['git_sha']}, load {document['load_average']} when it began, {document['measured_at']}."
    )
    yield f"`{document['command']}`"
    yield (
        f"Medians (least–most) of {settings['num_repeats']} interleaved rounds of {settings['num_images']} images, "
        f"{settings['image_size']}x{settings['image_size']}, batch {settings['batch_size']}, Adam; "
        f"training and evaluation in {settings['clock']}."
    )


def _speed(document: Document) -> Iterable[str]:
    if "rows" not in document:
        return
    yield ""
    yield (
        "| | training, images/s | × (a) | of floor | evaluation, images/s | × (a) | of floor "
        "| epoch, s | × (a) batch 1 | × (a) batch 256 |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    for row in [*document["rows"], *document["floor"]["rows"]]:
        epoch = row["epoch"] or {}
        cells = [*_cells(row["train"]), *_cells(row["evaluate"])]
        cells += [_number(epoch.get(name)) for name in ("seconds", "ratio_to_batch_1", "ratio_to_batch_256")]
        yield f"| {row['name']} | {' | '.join(cells)} |"
    yield ""
    yield (
        f"The epoch is computed from the two rates: {document['settings']['epoch_train_images']:,} training images and "
        f"{document['settings']['epoch_evaluations']:,} evaluations, as the lab report ran it. × (a) is the ratio to "
        "the first row. An empty cell is as the cell above it; the epoch counts it so."
    )
    floor = document["floor"]
    yield (
        f"Floor: {floor['flop_per_image']['train'] / 1e9:.2f} GFLOP to train on an image, "
        f"{floor['flop_per_image']['evaluate'] / 1e9:.2f} to evaluate one, at {floor['flops'] / 1e9:,.0f} GFLOP/s, "
        f"the rate of a {floor['matrix_size']}x{floor['matrix_size']} matrix product measured in the same rounds."
    )
    if floor["launches_per_step"] is not None:
        yield (
            f"An eager step launches {floor['launches_per_step']:.0f} kernels and copies, "
            f"{floor['launch_seconds'] * 1e6:.1f} µs each."
        )
    yield from _remarks(document)


def _remarks(document: Document) -> Iterable[str]:
    for row in document["rows"]:
        for part, what in (("train", "loss of the first step"), ("evaluate", "loss")):
            cell = row[part] or {}
            if cell.get("compile_seconds") is not None:
                yield f"{row['name']}: {cell['compile_seconds']:.1f} s of the wall to the end of its first steps."
            if not cell.get("agrees", True):
                yield (
                    f"**{row['name']}: {what} is {cell['loss']:.6g}, but {cell['expected_loss']:.6g} in the first row; "
                    f"more than {cell['tolerance']:g} apart.**"
                )


def _cells(cell: Document | None) -> list[str]:
    """Rate, ratio and fraction of the floor."""
    if cell is None:
        return ["", "", ""]
    if "skipped" in cell:
        return [f"skipped: {cell['skipped']}", "", ""]
    rate = _number(cell["images_per_second"])
    if cell["seconds"]:
        rate += f" ({_number(cell['min'])}–{_number(cell['max'])})"
    return [rate, _number(cell["ratio"]), f"{cell['floor_fraction']:.0%}"]


def _startup(document: Document) -> Iterable[str]:
    if "startup" not in document:
        return
    yield ""
    yield "| since the start of the process | wall seconds |"
    yield "|---|---:|"
    for row in document["startup"]:
        yield f"| {row['name']} | {row['median']:.2f} ({row['min']:.2f}–{row['max']:.2f}) |"


def _number(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
