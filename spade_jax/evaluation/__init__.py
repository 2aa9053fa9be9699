"""Evaluation: from a checkpoint's path to its scores.

`evaluate` knows of configs and work dirs, `evaluator` of a generator and a protocol,
`examples` reads the data, `sampling` makes the pictures, and `result` writes what was
found. The scores
themselves are in `spade_jax.metrics`.
"""
