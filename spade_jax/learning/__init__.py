"""Learning: a state and a batch in, the next state and the terms of its loss out.

Pure functions; what they need stands in their signatures. May import: jax, flax,
optax, `layout`, `nets`.
"""
