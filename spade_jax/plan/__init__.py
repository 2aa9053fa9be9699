"""Plan: a recipe and a topology in, what its train step takes on these TPUs out.

Found out without a TPU: libtpu compiles for them on any x86-64 Linux machine. The whole
train step is compiled ahead of time from the shapes of things alone, and the compiler's
own figures are read, and in its program traffic and collectives. Beside them stands the
arithmetic that the networks' traces show. `python -m spade_jax.plan --help`.

May import: flax, jax, `assemble`, `devices`, `files`, `kernels`, `layout`, `learning`,
`nets`, `progress`, `recipe`.
"""
