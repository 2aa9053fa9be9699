"""Assembling: the parts of a recipe in, the things that they describe out.

What computes takes plain numbers and names; here they are read out of a recipe's
parts, for training, evaluation and prediction alike. One file for each kind of part.

May import: jax, `data`, `files`, `kernels`, `layout`, `learning`, `nets`, `progress`,
`recipe`.
"""

from spade_jax.assemble.architecture import (
    abstract_state,
    abstract_variables,
    check_size,
    create_state,
    example_layout,
    first_variables,
    generator_inputs,
    is_modulated,
    networks,
    reads_positions,
    side_multiple,
)
from spade_jax.assemble.compute import Factored, factored, tabulator
from spade_jax.assemble.data import (
    label_colors,
    picture_folders,
    preprocess,
    resize,
    root,
    sees_all,
    source,
    training_pictures,
    with_palette,
)
from spade_jax.assemble.finding import Found, batch_size, find
from spade_jax.assemble.objective import perceptual, train_step
from spade_jax.assemble.optimizer import optimizers

__all__ = [
    "Factored",
    "Found",
    "abstract_state",
    "abstract_variables",
    "batch_size",
    "check_size",
    "create_state",
    "example_layout",
    "factored",
    "find",
    "first_variables",
    "generator_inputs",
    "is_modulated",
    "label_colors",
    "networks",
    "optimizers",
    "perceptual",
    "picture_folders",
    "preprocess",
    "reads_positions",
    "resize",
    "root",
    "sees_all",
    "side_multiple",
    "source",
    "tabulator",
    "train_step",
    "training_pictures",
    "with_palette",
]
