"""What a training run will take on TPUs, found out without one.

libtpu compiles for TPUs on any x86-64 Linux machine. The whole train step is compiled
ahead of time from the shapes of things alone, and the compiler's own figures are read:
memory, traffic, collectives. `python -m spade_jax.plan --help`.
"""
