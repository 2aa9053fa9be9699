"""Weights of the published networks that metrics are defined by.

They are converted once from their authors' files (`python -m spade_jax.convert`) into
an `.npz` of arrays and of what has to be known about them: which network it is, and
which files it came from.
"""

import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax.files import arrays, provenance
from spade_jax.metrics import nets

META = "meta"
"""Name of the array in an `.npz` of ours that says in JSON what the others are."""

MALFORMED = (ValueError, TypeError, AttributeError, KeyError, RecursionError)
"""What reading what a file says of itself raises where it is not as we write it."""

_CSAIL = "http://sceneparsing.csail.mit.edu/model/pytorch"


class PublishedNetwork(NamedTuple):
    """A network as its authors publish it.

    Attributes:
      module: makes the module of `spade_jax.metrics.nets`.
      files: their names.
      where: to get them.
      sha256: how the files' SHA-256 begin, as far as their names say so (torch.hub's
        convention); otherwise nothing.
    """

    module: Callable[[], nn.Module]
    files: tuple[str, ...]
    where: str
    sha256: tuple[str, ...] = ()


PUBLISHED = {
    "inception": PublishedNetwork(
        nets.InceptionV3,
        ("pt_inception-2015-12-05-6726825d.pth",),
        "https://github.com/mseitzer/pytorch-fid/releases/tag/fid_weights",
        ("6726825d",),
    ),
    "deeplabv2": PublishedNetwork(
        nets.DeepLabV2,
        ("deeplabv2_resnet101_msc-cocostuff164k-100000.pth",),
        "https://github.com/kazuto1011/deeplab-pytorch/releases/tag/v1.0",
    ),
    "upernet101": PublishedNetwork(
        nets.UperNet,
        ("encoder_epoch_50.pth", "decoder_epoch_50.pth"),
        f"{_CSAIL}/ade20k-resnet101-upernet",
    ),
    # The same network trained on other input, which nothing in its files shows.
    "upernet101_baseline": PublishedNetwork(
        nets.UperNet,
        ("encoder_epoch_50.pth", "decoder_epoch_50.pth"),
        f"{_CSAIL}/baseline-resnet101-upernet",
    ),
    "drn105": PublishedNetwork(
        nets.DRN,
        ("drn-d-105_ms_cityscapes.pth",),
        "http://go.yf.io/drn-cityscapes-models",
    ),
}


class WeightsError(ValueError):
    """A weight file is missing, damaged, or of something else."""


class Source(NamedTuple):
    """A file that weights were converted from: its name and its SHA-256 in hex."""

    file: str
    sha256: str


class Weights(NamedTuple):
    """Weights of a published network.

    Attributes:
      network: a key of `PUBLISHED`.
      variables: of `PUBLISHED[network].module()`; float32.
      sources: the files they were converted from.
      published: whether those are the published files, by the hash in their names; None
        where the names have none.
    """

    network: str
    variables: dict[str, Any]
    sources: tuple[Source, ...]
    published: bool | None


def make(
    network: str, variables: Mapping[str, Any], sources: Sequence[Source]
) -> Weights:
    """Weights of these variables; sees whether the sources are the published files."""
    begins = PUBLISHED[network].sha256
    published = not _missing_hashes(sources, begins) if begins else None
    return Weights(network, dict(variables), tuple(sources), published)


def save(path: str | os.PathLike[str], weights: Weights) -> None:
    """Writes arrays by their paths, `params/stem/kernel`, and the rest as JSON."""
    meta = {
        "network": weights.network,
        "sources": [source._asdict() for source in weights.sources],
        "published": weights.published,
        "versions": provenance.versions(["numpy"]),
    }
    with pathlib.Path(path).open("wb") as file:  # the name as given, whatever its end
        leaves: dict[str, Any] = flatten_dict(weights.variables, sep="/")
        np.savez(file, **{META: json.dumps(meta)}, **leaves)


def load(
    path: str | os.PathLike[str], network: str, *, sha256: Sequence[str] = ()
) -> Weights:
    """Reads weights that `python -m spade_jax.convert` wrote.

    Args:
      path: of the `.npz`.
      network: a key of `PUBLISHED`, the one that it has to be.
      sha256: of the files that it has to be converted from; beginnings are enough.

    Raises:
      WeightsError: the file is missing, damaged, of another network, or converted from
        other files.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise WeightsError(
            f"{path}, the weights of {network}, does not exist. {how_to_get(network)}"
        )
    try:
        found, meta = read_described(path)
        weights = Weights(
            network=str(meta["network"]),
            variables=unflatten_dict(found, sep="/"),
            sources=tuple(
                Source(file=str(source["file"]), sha256=str(source["sha256"]))
                for source in meta["sources"]
            ),
            published=None if meta["published"] is None else bool(meta["published"]),
        )
    except MALFORMED as error:
        raise WeightsError(
            f"{path} does not hold the weights of {network} as `python -m"
            f" spade_jax.convert` writes them ({arrays.in_one_line(error)})."
            f" {how_to_get(network)}"
        ) from error
    if weights.network != network:
        raise WeightsError(
            f"{path} holds the weights of {weights.network}, not of {network}."
            f" {how_to_get(network)}"
        )
    if missing := _missing_hashes(weights.sources, sha256):
        names = ", ".join(f"{name} ({digest})" for name, digest in weights.sources)
        raise WeightsError(
            f"{path} was converted from {names}, and no SHA-256 there begins with"
            f" {' or '.join(missing)}. {how_to_get(network)}"
        )
    return weights


def read_described(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Reads an `.npz` of finite arrays, and what it says of itself as `meta`, in JSON.

    Raises:
      Exception: one of `MALFORMED`.
    """
    found = arrays.read_npz(path)
    meta = json.loads(str(found.pop(META)))
    if not isinstance(meta, dict):
        raise TypeError(f"{META} is no JSON object")
    if name := arrays.not_finite(found):
        raise ValueError(f"{name} holds NaN or infinity")
    return found, meta


def how_to_get(network: str) -> str:
    """One sentence: where the files are published and how to convert them."""
    _, files, where, _ = PUBLISHED[network]
    return (
        f"Get {' and '.join(files)} from {where} and convert: python -m"
        f" spade_jax.convert {network} {' '.join(files)} --out={network}.npz"
    )


def _missing_hashes(sources: Sequence[Source], begins: Sequence[str]) -> list[str]:
    return [b for b in begins if not any(s.sha256.startswith(b) for s in sources)]
