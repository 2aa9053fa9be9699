"""PyTorch's `.pth` files, read and written without ever running what is in them.

PyTorch itself is imported where it is used: it is an optional extra.
"""

import os
import pathlib
import pickle
import re
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spade_jax.files.arrays import check_expansion, in_one_line, not_finite


class FileError(ValueError):
    """A `.pth` file is missing, damaged, or not a plain dict of tensors."""


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dict.

    Half precision becomes float32, which holds the same numbers; other dtypes stay.

    Raises:
      FileError: the file is missing, damaged, holds something else than plain tensors
        of finite numbers, or wants to run code.
      ImportError: PyTorch is not installed.
    """
    return _tensors(path, _load(path))


def check_there(
    directory: pathlib.Path, which: str, *, endings: Sequence[str], flag: str
) -> None:
    """Refuses a directory without a generator's file, and tells which others it has.

    Args:
      directory: of the files.
      which: the epoch or iteration, with which the file's name begins.
      endings: of the name, any of which will do. A link that leads nowhere does, too:
        it is told of where it is read.
      flag: that takes `which`, for messages.

    Raises:
      FileError: there is none.
    """
    if any(os.path.lexists(directory / f"{which}{ending}") for ending in endings):
        return
    there = sorted(
        {
            path.name.removesuffix(ending)
            for ending in endings
            for path in directory.glob(f"*{ending}")
        }
    )
    raise FileError(
        f"{directory / which}{endings[0]} does not exist."
        + (f" What is there: {flag}={f', {flag}='.join(there)}." if there else "")
    )


def read_wrapped(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], tuple[str, ...]]:
    """Reads a state dict, also out of a training checkpoint of a `DataParallel` module.

    Such a checkpoint holds it as `state_dict`, beside the epoch and more, and its keys
    begin with `module.`.

    Returns:
      What `read` does, and what was taken off: 'state_dict', 'module.', both or none.

    Raises:
      Exception: see `read`.
    """
    wrappers = []
    content = _load(path)
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
        wrappers.append("state_dict")
    tensors = _tensors(path, content)
    prefix = "module."
    if all(key.startswith(prefix) for key in tensors):
        tensors = {key.removeprefix(prefix): x for key, x in tensors.items()}
        wrappers.append(prefix)
    return tensors, tuple(wrappers)


def write(path: str | os.PathLike[str], state_dict: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict as the official code saves it, in the order given.

    Args:
      path: of the file.
      state_dict: keys to arrays; see `spade_jax.convert.to_official`.

    Raises:
      OSError: it cannot be written.
      ImportError: PyTorch is not installed.
    """
    torch = _torch()
    # A copy: the arrays may be read-only views of JAX's memory.
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in state_dict.items()}
    try:
        # Not by its name, which PyTorch writes into the file, and is no other's yet.
        with open(path, "wb") as file:
            torch.save(tensors, file)
    except OSError as error:
        # A write goes to a descriptor, which has no name.
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    except RuntimeError as error:  # PyTorch's own, of a file that it cannot end
        raise OSError(f"{path} cannot be written ({in_one_line(error)}).") from error


def _load(path: str | os.PathLike[str]) -> Any:
    """Loads a file by PyTorch's `weights_only` loader.

    It builds tensors and plain containers, and calls nothing that a file names.
    """
    torch = _torch()
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileError(f"{path} does not exist, or is not a file.")
    try:
        _check_crc(path)
        return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise FileError(
            f"{path} was refused: it holds more than tensors"
            + (f" (it asks for {asked[1]})" if asked else "")
            + ", and reading it could run code. Nothing of it was run. Get the file"
            " from a source you trust, as a plain state dict."
        ) from error
    # Damage can make anything of what PyTorch's unpickler reads.
    except Exception as error:
        raise FileError(
            f"{path} is truncated or is not a whole PyTorch file"
            f" ({path.stat().st_size} bytes; {in_one_line(error)}). Copy or download it"
            " again."
        ) from error


def _check_crc(path: pathlib.Path) -> None:
    """Refuses an archive with a part that is not as its CRC says.

    PyTorch checks none (2.12), and takes a flipped bit of a weight for the weight.
    Files of before PyTorch 1.6 are no archives, and have none.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        check_expansion(archive)
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"bad CRC of its part {damaged}")


def _tensors(path: str | os.PathLike[str], content: Any) -> dict[str, np.ndarray]:
    torch = _torch()
    if not isinstance(content, Mapping) or not content:
        raise FileError(
            f"{path} holds a {type(content).__name__}, not the dict of tensors that"
            " `torch.save(net.state_dict(), ...)` writes."
        )
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, torch.Tensor):
            raise FileError(
                f"{path} is not a state dict: its entry {key!r} is a"
                f" {type(value).__name__}, not a tensor."
            )
    arrays = {k: _to_numpy(v, where=f"{path}: {k!r}") for k, v in content.items()}
    if name := not_finite(arrays):
        raise FileError(
            f"{path}: {name!r} holds NaN or infinity, of which pictures become black."
            " Training had diverged: take weights of before."
        )
    return arrays


def _torch():
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "reading and writing .pth files needs PyTorch, which is not installed:"
            " pip install 'spade-jax[convert]'"
        ) from error
    return torch


def _to_numpy(tensor: Any, *, where: str) -> np.ndarray:
    torch = _torch()
    tensor = tensor.detach()
    plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
    if not plain or tensor.is_complex():
        raise FileError(
            f"{where} is no plain tensor of numbers ({tensor.dtype}, {tensor.layout},"
            f" device {tensor.device}). Save it as a dense one first."
        )
    # A view that repeats its numbers may stand for more than there is memory.
    size = tensor.numel() * tensor.element_size()
    if size > tensor.untyped_storage().nbytes():
        raise FileError(
            f"{where} is a view of shape {tuple(tensor.shape)} of fewer numbers. Save"
            " it with .contiguous() first."
        )
    try:
        if tensor.is_floating_point() and tensor.element_size() < 4:
            tensor = tensor.float()
        return tensor.resolve_neg().contiguous().numpy()
    except (RuntimeError, TypeError) as error:
        raise FileError(
            f"{where} has no counterpart in NumPy ({in_one_line(error)})."
        ) from error
