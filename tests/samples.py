"""samples.npz for runs that finished before runs kept one: `python -m tests.samples OUTPUT --data photos --size 96`.

It needs the folder of images that the runs were tested on, and leaves runs over other images as they are.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np

from job.runs import RunKeys, RunResult, choose_wrong, is_result_key, pack_samples
from job.storage import Store, open_store
from job.training.engine.image_data import ImageData
from job.training.inputs.datasets.folder import load_folder


def add_samples(store: Store, data: ImageData) -> int:
    """Write samples.npz for every finished run that was tested on the test images of `data`; returns how many."""
    num_written = 0
    for key in filter(is_result_key, store.list_keys("")):
        result = RunResult.model_validate_json(store.read(key))
        if result.test_right is None or result.test_right.test_sha256 != data.test_sha256:
            continue
        keys = RunKeys(result.experiment, result.run_id)
        with np.load(io.BytesIO(store.read(keys.predictions))) as arrays:
            right = arrays["predicted"] == arrays["labels"]
        chosen = choose_wrong(right, test_sha256=data.test_sha256)
        store.write(keys.samples, pack_samples({index: data.test_images[index] for index in chosen}))
        num_written += 1
    return num_written


def main() -> None:
    """Write them for the runs of an output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, default=96)
    options = parser.parse_args()
    data = load_folder(options.data, size=options.size, cache=None, num_threads=1)
    print(f"{add_samples(open_store(options.output), data)} runs have samples.npz")


if __name__ == "__main__":
    main()
