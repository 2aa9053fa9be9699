"""The command `python -m spade_jax.export`: its arguments, and what it says."""

from spade_jax.commands import beginning, ending

if __name__ == "__main__":
    beginning.importing()

import argparse
from collections.abc import Sequence

from spade_jax import export
from spade_jax.commands.command_line import (
    add_output_arguments,
    fail,
    log_what_matters,
    place_argument,
)
from spade_jax.devices import gpu_memory, present
from spade_jax.files import bucket
from spade_jax.files.places import size_of
from spade_jax.progress import phase, result


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports one model; errors of the user's making end in one clear message."""
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.export",
        description=(export.__doc__ or "").partition("\n")[0],
    )
    parser.add_argument(
        "path",
        type=place_argument,
        help="a work dir, WORKDIR/checkpoints/STEP, an official checkpoint's directory,"
        " or the name of a model that comes with the project",
    )
    parser.add_argument(
        "--out",
        type=place_argument,
        required=True,
        metavar="FILE",
        help="for example scenes.jax or scenes.onnx; the card has its name with .json",
    )
    parser.add_argument(
        "--format",
        choices=export.FORMATS,
        help="files of jax.export or ONNX, or a directory for TensorFlow (onnx if FILE"
        " ends in .onnx, else jax)",
    )
    parser.add_argument(
        "--precision",
        choices=export.PRECISIONS,
        default=export.PRECISIONS[0],
        help="of the weights in an ONNX file: float16 halves it (%(default)s)",
    )
    add_output_arguments(parser)
    options = parser.parse_args(arguments)
    log_what_matters(quiet=options.quiet, log_json=options.log_json)
    gpu_memory.share()
    try:
        present.log()
        with (
            bucket.telling(),
            phase(f"Exporting {options.path}", usually="half a minute"),
        ):
            written = export.export(
                options.path,
                options.out,
                format=options.format,
                precision=options.precision,
            )
    except (ValueError, ImportError, OSError) as error:
        fail(error)
    for path in written:
        size = size_of(path)
        result(f"{path}: {size / 1e6:.1f} MB", file=str(path), bytes=size)


if __name__ == "__main__":
    beginning.imported()
    ending.run(main)
