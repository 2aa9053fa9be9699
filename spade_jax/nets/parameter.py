"""Parameters of modules, read without the price of drawing them."""

import flax.linen as nn
import jax
from flax.errors import ScopeParamShapeError


def parameter(
    module: nn.Module,
    name: str,
    init: nn.initializers.Initializer,
    shape: tuple[int, ...],
) -> jax.Array:
    """A parameter of a module, as `module.param` gives it.

    That would trace `init` at each call, where the parameter is there already, for
    nothing but its shape: a third of the time in which a generator is traced.

    Args:
      module: within its `__call__` or `setup`.
      name: of the parameter.
      init: from a key and a shape to what it begins with.
      shape: of the parameter.

    Raises:
      ScopeParamShapeError: it is there, and has another shape.
    """
    if not module.has_variable("params", name):
        return module.param(name, init, shape)
    value = module.get_variable("params", name)
    if value.shape != shape:
        path = "/" + "/".join(module.path)
        raise ScopeParamShapeError(name, path, value.shape, shape)
    return value
