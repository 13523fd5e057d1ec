"""The benchmark's JSON document as Markdown; every number in it is the document's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Document = dict[str, Any]
PRODUCT, GRAPHED = "(c) the product", "(c) the product, --graphs"
"""The names of the last rows of the first table."""


def render_markdown(document: Document) -> str:
    """What was measured on what, and the tables that there are measurements for."""
    return (
        "\n".join(
            [
                *_heading(document),
                *_speed(document),
                *_peers(document),
                *_profile(document),
                *_concurrency(document),
                *_startup(document),
            ]
        )
        + "\n"
    )


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


def _peers(document: Document) -> Iterable[str]:
    if "peers" not in document:
        return
    parts = ("train", "evaluate")
    yield ""
    yield (
        "| by the wall | training, images/s | × naive | this project is faster by | evaluation, images/s | × naive "
        "| this project is faster by |"
    )
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for row in document["peers"]["rows"]:
        cells = []
        for part in parts:
            cell = row[part]
            cells.append(f"{_number(cell['images_per_second'])} ({_number(cell['min'])}–{_number(cell['max'])})")
            cells += [_number(cell["ratio"]), _number(cell["product_ratio"])]
        version = f" at {row['version']}" if row["version"] else ""
        yield f"| {row['name']}{version} | {' | '.join(cells)} |"
    for row in document["peers"]["missing"]:
        yield f"| {row['name']} | skipped: {row['skipped']} | | | | | |"
    yield ""
    yield (
        "The published scripts run unchanged in processes of their own, with AdamW, a worker process that decodes and "
        "as many threads as the rest; their second epoch counts, from the first batch's line of their log to the "
        "last's. Ratios are medians of the rounds' ratios."
    )


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


def _profile(document: Document) -> Iterable[str]:
    profiles = document.get("profile", [])
    if not profiles:
        return
    columns = [{kind: ms / one["num_images"] for kind, ms in one["kinds"].items()} for one in profiles]
    kinds = sorted({kind for column in columns for kind in column}, key=lambda kind: -columns[0].get(kind, 0))
    titles = [f"{one['name']}, {one['part']}" for one in profiles]
    yield ""
    clock = "device time" if profiles[0]["device"] else "self CPU time"
    yield f"| torch.profiler: milliseconds of {clock} an image | {' | '.join(titles)} |"
    yield f"|---|{'---:|' * len(titles)}"
    for kind in kinds:
        yield f"| {kind} | {' | '.join(f'{column.get(kind, 0):.3f}' for column in columns)} |"
    yield f"| **sum** | {' | '.join(f'{sum(column.values()):.3f}' for column in columns)} |"
    for name, what in (("num_kernels", "kernels an image"), ("num_launches", "launches an image")):
        if profiles[0]["device"]:
            yield f"| {what} | {' | '.join(_number(one['device'][name] / one['num_images']) for one in profiles)} |"
    if profiles[0]["device"]:
        yield f"| device busy | {' | '.join(format(one['device']['busy_fraction'], '.0%') for one in profiles)} |"
    for one, title in zip(profiles, titles, strict=True):
        yield ""
        yield f"| {title}: most time, {one['num_images']} images | kind | calls | ms | of all |"
        yield "|---|---|---:|---:|---:|"
        for row in one["operations"]:
            name = row["name"][:80].replace("|", " ")
            yield f"| `{name}` | {row['kind']} | {row['calls']:,} | {row['milliseconds']:.1f} | {row['fraction']:.1%} |"


def _concurrency(document: Document) -> Iterable[str]:
    rows = document.get("concurrency", [])
    if not rows:
        return
    yield ""
    yield "| configurations | trained | threads each | images/s | × | images a CPU-second | × | losses |"
    yield "|---:|---|---:|---:|---:|---:|---:|---|"
    for row in rows:
        start = f"| {row['num_configurations']} | {row['name']} | {row['num_threads']} |"
        if "skipped" in row:
            yield f"{start} skipped: {row['skipped']} | | | | |"
            continue
        rates = f"{_number(row['images_per_second'])} ({_number(row['min'])}–{_number(row['max'])})"
        numbers = [rates, *map(_number, (row["ratio"], row["images_per_cpu_second"], row["cpu_ratio"]))]
        yield f"{start} {' | '.join(numbers)} | {_losses(row)} |"
    yield ""
    yield (
        f"By the wall, {rows[0]['num_images'] // rows[0]['num_configurations']} images of each configuration a round; "
        f"load {document['load_average_after']} at the end. × is the ratio to the same number one after another, all "
        "threads, by SGD by hand where it is by hand. Losses: of every step from the first weights on, against the "
        "same; in brackets against one after another with as many threads as here."
    )


def _losses(row: Document) -> str:
    difference, alone = row["difference"], row["difference_alone"]
    said = "equal to the bit" if not difference else f"up to {difference:.1e} apart"
    return (
        said if alone == difference else f"{said} ({'equal to the bit' if not alone else f'up to {alone:.1e} apart'})"
    )


def _number(value: float | None) -> str:
    """Three digits, or all before the point."""
    if value is None:
        return ""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"
