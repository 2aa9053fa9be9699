"""Products of a traced function: its convolutions and matrix products, and their size.

The unit is the multiply-accumulate: one product of a convolution or a matrix product,
with the addition that follows it; twice as many are the floating-point operations
(FLOPs) that chips are rated in. Taps on padding count, as is usual; XLA leaves them
out. Zeros that a transposed convolution puts between pixels do not.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from jax.extend import core


class Product(NamedTuple):
    """One convolution or matrix product.

    Attributes:
      scope: names of the modules, and of their methods, in which it is.
      shape: of its result.
      count: multiply-accumulates.
    """

    scope: tuple[str, ...]
    shape: tuple[int, ...]
    count: int


def products(function: Callable[..., Any], *inputs: Any) -> list[Product]:
    """Everything that a function multiplies, in the order in which it does.

    Args:
      function: to be traced; no array is made.
      *inputs: of it, or their shapes.

    Raises:
      ValueError: it multiplies in a loop of unknown length, or in one branch of some.
    """
    return list(_products(jax.make_jaxpr(function)(*inputs).jaxpr, (), 1))


def _products(
    jaxpr: core.Jaxpr, outer: tuple[str, ...], times: int
) -> Iterator[Product]:
    for equation in jaxpr.eqns:
        stack = str(equation.source_info.name_stack)
        scope = outer + tuple(stack.split("/") if stack else ())
        kind = equation.primitive.name
        shapes = [_shape(x.aval) for x in equation.invars]
        *_, result = (_shape(x.aval) for x in equation.outvars)
        if kind == "conv_general_dilated":
            count = _of_convolution(shapes[1], result, equation.params)
            yield Product(scope, result, times * count)
        elif kind == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            summed = math.prod(shapes[0][axis] for axis in contracted)
            yield Product(scope, result, times * math.prod(result) * summed)
        else:
            rounds = equation.params["length"] if kind == "scan" else 1
            for inner in _inner(equation):
                found = list(_products(inner, scope, times * rounds))
                if found and kind in ("while", "cond"):
                    raise ValueError(
                        f"{'/'.join(scope)} multiplies in a {kind!r}: how often is not"
                        " known."
                    )
                yield from found


def _shape(value: Any) -> tuple[int, ...]:
    # Not everything that a program passes on is an array.
    return getattr(value, "shape", ())


def _of_convolution(
    kernel: tuple[int, ...], result: tuple[int, ...], params: dict[str, Any]
) -> int:
    # The kernel's features, that it makes, are in the result already.
    features = kernel[params["dimension_numbers"].rhs_spec[0]]
    taps = math.prod(kernel) // features
    return math.prod(result) * taps // math.prod(params["lhs_dilation"])


def _inner(equation: core.JaxprEqn) -> Iterator[core.Jaxpr]:
    for value in equation.params.values():
        for entry in value if isinstance(value, tuple | list) else (value,):
            if isinstance(entry, core.ClosedJaxpr):
                yield entry.jaxpr
            elif isinstance(entry, core.Jaxpr):
                yield entry
