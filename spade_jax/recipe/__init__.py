"""Recipes: a config file or a stored config in, a checked `Recipe` out.

`library` finds the files, `fields` says what every field takes, in `kinds` of values,
`reading` reads and checks them, `parts` says what the parts of a recipe are. Nothing
below the commands sees a `ConfigDict`, and nothing but the composition of a whole run
sees more than the parts it needs.

May import: ml_collections, `files`.
"""

from spade_jax.recipe.parts import (
    Architecture,
    Best,
    Compute,
    Data,
    Discriminator,
    Encoder,
    Evaluation,
    Generator,
    Keeping,
    Loss,
    Optimizer,
    Recipe,
    Scenes,
    Schedule,
    Segmenter,
)
from spade_jax.recipe.reading import (
    check_changes,
    closed,
    describe,
    from_json,
    to_json,
    with_fields,
    with_values,
)

__all__ = [
    "Architecture",
    "Best",
    "Compute",
    "Data",
    "Discriminator",
    "Encoder",
    "Evaluation",
    "Generator",
    "Keeping",
    "Loss",
    "Optimizer",
    "Recipe",
    "Scenes",
    "Schedule",
    "Segmenter",
    "check_changes",
    "closed",
    "describe",
    "from_json",
    "to_json",
    "with_fields",
    "with_values",
]
