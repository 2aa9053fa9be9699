r"""Converts official checkpoints, and other published weights, on the command line.

python -m spade_jax.convert nvlabs|clade|oasis CHECKPOINT_DIR --out=WORKDIR
python -m spade_jax.convert nvlabs WORKDIR --to=nvlabs --out=CHECKPOINT_DIR
python -m spade_jax.convert vgg19 vgg19-dcbb9e9d.pth --out=vgg19.npz
python -m spade_jax.convert inception|deeplabv2|upernet101|upernet101_baseline|drn105 \
    FILE... --out=FILE.npz

Everything is read and checked before anything is written.
"""

from spade_jax.commands import beginning, ending

if __name__ == "__main__":
    beginning.importing()

import argparse
import functools
from collections.abc import Sequence

from spade_jax import recipe
from spade_jax.commands import convert_checkpoint, convert_weights
from spade_jax.commands.command_line import (
    add_output_arguments,
    fail,
    log_what_matters,
    path_argument,
    place_argument,
)
from spade_jax.convert import official
from spade_jax.convert.official_files import OptionsError
from spade_jax.devices import gpu_memory
from spade_jax.files import bucket
from spade_jax.metrics import weights
from spade_jax.progress import phase
from spade_jax.recipe import library


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one conversion; errors of the user's making end in one clear message."""
    options = _parser().parse_args(arguments)
    log_what_matters(quiet=options.quiet, log_json=options.log_json)
    gpu_memory.share()
    try:
        with (
            bucket.telling(),
            phase(
                f"Converting to {options.out}",
                usually="seconds; a minute for large files",
            ),
        ):
            options.run(options)
    except (ValueError, ImportError, OSError) as error:
        fail(error)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.convert",
        description=(__doc__ or "").partition("\n")[0],
    )
    commands = parser.add_subparsers(required=True)

    for kind, repository in official.KINDS.items():
        command = commands.add_parser(kind, help=f"checkpoints of {repository}")
        command.add_argument(
            "source",
            type=place_argument,
            help=f"official checkpoint directory; with --to={kind} a work dir",
        )
        command.add_argument("--out", type=place_argument, required=True, metavar="DIR")
        command.add_argument("--to", choices=["spade_jax", kind], default="spade_jax")
        # As the official programs call it.
        which = "--ckpt_iter" if kind == "oasis" else "--which_epoch"
        command.add_argument(which, dest="which", metavar=which[2:].upper())
        command.add_argument(
            "--default_config",
            type=path_argument,
            default=library.directory() / "default.py",
            metavar="FILE",
            help="where fields come from that the options do not say (%(default)s)",
        )
        add_output_arguments(command)
        command.set_defaults(run=functools.partial(_checkpoint, kind))

    command = commands.add_parser("vgg19", help="torchvision's vgg19-dcbb9e9d.pth")
    command.add_argument("source", type=path_argument, metavar="FILE")
    command.add_argument("--out", type=path_argument, required=True, metavar="FILE.npz")
    add_output_arguments(command)
    command.set_defaults(run=lambda o: convert_weights.from_vgg19(o.source, o.out))

    for network, (_, files, where, _) in weights.PUBLISHED.items():
        name = " ".join(files)
        command = commands.add_parser(network, help=f"{name} of {where}")
        command.add_argument("sources", type=path_argument, nargs="+", metavar="FILE")
        command.add_argument(
            "--out", type=path_argument, required=True, metavar="FILE.npz"
        )
        add_output_arguments(command)
        command.set_defaults(
            run=lambda o, network=network: convert_weights.from_metric_network(
                network, o.sources, o.out
            )
        )
    return parser


def _checkpoint(kind: official.Kind, options: argparse.Namespace) -> None:
    if options.to == kind:
        convert_checkpoint.to_official(
            options.source, options.out, kind=kind, which=options.which
        )
        return
    file = options.default_config
    if not file.is_file():
        raise OptionsError(
            f"--default_config={file} does not exist; without the flag it is"
            " configs/default.py, which comes with the project."
        )
    convert_checkpoint.from_official(
        options.source,
        options.out,
        kind=kind,
        which=options.which,
        defaults=recipe.closed(
            recipe.describe(library.read(file)), looks="a conversion"
        ),
    )


if __name__ == "__main__":
    beginning.imported()
    ending.run(main)
