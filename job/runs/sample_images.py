"""samples.npz: small pictures of test images that a run got wrong, for a report that has no access to the data set.

The report shows images that every optimizer gets wrong, and those that one alone gets right. So all runs over the same
test images look for wrong ones in the same order, and the pictures of different runs overlap.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from job.runs.archives import read_arrays

if TYPE_CHECKING:  # numpy and Pillow are imported late, because `job --help` imports this module
    import numpy as np
    import numpy.typing as npt

    Picture = npt.NDArray[np.uint8]

NUM_SAMPLES = 64
"""Pictures a run. Where 10 % of the images are wrong, they are those among the first 640 of the order."""
SAMPLE_SIZE = 48
"""Width and height of a picture in pixels: a multiple of the 16 of JPEG's blocks, so that none bleeds into the next."""
SAMPLE_COLUMNS = 8
QUALITY = 80
"""Of the JPEG file, as libjpeg counts: 64 photographs take about 70 kB."""
MAX_BYTES = 1 << 20
"""A file that is larger is not read."""


def choose_wrong(right: Sequence[bool] | npt.NDArray[np.bool_], *, test_sha256: str) -> list[int]:
    """The indices of the first `NUM_SAMPLES` wrong images, in an order that is the same for all runs over one test set.

    The order is that of SHA-256 over `<test_sha256> <index>`: it is as good as random, and no version of a library
    changes it. `right` is (num_test,), in the order of the data set.
    """
    wrong = [index for index, is_right in enumerate(right) if not is_right]
    return sorted(wrong, key=lambda index: place_in_order(index, test_sha256=test_sha256))[:NUM_SAMPLES]


def place_in_order(index: int, *, test_sha256: str) -> bytes:
    """The key by which `choose_wrong` sorts a test image."""
    return hashlib.sha256(f"{test_sha256} {index}".encode()).digest()


def pack_samples(images: Mapping[int, Picture]) -> bytes:
    """The content of samples.npz with these test images, by their index: each (3, height, width) uint8, RGB.

    `index` holds the indices; `sheet` holds the bytes of one JPEG file, in which the pictures stand in that order, in
    rows of `SAMPLE_COLUMNS`. It has no bytes where there is no picture.
    """
    import numpy as np
    from PIL import Image

    num_rows = -(-len(images) // SAMPLE_COLUMNS)
    sheet = Image.new("RGB", (SAMPLE_COLUMNS * SAMPLE_SIZE, num_rows * SAMPLE_SIZE))
    for place, image in enumerate(images.values()):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
        row, column = divmod(place, SAMPLE_COLUMNS)
        small = picture.resize((SAMPLE_SIZE, SAMPLE_SIZE), Image.Resampling.LANCZOS)
        sheet.paste(small, (column * SAMPLE_SIZE, row * SAMPLE_SIZE))
    encoded = io.BytesIO()
    if images:
        sheet.save(encoded, "JPEG", quality=QUALITY)
    archive = io.BytesIO()
    np.savez(
        archive, index=np.array(list(images), dtype=np.uint32), sheet=np.frombuffer(encoded.getvalue(), dtype=np.uint8)
    )
    return archive.getvalue()


def unpack_samples(content: bytes, *, num_test: int) -> dict[int, Picture]:
    """The pictures in a samples.npz by the index of their test image: (3, SAMPLE_SIZE, SAMPLE_SIZE) uint8, RGB.

    Raises `ValueError` for what `pack_samples` would not write.
    """
    import numpy as np

    if len(content) > MAX_BYTES:
        raise ValueError(f"has {len(content)} bytes; at most {MAX_BYTES} are read")
    index, sheet = read_arrays(content, (("index", np.uint32), ("sheet", np.uint8)), max_bytes=MAX_BYTES)
    indices = [int(value) for value in index]
    if len(indices) > NUM_SAMPLES or len(set(indices)) < len(indices) or any(value >= num_test for value in indices):
        raise ValueError(f"names images that are not at most {NUM_SAMPLES} different ones of {num_test}")
    if not indices:
        return {}
    num_rows = -(-len(indices) // SAMPLE_COLUMNS)
    pixels = _decode(sheet.tobytes(), width=SAMPLE_COLUMNS * SAMPLE_SIZE, height=num_rows * SAMPLE_SIZE)
    tiles = pixels.reshape(num_rows, SAMPLE_SIZE, SAMPLE_COLUMNS, SAMPLE_SIZE, 3).transpose(0, 2, 4, 1, 3)
    return dict(zip(indices, tiles.reshape(-1, 3, SAMPLE_SIZE, SAMPLE_SIZE), strict=False))


def _decode(jpeg: bytes, *, width: int, height: int) -> Picture:
    """(height, width, 3) uint8. Raises `ValueError` for anything but a JPEG file of this size in colour."""
    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as picture:
            if (picture.size, picture.mode) != ((width, height), "RGB"):
                raise ValueError(f"its sheet is {picture.mode} of {picture.size}; must be RGB of {(width, height)}")
            return np.asarray(picture)
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"its sheet is no JPEG file that can be read: {error}") from error
