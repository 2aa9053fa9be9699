"""Shapes of what networks learn and keep, without computing any of it."""

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict


def variable_shapes(module: nn.Module, *inputs: Any, **options: Any) -> dict[str, Any]:
    """Shapes and dtypes of a network's variables.

    Args:
      module: whose they are.
      *inputs: of a call: trees of arrays, or of what `jax.eval_shape` takes in their
        place.
      **options: of the call, such as `train=False`.

    Returns:
      Nested dict of `jax.ShapeDtypeStruct`s, by collection.
    """
    leaves, structure = jax.tree.flatten(inputs)
    leaves = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in leaves)
    found = traced(
        module,
        structure,
        leaves,
        tuple(sorted(options.items())),
        jax.config.jax_enable_x64,  # pyright: ignore[reportAttributeAccessIssue]
    )
    # Dicts of the caller's own.
    return jax.tree.map(lambda leaf: leaf, found)


# Tracing takes a second for a large network, and one that is trained, read or converted
# is asked for several times.
@functools.lru_cache(maxsize=32)
def traced(
    module: nn.Module,
    structure: Any,
    leaves: tuple[jax.ShapeDtypeStruct, ...],
    options: tuple[tuple[str, Any], ...],
    wide: bool,
) -> dict[str, Any]:
    """What `variable_shapes` gives, remembered; `wide`: dtypes have 64 bits."""
    del wide
    init = functools.partial(module.init, **dict(options))
    inputs = jax.tree.unflatten(structure, leaves)
    return jax.eval_shape(init, jax.eval_shape(jax.random.key, 0), *inputs)


class Difference(NamedTuple):
    """An array that is not of the shape that it should be.

    Attributes:
      name: its path, with slashes.
      wanted, found: shapes; None where there is none of the name.
    """

    name: str
    wanted: tuple[int, ...] | None
    found: tuple[int, ...] | None


def first_difference(
    wanted: Mapping[str, Any], found: Mapping[str, Any]
) -> Difference | None:
    """The first array by name whose shape differs, or that one side lacks; or None.

    Args:
      wanted, found: nested dicts of arrays, or of what has a shape.
    """

    def shapes(variables: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
        flat: dict[str, Any] = flatten_dict(variables, sep="/")
        return {name: tuple(leaf.shape) for name, leaf in flat.items()}

    ours, theirs = shapes(wanted), shapes(found)
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            return Difference(name, ours.get(name), theirs.get(name))
    return None
