"""Devices: processes, meshes, and the way of arrays onto them and back.

May import: jax.
"""
