"""Models: a path in, a function from label maps to pictures out.

    opening.py      from a path to networks and variables
    predictor.py    the function, `spade_jax.load`
    synthesis.py    what it compiles: the generator, and the encoder of photographs
    forks.py        processes in which JAX would hang
    inputs.py       what callers give it: paths, pictures, arrays, or lists of them
    maps.py         label maps: read, and prepared for a generator
    sizes.py        what becomes of their size
    styles.py       latents: given, drawn, of photographs, or between two of them
    averaged.py     averaged weights: batch statistics that are theirs
    batches.py      a batch for a model that is used, not trained
    aggregate.py    which styles the training pictures have, for random ones
    regions.py      styles of classes and of pixels
    finite.py       weights and pictures of numbers that are none
    publishing.py   a checkpoint without what only training needs

May import: PIL, flax, jax, `assemble`, `convert`, `data`, `devices`, `files`,
`kernels`, `layout`, `learning`, `nets`, `recipe`, `workdir`.
"""
