"""Which test images a network classified correctly: one bit for each image, packed for result.json."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import Field, model_validator

from job.runs.records import Count, Record

if TYPE_CHECKING:  # numpy is imported late, because `job --help` imports this module
    import numpy as np
    import numpy.typing as npt

    Right = npt.NDArray[np.bool_]


class RightImages(Record):
    """Which test images were classified correctly after one epoch. Two runs with the same `test_sha256` can be compared
    image by image."""

    epoch: Annotated[int, Field(ge=1)]
    """The last whole epoch, counted from 1."""
    num_images: Count
    bits: str
    """Base64 (RFC 4648, section 4) of ceil(num_images / 8) bytes. Image i, from 0 in the order of the data set, is bit
    7 - i % 8 of byte i // 8, where bit 7 is the highest; 1 means correct. The bits after the last image are 0."""
    test_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """Digest of the test images and their labels, in their order. It does not depend on the training images."""

    @model_validator(mode="after")
    def _check_bits(self) -> Self:
        """Raise `ValueError` where `bits` cannot be those of `num_images` images."""
        try:
            packed = base64.b64decode(self.bits, validate=True)
        except ValueError as error:
            raise ValueError(f"bits are no base64 ({error})") from error
        num_bytes = (self.num_images + 7) // 8
        if len(packed) != num_bytes:
            raise ValueError(f"bits hold {len(packed)} bytes; {self.num_images} images need {num_bytes}")
        num_unused = 8 * num_bytes - self.num_images
        if packed and packed[-1] & ((1 << num_unused) - 1):
            raise ValueError(f"bits have a 1 after the last of {self.num_images} images")
        return self


def pack_right(right: Right, *, epoch: int, test_sha256: str) -> RightImages:
    """The record of `right`: (num_images,) bool, in the order of the data set."""
    import numpy as np

    bits = base64.b64encode(np.packbits(right).tobytes()).decode("ascii")
    return RightImages(epoch=epoch, num_images=len(right), bits=bits, test_sha256=test_sha256)


def unpack_right(images: RightImages) -> Right:
    """(num_images,) bool, in the order of the data set: what `pack_right` was given."""
    import numpy as np

    packed = np.frombuffer(base64.b64decode(images.bits), dtype=np.uint8)
    return np.unpackbits(packed, count=images.num_images).view(np.bool_)
