"""spade_jax: semantic image synthesis (SPADE / GauGAN) in JAX and Flax.

To use a trained model: `spade_jax.load(PATH)`; see `spade_jax.models.predictor`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spade_jax.models.predictor import load

__version__ = "0.1.0"
__all__ = ["load"]


def __getattr__(name: str) -> Any:
    # Not at once: the processes that read data import this package, but not JAX.
    if name == "load":
        from spade_jax.models.predictor import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
