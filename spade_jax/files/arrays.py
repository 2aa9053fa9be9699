"""Arrays in `.npz` files, read so that no damage goes unnoticed."""

import io
import os
import pathlib
import zipfile
from collections.abc import Mapping

import numpy as np

_SINGLE = b"\x93NUMPY"  # how a `.npy` begins
_SMALL = 2**28  # bytes that an archive may always unpack to
_MOST_EXPANSION = 20  # times its size, beyond that
_LONGEST = 200  # characters of what another library says


class ArraysError(ValueError):
    """A file cannot be read as an `.npz`; the message goes on after its name."""


def read_npz(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads the arrays of an `.npz` by their names.

    NumPy itself takes as many bytes of an array as its header asks for, and so misses
    damage that shortens it: here every part is read whole, which checks its CRC. None
    of a file's pickles is opened.

    Raises:
      ArraysError: it is missing, is no regular file, or is damaged, empty, pickled or
        something else.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise ArraysError("it does not exist, or is not a file")
    found: dict[str, np.ndarray] = {}
    try:
        with path.open("rb") as file:
            if file.read(len(_SINGLE)) == _SINGLE:
                raise ArraysError("it is a single array")
        with zipfile.ZipFile(path) as parts:
            check_expansion(parts)
            for part in parts.infolist():
                name, content = part.filename, io.BytesIO(parts.read(part))
                if not name.endswith(".npy") or name.removesuffix(".npy") in found:
                    raise ArraysError(f"its part {name!r} is not one array")
                array = np.lib.format.read_array(content, allow_pickle=False)
                if content.read(1):
                    raise ArraysError(f"its part {name!r} is longer than its array")
                found[name.removesuffix(".npy")] = array
    except ArraysError:
        raise
    # Damage can make anything of what zipfile, zlib and NumPy read.
    except Exception as error:
        raise ArraysError(in_one_line(error)) from error
    return found


def check_expansion(archive: zipfile.ZipFile) -> None:
    """Refuses an archive of a file that would unpack to many times its size.

    Weights hardly shrink. Those of a network that is made of zeros do, by a factor of
    1000, and have to be small.

    Raises:
      ArraysError: it is such a one.
    """
    unpacked = sum(part.file_size for part in archive.infolist())
    # Not the sum of the parts, which may lie over one another.
    packed = os.path.getsize(str(archive.filename))
    if unpacked > max(_SMALL, _MOST_EXPANSION * packed):
        raise ArraysError(
            f"of {packed} bytes it would unpack to {unpacked}: no weights are so"
        )


def not_finite(arrays: Mapping[str, np.ndarray]) -> str | None:
    """The name of the first array that holds NaN or infinity, or None."""
    for name, array in arrays.items():
        if array.dtype.kind in "fc" and not np.isfinite(array).all():
            return name
    return None


def in_one_line(error: BaseException) -> str:
    """What an error says, with its type, as a part of another message."""
    line = str(error).strip().partition("\n")[0]
    if len(line) > _LONGEST:
        line = f"{line[:_LONGEST]}..."
    return f"{type(error).__name__}: {line}" if line else type(error).__name__
