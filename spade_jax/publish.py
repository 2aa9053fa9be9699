"""A trained model without what only training needs, to pass on.

    python -m spade_jax.publish WORKDIR --out=DIR

A tenth of the size is left; see `spade_jax.models.publishing`. DIR is a work dir with
one checkpoint, for everything but training.
"""

import argparse
import sys
from collections.abc import Sequence

from spade_jax.commands import ending
from spade_jax.commands.command_line import log_what_matters, path_argument
from spade_jax.devices import present
from spade_jax.models.aggregate import PRIORS
from spade_jax.models.publishing import DTYPES, publish


def main(arguments: Sequence[str] | None = None) -> None:
    """Publishes one model; errors of the user's making end in one clear message."""
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.publish",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument(
        "path",
        type=path_argument,
        help="a work dir, or WORKDIR/checkpoints/STEP",
    )
    parser.add_argument("--out", type=path_argument, required=True, metavar="DIR")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help="of the parameters; float32 keeps every bit (%(default)s)",
    )
    parser.add_argument(
        "--data_root",
        type=path_argument,
        metavar="DIR",
        help="of the training data, which averaged weights and random styles need, in"
        " place of the checkpoint's config.data.root",
    )
    parser.add_argument(
        "--prior",
        choices=PRIORS,
        default=PRIORS[0],
        help="of random styles: data keeps which styles the training pictures have, of"
        " a model with an encoder; standard the normal distribution (%(default)s)",
    )
    options = parser.parse_args(arguments)
    log_what_matters()
    try:
        present.log()
        step = publish(
            options.path,
            options.out,
            dtype=options.dtype,
            data_root=str(options.data_root or ""),
            prior=options.prior,
        )
    except (ValueError, OSError) as error:
        sys.exit(f"{type(error).__name__}: {error}\nNothing was written.")
    size = sum(p.stat().st_size for p in options.out.rglob("*") if p.is_file())
    print(f"{options.out}: step {step}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    ending.run(main)
