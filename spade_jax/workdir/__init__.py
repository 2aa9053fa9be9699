"""Work dirs: everything that a run leaves on disk, written and read.

May import: jax, Orbax, clu, `files`.
"""
