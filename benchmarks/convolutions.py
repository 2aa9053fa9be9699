"""Rates of convolutions and of their gradients: XLA's own, and this project's.

    python benchmarks/convolutions.py --out=convolutions.json

Of convolutions of the networks of `configs/coco.py` with one picture of 256x256, in
float32 and bfloat16, as `spade_jax.kernels` would compile them on this machine. The
variants of a convolution take turns, of two calls, the second of which is counted. What
is chosen by these figures is in `spade_jax.kernels.choose`.

Keys of the JSON file, besides those of `benchmarks.machine`:

    load                load average before and after
    onednn              whether bfloat16 is computed by oneDNN
    rows                by dtype and convolution ("256x256, 128 -> 64, 3x3"):
      flops             of the convolution, and of each of its gradients
      GFLOP/s           by "forward", "gradient of the kernel", "gradient of the input"
                        and variant: `median` and, in order, all `rounds`
"""

import argparse
import functools
import json
import os
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.machine import machine
from spade_jax.kernels import onednn, winograd
from spade_jax.kernels.convolution import conv


class Convolution(NamedTuple):
    """One of the networks': square pictures, a square kernel, zeros on each side."""

    pixels: int
    in_features: int
    features: int
    kernel: int = 3
    strides: int = 1
    padding: int = 1
    batch: int = 1

    @property
    def name(self) -> str:
        batch = f"{self.batch} x " if self.batch > 1 else ""
        strides = f", stride {self.strides}" if self.strides > 1 else ""
        return (
            f"{batch}{self.pixels}x{self.pixels}, {self.in_features} ->"
            f" {self.features}, {self.kernel}x{self.kernel}{strides}"
        )

    @property
    def outputs(self) -> int:
        return (self.pixels + 2 * self.padding - self.kernel) // self.strides + 1

    @property
    def flops(self) -> int:
        products = self.kernel**2 * self.in_features * self.features
        return 2 * self.batch * self.outputs**2 * products


# Generator, discriminator (of a fake and a real picture) and its first layer's planes.
CONVOLUTIONS = (
    Convolution(256, 128, 64),
    Convolution(256, 64, 64),
    Convolution(256, 64, 3),
    Convolution(128, 256, 128),
    Convolution(64, 512, 256),
    Convolution(32, 1024, 512),
    Convolution(256, 184, 64, kernel=4, strides=2, padding=2),
    Convolution(129, 64, 128, kernel=4, strides=2, padding=2, batch=2),
    Convolution(65, 128, 256, kernel=4, strides=2, padding=2, batch=2),
    Convolution(33, 256, 512, kernel=4, padding=2, batch=2),
)


def by_library(x: jax.Array, kernel: jax.Array, *, of: Convolution) -> jax.Array:
    """XLA's convolution."""
    return jax.lax.conv_general_dilated(
        x,
        kernel.astype(x.dtype),
        (of.strides, of.strides),
        [(of.padding, of.padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def by_us(x: jax.Array, kernel: jax.Array, *, of: Convolution) -> jax.Array:
    """This project's."""
    return conv(x, kernel, strides=of.strides, padding=of.padding)


def programs(of: Convolution, dtype: str) -> Iterator[tuple[str, str, Callable, tuple]]:
    """What is timed, by kind and variant: compiled functions and their arguments."""
    random = np.random.default_rng(0)

    def normal(*shape):
        return jnp.asarray(random.normal(size=shape), dtype)

    x = normal(of.batch, of.pixels, of.pixels, of.in_features)
    kernel = normal(of.kernel, of.kernel, of.in_features, of.features)
    gradient = normal(of.batch, of.outputs, of.outputs, of.features)
    options = onednn.compiler_options(jax.default_backend(), dtype)
    compiled = functools.partial(jax.jit, compiler_options=options)
    for variant, convolve in {"XLA": by_library, "spade_jax": by_us}.items():
        convolve = functools.partial(convolve, of=of)
        yield "forward", variant, compiled(convolve), (x, kernel)

        def of_kernel(x, kernel, gradient, convolve=convolve):
            return jax.vjp(lambda kernel: convolve(x, kernel), kernel)[1](gradient)[0]

        def of_input(x, kernel, gradient, convolve=convolve):
            return jax.vjp(lambda x: convolve(x, kernel), x)[1](gradient)[0]

        given = (x, kernel, gradient)
        yield "gradient of the kernel", variant, compiled(of_kernel), given
        yield "gradient of the input", variant, compiled(of_input), given
    if (of.kernel, of.strides, of.padding) == (3, 1, 1):
        transformed = winograd.transform(kernel.astype(jnp.float32))
        yield "forward", "Winograd", compiled(winograd.conv), (x, transformed)


def measure(of: Convolution, dtype: str, *, rounds: int) -> dict[str, Any]:
    """Rates of a convolution and of its gradients, by kind and variant.

    Args:
      of: a convolution.
      dtype: "float32" or "bfloat16".
      rounds: turns of each.
    """
    timed = list(programs(of, dtype))
    found: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for kind, variant, program, given in timed:
            # The first call of a turn finds its memory, and the very first compiles.
            for _ in range(2):
                start = time.perf_counter()
                jax.block_until_ready(program(*given))
                seconds = time.perf_counter() - start
            rates = found.setdefault((kind, variant), [])
            rates.append(of.flops / seconds / 1e9)
    by_kind: dict[str, Any] = {}
    for (kind, variant), rates in found.items():
        summary = {"median": statistics.median(rates), "rounds": rates}
        by_kind.setdefault(kind, {})[variant] = summary
    return {"flops": of.flops, "GFLOP/s": by_kind}


def main(options: argparse.Namespace) -> None:
    load = [os.getloadavg()[0]]
    rows: dict[str, Any] = {}
    for dtype in options.dtypes.split(","):
        for of in CONVOLUTIONS:
            row = measure(of, dtype, rounds=options.rounds)
            rows.setdefault(dtype, {})[of.name] = row
            cells = "; ".join(
                f"{kind}: "
                + ", ".join(f"{v} {x['median']:.0f}" for v, x in variants.items())
                for kind, variants in row["GFLOP/s"].items()
            )
            print(f"{dtype}, {of.name}: {cells}", flush=True)
    report = machine(["jax", "jaxlib", "numpy"])
    report |= {
        "load": [*load, os.getloadavg()[0]],
        "onednn": onednn.serves(),
        "rows": rows,
    }
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtypes", default="float32,bfloat16", help="to measure in")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each")
    parser.add_argument("--out", help="JSON file to write everything to")
    main(parser.parse_args())
