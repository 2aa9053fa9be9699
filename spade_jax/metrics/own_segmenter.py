"""The project's own segmenter: its file, and what it sees in pictures.

`python -m spade_jax.main --mode=train_segmenter` trains one on the real pictures and
layouts of a dataset, for data that has no published segmenter. It is one `.npz` of the
arrays and of all that has to be known to use them, and it travels alone. The package
holds that of the `scenes` as `configs/scenes.py` draws them.

Letters: B batch, H height, W width, C classes, F features.
"""

import hashlib
import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

import spade_jax
from spade_jax import files
from spade_jax.files import provenance
from spade_jax.files.arrays import in_one_line
from spade_jax.files.places import AnyPath, place
from spade_jax.metrics.nets.unet import Seen, UNet
from spade_jax.metrics.weights import MALFORMED, META, WeightsError, read_described
from spade_jax.nets.shapes import first_difference, variable_shapes

NETWORK = "own"
FILE = "segmenter.npz"  # in a work dir

_PACKAGED = pathlib.Path(spade_jax.__file__).parent / "shipped" / "segmenters"


class Description(NamedTuple):
    """What a segmenter's file says of it.

    Attributes:
      dataset: `config.data.source` of what it was trained on.
      names: of the ids that the dataset's layouts may hold, as far as they have any.
      palette: their colours, (red, green, blue) in 0..255; may be missing.
      truth: for each of these ids its class, or -1 where it is not scored. "Unknown" is
        the last id of a dataset that has it, as in `spade_jax.data`.
      unknown_label: what the dataset's files hold for "unknown", or None.
      size: (height, width) of the pictures that it was trained on.
      widths: see `spade_jax.metrics.nets.unet.UNet`.
      norm: the same.
      steps: iterations of training.
      scores: on the real validation pictures, by name: the ceiling of what synthesised
        ones can score.
      recipe: the fields of the config that it was trained by.
    """

    dataset: str
    names: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    truth: tuple[int, ...]
    unknown_label: int | None
    size: tuple[int, int]
    widths: tuple[int, ...]
    norm: str
    steps: int
    scores: dict[str, float]
    recipe: dict[str, Any]

    @property
    def num_classes(self) -> int:
        """C, the number of classes."""
        return max(self.truth) + 1

    @property
    def ids(self) -> tuple[int, ...]:
        """The id of each class in the dataset's layouts."""
        return tuple(map(self.truth.index, range(self.num_classes)))

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the C classes."""
        named = len(self.names)
        return tuple(self.names[i] if i < named else f"id {i}" for i in self.ids)

    def module(self, *, axis_name: str | None = None) -> UNet:
        """The network."""
        return UNet(self.num_classes, self.widths, norm=self.norm, axis_name=axis_name)


class OwnSegmenter(NamedTuple):
    """A trained segmenter.

    Attributes:
      description: what its file says.
      variables: of the network; float32.
      sha256: of the variables, in hex; scores by equal ones are comparable.
    """

    description: Description
    variables: dict[str, Any]
    sha256: str

    def see(self, images: jax.Array) -> Seen:
        """Logits `[B, H, W, C]` and features `[B, F]` of pictures; runs under jit.

        Args:
          images: `[B, H, W, 3]` in [0, 1], of any size.
        """
        module = self.description.module()
        height, width = images.shape[1:3]
        below, right = (-side % module.factor for side in (height, width))
        padding = ((0, 0), (0, below), (0, right), (0, 0))
        images = jnp.pad(2 * images - 1, padding, "edge")
        # Scores must not depend on the kind of device, some of which round the factors
        # of products.
        with jax.default_matmul_precision("highest"):
            seen: Any = module.apply(self.variables, images, train=False)
        return seen._replace(logits=seen.logits[:, :height, :width])

    def features(self, images: jax.Array) -> jax.Array:
        """What the Frechet distance "FD-own" compares; runs under jit.

        Args:
          images: `[B, H, W, 3]` in [0, 1].

        Returns:
          float32 `[B, F]`.
        """
        return self.see(images).features

    def classes(self, images: np.ndarray | jax.Array) -> jax.Array:
        """The class of each pixel; runs under jit.

        Args:
          images: uint8 `[B, H, W, 3]`.

        Returns:
          int32 `[B, H, W]`, 0 .. C - 1.
        """
        images = jnp.asarray(images).astype(jnp.float32) / 255
        return self.see(images).logits.argmax(-1).astype(jnp.int32)


def save(
    path: str | os.PathLike[str],
    segmenter: OwnSegmenter,
    *,
    replacing: files.Replacing = files.replacing,
) -> None:
    """Writes a segmenter; what was there stays until the new file is whole."""
    arrays: dict[str, Any] = flatten_dict(segmenter.variables, sep="/")
    meta = {
        "network": NETWORK,
        **segmenter.description._asdict(),
        "sha256": segmenter.sha256,
        "versions": provenance.versions(["jax", "flax", "numpy"]),
    }
    # Opened here, as NumPy would add `.npz` to the name.
    with replacing(path) as unfinished, unfinished.open("wb") as file:
        np.savez_compressed(file, **{META: json.dumps(meta)}, **arrays)


def make(description: Description, variables: Mapping[str, Any]) -> OwnSegmenter:
    """A segmenter of these variables."""
    arrays = jax.tree.map(np.asarray, dict(variables))
    return OwnSegmenter(description, arrays, _sha256(arrays))


def load(
    path: str | os.PathLike[str],
    *,
    num_ids: int | None = None,
    names: Sequence[str] = (),
) -> OwnSegmenter:
    """Reads what `save` wrote.

    Args:
      path: of the `.npz`.
      num_ids: ids that the layouts to score may hold; None: not checked.
      names: of these ids; empty: not checked.

    Raises:
      WeightsError: the file is missing, damaged, no segmenter of the project's own, or
        one of other classes.
    """
    path = place(path)
    if not path.is_file():
        raise WeightsError(f"{path}, a segmenter, does not exist. {how_to_get()}")
    try:
        with files.reading(path) as here:
            found, meta = read_described(here)
        if meta["network"] != NETWORK:
            raise WeightsError(
                f"{path} holds the weights of {meta['network']}, not a segmenter of the"
                f" project's own. {how_to_get()}"
            )
        description = _description(meta)
        segmenter = make(description, unflatten_dict(found, sep="/"))
        intact = segmenter.sha256 == meta["sha256"]
        _check_arrays(segmenter)
    except WeightsError:
        raise
    except MALFORMED as error:
        raise WeightsError(
            f"{path} is no segmenter as --mode=train_segmenter writes it"
            f" ({in_one_line(error)}). {how_to_get()}"
        ) from error
    if not intact:
        raise WeightsError(
            f"{path}: the arrays' SHA-256 begins with {segmenter.sha256[:8]}, but the"
            f" file says {str(meta['sha256'])[:8]}: it was changed. {how_to_get()}"
        )
    _check_classes(path, description, num_ids, names)
    return segmenter


def find(
    dataset: str, *, workdir: str | os.PathLike[str] | None = None, file: str = ""
) -> AnyPath:
    """Where the segmenter of a dataset is.

    Args:
      dataset: a value of `config.data.source`.
      workdir: of the run to be scored, in which `--mode=train_segmenter` leaves it.
      file: the path, where it is known: it alone is looked at.

    Raises:
      WeightsError: there is none.
    """
    if file:
        known: list[AnyPath] = [pathlib.Path(file).expanduser()]
    else:
        known = [_PACKAGED / f"{dataset}.npz"]
        if workdir is not None:
            known.insert(0, place(workdir) / FILE)
    for path in known:
        if path.is_file():
            return path
    looked = " and ".join(map(str, known))
    raise WeightsError(
        f"There is no segmenter for config.data.source={dataset!r}: {looked}"
        f" {'does' if len(known) == 1 else 'do'} not exist. {how_to_get(workdir)}"
    )


def how_to_get(workdir: str | os.PathLike[str] | None = None) -> str:
    """One sentence: how to make one.

    Args:
      workdir: of a run, whose config it is made by; None: not known.
    """
    given = "--config=CONFIG [--workdir=DIR]"
    if workdir is not None:
        given = f"--workdir={os.fspath(workdir)}"
    return (
        f"Train one: python -m spade_jax.main --mode=train_segmenter {given}, which"
        f" writes {'DIR' if workdir is None else os.fspath(workdir)}/segmenter.npz."
    )


def _check_classes(
    path: AnyPath,
    description: Description,
    num_ids: int | None,
    names: Sequence[str],
) -> None:
    ours = f"{path} is a segmenter of {description.dataset}, for which"
    count = len(description.truth)
    if num_ids is not None and num_ids != count:
        raise WeightsError(
            f"{ours} layouts hold {count} ids, not the {num_ids} of"
            f" config.data.num_classes and config.data.unknown_label. {how_to_get()}"
        )
    # Either may be without names, or have one for "unknown" too.
    for number, (name, other) in enumerate(zip(description.names, names, strict=False)):
        if name != other:
            raise WeightsError(
                f"{ours} id {number} is {name!r}, not the {other!r} of"
                f" config.data.classes. {how_to_get()}"
            )


def _description(meta: Mapping[str, Any]) -> Description:
    """What a file says of itself, of the types that it has to be of.

    Raises:
      ValueError: it is not as `Description` says.
    """
    found = Description(
        **{field: _as_tuples(meta[field]) for field in Description._fields}
    )
    whole = {
        "truth": found.truth,
        "size": found.size,
        "widths": found.widths,
        "palette": tuple(value for color in found.palette for value in color),
        "steps": (found.steps,),
    }
    for field, numbers in whole.items():
        if not all(type(number) is int for number in numbers):
            raise ValueError(f"{field} holds {numbers!r}, not whole numbers")
    named = (found.dataset, found.norm, *found.names)
    if not all(isinstance(text, str) for text in named):
        raise ValueError("dataset, norm and names are not all texts")
    if not isinstance(found.scores, dict) or not isinstance(found.recipe, dict):
        raise ValueError("scores and recipe are not both groups of values")
    classes = {number for number in found.truth if number >= 0}
    if classes != set(range(len(classes))) or len(classes) < 2:
        raise ValueError(f"truth={found.truth} names no classes 0, 1, ...")
    if any(len(color) != 3 for color in found.palette):
        raise ValueError(f"palette={found.palette} is not of colours of three numbers")
    if not all(0 <= value <= 255 for value in whole["palette"]):
        raise ValueError(f"palette={found.palette} has numbers beyond 0..255")
    # They become the lines of classes.txt.
    if split := [name for name in found.names if "".join(name.splitlines()) != name]:
        raise ValueError(f"names holds {split[0]!r}, of several lines")
    if found.unknown_label is not None and type(found.unknown_label) is not int:
        raise ValueError(f"unknown_label={found.unknown_label!r} is no whole number")
    if len(found.size) != 2 or not 0 < len(found.widths) <= 16 or min(found.widths) < 1:
        raise ValueError(f"size={found.size} or widths={found.widths} cannot be")
    return found


def _check_arrays(segmenter: OwnSegmenter) -> None:
    """Refuses arrays that are not those of the network of the description."""
    module, (height, width) = segmenter.description.module(), segmenter.description.size
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    wanted = variable_shapes(module, image, train=False)
    if fault := first_difference(wanted, segmenter.variables):
        raise ValueError(
            f"{fault.name} has shape {fault.found}, and should have {fault.wanted}"
        )


def _as_tuples(value: Any) -> Any:
    """JSON's lists as tuples, wherever they are."""
    if isinstance(value, list):
        return tuple(map(_as_tuples, value))
    if isinstance(value, dict):
        return {key: _as_tuples(inner) for key, inner in value.items()}
    return value


def _sha256(variables: Mapping[str, Any]) -> str:
    """The hash of all arrays with their paths and shapes, in the order of the paths."""
    digest = hashlib.sha256()
    for name, array in sorted(flatten_dict(variables, sep="/").items()):
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
