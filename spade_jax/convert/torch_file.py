"""PyTorch's `.pth` files, read and written without ever running what is in them.

PyTorch itself is imported where it is used: it is an optional extra.
"""

import os
import pathlib
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np


class FileError(ValueError):
    """A `.pth` file is missing, damaged, or not a plain dict of tensors."""


def read(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Reads a state dict.

    Half precision becomes float32, which holds the same numbers; other dtypes stay.

    Raises:
      FileError: the file is missing, truncated, holds something else than tensors,
        or wants to run code.
      ImportError: PyTorch is not installed.
    """
    return _tensors(path, _load(path))


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
      ImportError: PyTorch is not installed.
    """
    torch = _torch()
    # A copy: the arrays may be read-only views of JAX's memory.
    tensors = {k: torch.from_numpy(np.array(v)) for k, v in state_dict.items()}
    torch.save(tensors, path)


def _load(path: str | os.PathLike[str]) -> Any:
    """Loads a file by PyTorch's `weights_only` loader.

    It builds tensors and plain containers, and calls nothing that a file names.
    """
    torch = _torch()
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileError(f"{path} does not exist, or is not a file.")
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL (\S+)", str(error))
        raise FileError(
            f"{path} was refused: it holds more than tensors"
            + (f" (it asks for {asked[1]})" if asked else "")
            + ", and reading it could run code. Nothing of it was run. Get the file"
            " from a source you trust, as a plain state dict."
        ) from error
    except (RuntimeError, EOFError, KeyError, ValueError, OSError) as error:
        raise FileError(
            f"{path} is truncated or is not a PyTorch file"
            f" ({path.stat().st_size} bytes; {type(error).__name__}:"
            f" {_first_sentence(error)}). Copy or download it again."
        ) from error


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
    return {key: _to_numpy(value) for key, value in content.items()}


def _torch():
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            "reading and writing .pth files needs PyTorch, which is not installed:"
            " pip install 'spade-jax[convert]'"
        ) from error
    return torch


def _to_numpy(tensor) -> np.ndarray:
    tensor = tensor.detach()
    if tensor.is_floating_point() and tensor.element_size() < 4:
        tensor = tensor.float()
    return tensor.contiguous().numpy()


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].splitlines()[0] if str(error) else "no content"
