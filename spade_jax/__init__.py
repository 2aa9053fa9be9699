"""spade_jax: semantic image synthesis (SPADE / GauGAN) in JAX and Flax."""

__version__ = "0.1.0"
