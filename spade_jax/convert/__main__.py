r"""Converts official checkpoints, and other published weights, on the command line.

python -m spade_jax.convert nvlabs CHECKPOINT_DIR --out=WORKDIR
python -m spade_jax.convert nvlabs WORKDIR --to=nvlabs --out=CHECKPOINT_DIR
python -m spade_jax.convert vgg19 vgg19-dcbb9e9d.pth --out=vgg19.npz
python -m spade_jax.convert inception|deeplabv2|upernet101|upernet101_baseline|drn105 \
    FILE... --out=FILE.npz

Everything is read and checked before anything is written.
"""

import argparse
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import ml_collections
import optax

from spade_jax import build, nets
from spade_jax.convert import (
    mapping,
    metric_networks,
    nvlabs,
    nvlabs_options,
    torch_file,
)
from spade_jax.devices import mesh
from spade_jax.learning import perceptual
from spade_jax.learning.state import NetState, TrainState, create_state
from spade_jax.metrics import weights
from spade_jax.models import restore
from spade_jax.workdir import checkpoint


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs one conversion; errors of the user's making end in one clear message."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ValueError, ImportError) as error:
        sys.exit(f"{type(error).__name__}: {error}\nNothing was written.")


def from_nvlabs(
    directory: pathlib.Path,
    workdir: pathlib.Path,
    *,
    which_epoch: str = "latest",
    default_config: ml_collections.ConfigDict,
) -> None:
    """Writes a work dir with an official checkpoint as its only one.

    The optimisers start anew at iteration 0, as the official files do not hold them,
    and so does a discriminator whose file is not there.

    Raises:
      ValueError: the work dir holds a checkpoint; or see `nvlabs.read_checkpoint`.
      ImportError: PyTorch is not installed.
    """
    if checkpoint.has_checkpoint(workdir):
        raise ValueError(
            f"{workdir} already holds a checkpoint. Give another directory to --out."
        )
    config, variables = nvlabs.read_checkpoint(
        directory, which_epoch=which_epoch, default_config=default_config
    )
    state = _fresh_state(config, variables)
    with checkpoint.Checkpoints(workdir) as checkpoints:
        checkpoints.save(state, config=config)
        checkpoints.wait()
    _tell(variables, workdir)
    if variables["discriminator"] is None:
        print("  discriminator: no file; a new one, for training on")


def to_nvlabs(
    workdir: pathlib.Path, directory: pathlib.Path, *, which_epoch: str = "latest"
) -> None:
    """Writes the newest checkpoint of a work dir for the official code.

    The generator gets its averaged weights where there are any, as in prediction.

    Raises:
      ValueError: the directory holds a checkpoint already; there is none in the work
        dir; or see `nvlabs.write_checkpoint`.
      ImportError: PyTorch is not installed.
    """
    if (directory / "opt.txt").exists():
        raise ValueError(
            f"{directory} already holds an opt.txt. Give another directory to --out."
        )
    with checkpoint.open_existing(workdir) as checkpoints:
        config = checkpoints.config()
        abstract = restore.abstract_state(config, build.networks(config))
        if checkpoints.is_published():
            abstract = restore.without_training(abstract)
        sharding = mesh.replicated(mesh.make_mesh())
        state = checkpoints.restore(checkpoint.abstract(abstract, sharding))
    discriminator = state.discriminator
    variables = {
        "generator": state.generator_variables,
        "discriminator": None if discriminator is None else discriminator.variables,
        "encoder": state.encoder_variables,
    }
    nvlabs.write_checkpoint(
        directory, config=config, variables=variables, which_epoch=which_epoch
    )
    _tell(variables, directory)


