"""A trained model without what only training needs, to pass on.

    python -m spade_jax.publish WORKDIR --out=DIR

A tenth of the size is left; see `spade_jax.models.publishing`. DIR is a work dir with
one checkpoint, for everything but training.
"""

from spade_jax.commands import beginning, ending

if __name__ == "__main__":
    beginning.importing()

import argparse
from collections.abc import Sequence

from spade_jax.commands.command_line import (
    add_output_arguments,
    fail,
    log_what_matters,
    place_argument,
)
from spade_jax.devices import gpu_memory, present
from spade_jax.files import bucket
from spade_jax.files.places import size_of
from spade_jax.models.aggregate import PRIORS
from spade_jax.models.publishing import DTYPES, publish
from spade_jax.progress import phase, result


def main(arguments: Sequence[str] | None = None) -> None:
    """Publishes one model; errors of the user's making end in one clear message."""
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.publish",
        description=(__doc__ or "").partition("\n")[0],
    )
    parser.add_argument(
        "path",
        type=place_argument,
        help="a work dir, or WORKDIR/checkpoints/STEP; here or gs://BUCKET/PATH",
    )
    parser.add_argument("--out", type=place_argument, required=True, metavar="DIR")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default=DTYPES[0],
        help="of the parameters; float32 keeps every bit (%(default)s)",
    )
    parser.add_argument(
        "--data_root",
        type=place_argument,
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
    add_output_arguments(parser)
    options = parser.parse_args(arguments)
    log_what_matters(quiet=options.quiet, log_json=options.log_json)
    gpu_memory.share()
    try:
        present.log()
        with (
            bucket.telling(),
            phase(
                f"Publishing {options.path}",
                usually="seconds; with an encoder or averaged weights minutes, for the"
                " styles of the training pictures and batch statistics",
            ),
        ):
            step = publish(
                options.path,
                options.out,
                dtype=options.dtype,
                data_root=str(options.data_root or ""),
                prior=options.prior,
            )
    except (ValueError, OSError) as error:
        fail(error)
    size = size_of(options.out)
    told = f"{options.out}: step {step}, {size / 1e6:.1f} MB"
    result(told, out=str(options.out), step=step, bytes=size)


if __name__ == "__main__":
    beginning.imported()
    ending.run(main)
