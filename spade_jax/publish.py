"""A trained model without what only training needs, to pass on.

    python -m spade_jax.publish WORKDIR --out=DIR

The discriminator, the optimisers' states and, with averaged weights, the trained ones
stay behind, and parameters become half as long: a tenth of the size is left. DIR is a
work dir with one checkpoint, for everything but training.
"""

import argparse
import functools
import os
import pathlib
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from spade_jax.evaluation.evaluate import renewed_statistics
from spade_jax.learning.state import TrainState
from spade_jax.models import restore
from spade_jax.workdir import checkpoint

_DTYPES = ("float16", "float32")


def main(arguments: Sequence[str] | None = None) -> None:
    """Publishes one model; errors of the user's making end in one clear message."""
    parser = argparse.ArgumentParser(
        prog="python -m spade_jax.publish", description=__doc__.splitlines()[0]
    )
    parser.add_argument("path", help="a work dir, or WORKDIR/checkpoints/STEP")
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument(
        "--dtype",
        choices=_DTYPES,
        default=_DTYPES[0],
        help="of the parameters; float32 keeps every bit (%(default)s)",
    )
    parser.add_argument(
        "--data_root",
        default="",
        metavar="DIR",
        help="of the training data, which averaged weights need, in place of the"
        " checkpoint's config.data.root",
    )
    options = parser.parse_args(arguments)
    try:
        publish(
            options.path,
            options.out,
            dtype=options.dtype,
            data_root=options.data_root,
        )
    except ValueError as error:
        sys.exit(f"{type(error).__name__}: {error}\nNothing was written.")


def publish(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    dtype: str = "float16",
    data_root: str = "",
) -> None:
    """Writes what synthesis needs of a checkpoint.

    Averaged weights take the place of the trained ones, with batch statistics of their
    own (see `renewed_statistics`), so their training data has to be at hand.

    Args:
      path: a work dir, for its newest checkpoint, or one of its checkpoints.
      out: directory to make.
      dtype: of the stored parameters, "float16" or "float32"; they are float32 again
        when they are read. Statistics always are float32.
      data_root: of the training data; empty: that of the checkpoint's config.

    Raises:
      CheckpointError: there is no checkpoint, or `out` holds one.
      DataError: the training data is missing.
      ValueError: a parameter is too large for `dtype`.
    """
    if checkpoint.has_checkpoint(out):
        raise checkpoint.CheckpointError(
            f"{out} already holds a checkpoint. Give another directory to --out."
        )
    workdir, step = checkpoint.locate(pathlib.Path(path).expanduser())
    config, state = restore.read_state(workdir, step=step)
    if state.ema is not None:
        if data_root:
            config.data.root = data_root
        renew = functools.partial(renewed_statistics, config)
        variables = renew(state.generator_variables, state.encoder_variables)
        params = variables.pop("params")
        generator = state.generator.replace(params=params, stats=variables)
        state = state.replace(generator=generator, ema=None)
        config.ema_decay = 0.0
    state = _shortened(restore.without_training(state), jnp.dtype(dtype))
    # Where it was on the machine that trained is nobody else's business.
    config.data.update(root="", manual_dir="")
    config.loss.vgg_file = ""
    with checkpoint.Checkpoints(out) as checkpoints:
        checkpoints.save(state, config=config)
        checkpoints.wait()
    size = sum(p.stat().st_size for p in pathlib.Path(out).rglob("*") if p.is_file())
    print(f"{out}: step {int(state.step)}, {size / 1e6:.1f} MB")


def _shortened(state: TrainState, dtype: jnp.dtype) -> TrainState:
    """The state with parameters of another length."""

    def shorten(path, x):
        short = x.astype(dtype)
        if not jnp.isfinite(short).all():
            raise ValueError(
                f"Parameter {jax.tree_util.keystr(path)} reaches"
                f" {float(abs(x).max()):.3g}, which {dtype.name} does not hold. Give"
                " --dtype=float32."
            )
        return short

    def of_net(net):
        if net is None:
            return None
        return net.replace(params=jax.tree.map_with_path(shorten, net.params))

    return state.replace(
        generator=of_net(state.generator), encoder=of_net(state.encoder)
    )


if __name__ == "__main__":
    main()
