"""Kernels: an operation and its shapes in, the quickest way to compute it out.

May import: jax.
"""