def from_vgg19(file: pathlib.Path, out: pathlib.Path) -> None:
    """Writes torchvision's VGG19 weights for the perceptual loss.

    Raises:
      ValueError: the file is damaged, refused, or of another network.
      ImportError: PyTorch is not installed.
    """
    module = nets.VGG("vgg19")
    variables = mapping.from_official(
        module,
        mapping.abstract_variables(module),
        torch_file.read(file),
        name=str(file),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    perceptual.save_vgg19(out, variables["params"])
    print(f"Wrote {out}. Use it with --config.loss.vgg_file={out}")


def from_metric_network(
    network: str, files: Sequence[pathlib.Path], out: pathlib.Path
) -> None:
    """Writes the weights of a network that scores syntheses.

    Raises:
      ValueError: a file is missing, damaged or refused; or see
        `metric_networks.read_files`.
      ImportError: PyTorch is not installed.
    """
    found, contents = metric_networks.read_files(network, files)
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out, found)
    print(
        f"Wrote {out}: {network}, {mapping.num_parameters(found.variables):,} numbers"
    )
    for (name, digest), content in zip(found.sources, contents, strict=True):
        off = f"; took off {' and '.join(content.wrappers)}" if content.wrappers else ""
        print(f"  {name}: SHA-256 {digest}{off}")
    match found.published:
        case True:
            print("  the published weights, by the hash in their names")
        case False:
            begins = " and ".join(weights.PUBLISHED[network].sha256)
            print(f"  NOT the published weights, whose SHA-256 begins with {begins}")
        case None:
            print("  the published names have no hash to tell whether it is those")


def _fresh_state(
    config: ml_collections.ConfigDict, variables: nvlabs.Networks
) -> TrainState:
    networks = build.networks(config)
    optimizers = build.optimizers(config, steps_per_epoch=1)

    def net(
        variables: mapping.Variables, optimizer: optax.GradientTransformation
    ) -> NetState:
        stats = jax.tree.map(jnp.asarray, variables)
        params = stats.pop("params")
        return NetState(params, stats, optimizer.init(params))

    @jax.jit
    def new_discriminator():
        return create_state(
            jax.random.key(config.seed),
            networks=networks,
            optimizers=optimizers,
            layout=build.example_layout(config),
        ).discriminator

    encoder = variables["encoder"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=net(variables["generator"], optimizers.generator),
        discriminator=new_discriminator()
        if variables["discriminator"] is None
        else net(variables["discriminator"], optimizers.discriminator),
        encoder=None if encoder is None else net(encoder, optimizers.generator),
    )


def _tell(variables: nvlabs.Networks, where: pathlib.Path) -> None:
    print(f"Wrote {where}:")
    for name, content in variables.items():
        if content is not None:
            print(f"  {name}: {mapping.num_parameters(content):,} parameters")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.convert", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(required=True)

    command = commands.add_parser("nvlabs", help="checkpoints of NVlabs/SPADE")
    command.add_argument(
        "source",
        type=pathlib.Path,
        help="official checkpoint directory; with --to=nvlabs a work dir",
    )
    command.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    command.add_argument("--to", choices=["spade_jax", "nvlabs"], default="spade_jax")
    command.add_argument("--which_epoch", default="latest", metavar="EPOCH")
    command.add_argument(
        "--default_config",
        type=pathlib.Path,
        default=nvlabs_options.DEFAULT_CONFIG,
        metavar="FILE",
        help="where fields come from that the options do not say (%(default)s)",
    )
    command.set_defaults(run=_nvlabs)

    command = commands.add_parser("vgg19", help="torchvision's vgg19-dcbb9e9d.pth")
    command.add_argument("source", type=pathlib.Path, metavar="FILE")
    command.add_argument("--out", type=pathlib.Path, required=True, metavar="FILE.npz")
    command.set_defaults(run=lambda o: from_vgg19(o.source, o.out))

    for network, (_, files, where, _) in weights.PUBLISHED.items():
        name = " ".join(files)
        command = commands.add_parser(network, help=f"{name} of {where}")
        command.add_argument("sources", type=pathlib.Path, nargs="+", metavar="FILE")
        command.add_argument(
            "--out", type=pathlib.Path, required=True, metavar="FILE.npz"
        )
        command.set_defaults(
            run=lambda o, network=network: from_metric_network(
                network, o.sources, o.out
            )
        )
    return parser


def _nvlabs(options: argparse.Namespace) -> None:
    if options.to == "nvlabs":
        to_nvlabs(options.source, options.out, which_epoch=options.which_epoch)
        return
    from_nvlabs(
        options.source,
        options.out,
        which_epoch=options.which_epoch,
        default_config=nvlabs_options.read_default_config(options.default_config),
    )


if __name__ == "__main__":
    main()
