"""Networks for use only: spectral norms divided out, kernels transformed and cast.

What training needs and synthesis does not is computed here once, in advance, and what
synthesis would compute each time.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from spade_jax.kernels import choose, winograd
from spade_jax.nets import spectral
from spade_jax.nets.conv import Conv

# Pictures of a batch that is large enough for whatever needs a large one.
_ENDLESS = 2**48


def frozen(
    module: nn.Module,
    variables: dict[str, Any],
    *,
    inputs: Sequence[Any] = (),
    winograd_pays: Callable[
        [Sequence[int], Sequence[int]], bool
    ] = choose.winograd_pays,
) -> tuple[nn.Module, dict[str, Any]]:
    """Prepares a network that is only used any more.

    Spectral norms are divided out. With `inputs`, kernels are transformed for
    `spade_jax.kernels.winograd` where that is quicker for inputs of these shapes, on a
    CPU; other shapes can be used just as well. Such kernels take four times the memory.

    Args:
      module: of `spade_jax.nets`, with a norm's name as its attribute `norm`.
      variables: of the module.
      inputs: of a call, or what `jax.eval_shape` takes in their place.
      winograd_pays: from the shapes of an input and a kernel to whether the kernel is
        transformed.

    Returns:
      The module without spectral norm and its variables; in evaluation they compute
      what the given ones do.
    """
    module = module.clone(norm=module.norm.removeprefix("spectral"))
    collections = spectral.divided(variables)
    params: dict[tuple[str, ...], Any] = flatten_dict(collections["params"])
    transformed = {}
    kernels = [x.shape for x in params.values() if x.ndim == 4]
    if not any(winograd_pays((_ENDLESS, 1, 1, k[2]), k) for k in kernels):
        # Tracing the network would take longer than anything else here.
        inputs = ()
    for path, shape in _convolved_shapes(module, collections, inputs).items():
        name = (*path, "kernel")
        if winograd_pays(shape, params[name].shape):
            transformed[name] = jax.jit(winograd.transform)(params.pop(name))
    if transformed:
        collections["params"] = unflatten_dict(params)
        collections["winograd"] = unflatten_dict(transformed)
    return module, collections


def cast_kernels(variables: dict[str, Any], dtype: jnp.dtype) -> dict[str, Any]:
    """Casts the kernels of convolutions to the dtype that a network computes in.

    The network does so itself in every call; its results are the same.

    Args:
      variables: of the network.
      dtype: of its computations.
    """

    def cast(kernel):
        return jnp.asarray(kernel, dtype) if kernel.ndim == 4 else kernel

    return {**variables, "params": jax.tree.map(cast, variables["params"])}


def _convolved_shapes(
    module: nn.Module, variables: dict[str, Any], inputs: Sequence[Any]
) -> dict[tuple[str, ...], tuple[int, ...]]:
    """Shapes of inputs, by the paths of the `Conv`s that Winograd's could replace."""
    shapes = {}

    def record(call, args, kwargs, context):
        conv = context.module
        if isinstance(conv, Conv) and conv.is_plain:
            shapes[conv.path] = args[0].shape
        return call(*args, **kwargs)

    if inputs:
        with nn.intercept_methods(record):
            jax.eval_shape(
                functools.partial(module.apply, train=False), variables, *inputs
            )
    return shapes
