"""Models: a path in, a function from label maps to pictures out.

    opening.py      from a path to networks and variables
    predictor.py    the function, `spade_jax.load`
    inputs.py       what callers give it: paths, pictures, arrays, or lists of them
    maps.py         label maps: read, brought to a size, prepared for a generator
    styles.py       latents: given, drawn, of photographs, or between two of them
    publishing.py   a checkpoint without what only training needs

May import: PIL, jax, `assemble`, `convert`, `data`, `devices`, `files`, `kernels`,
`layout`, `learning`, `nets`, `recipe`, `workdir`.
"""
