"""What the benchmark times: the same networks, computed in different ways.

Every variant starts from a layout of class ids on the host and ends with its result on
the device, so that one-hot pictures, tables and transfers are in its time.
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from flax.traverse_util import flatten_dict, unflatten_dict

from benchmarks import pytorch_spade
from spade_jax import nets
from spade_jax.convert import abstract_variables, to_official
from spade_jax.kernels import choose
from spade_jax.layout import Layout, num_planes
from spade_jax.layout.neighbourhoods import tabulate
from spade_jax.learning.objectives.spade import spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import NetState, TrainState
from spade_jax.learning.train_step import make_train_step

Run = Callable[[], Any]
"""Computes once and waits: pictures `[1, H, W, 3]`, or terms of the objective."""


class Variant(NamedTuple):
    """One way to compute.

    Attributes:
      name: in tables.
      prepare: from a layout to what is timed. Loading weights and, for restyling,
        modulations is done by then; nothing else.
      factored: whether it computes modulations at distinct neighbourhoods only.
      restyles: whether it does not compute modulations at all.
      frozen: whether it computes with what `spade_jax.nets.frozen` gives.
    """

    name: str
    prepare: Callable[[Layout], Run]
    factored: bool = False
    restyles: bool = False
    frozen: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Problem:
    """What is computed; by default the recipe of COCO-Stuff.

    Attributes:
      num_classes: class ids; one plane of edges comes on top.
      size: height and width of pictures.
      width: of the generator's last block and the discriminator's first layer.
      hidden: of SPADE.
      dtype: of this project's computations, and of PyTorch's at its best.
    """

    num_classes: int = 183
    size: int = 256
    width: int = 64
    hidden: int = 128
    dtype: str = "float32"

    @property
    def num_planes(self) -> int:
        return num_planes(self.num_classes, edges=True)

    @functools.cached_property
    def networks(self) -> dict[str, Any]:
        """This project's modules."""
        dtype = jnp.dtype(self.dtype)
        return {
            "generator": nets.SPADEGenerator(
                self.num_classes, width=self.width, hidden=self.hidden, dtype=dtype
            ),
            "discriminator": nets.MultiscaleDiscriminator(
                self.num_classes, width=self.width, dtype=dtype
            ),
            "perceptual": nets.VGG("vgg19", dtype=dtype),
        }

    def variables(self, name: str) -> dict[str, Any]:
        """Random variables of a network: NumPy arrays, the same ones in each call."""
        abstract = abstract_variables(self.networks[name], edges=True)
        return _random_variables(abstract)

    def pytorch(self, name: str) -> torch.nn.Module:
        """The same network in PyTorch, with the same weights."""
        module = {
            "generator": lambda: pytorch_spade.SPADEGenerator(
                self.num_planes, width=self.width, hidden=self.hidden
            ),
            "discriminator": lambda: pytorch_spade.MultiscaleDiscriminator(
                self.num_planes, width=self.width
            ),
            "perceptual": pytorch_spade.VGG19,
        }[name]()
        official = to_official(self.networks[name], self.variables(name))
        module.load_state_dict({k: torch.from_numpy(v) for k, v in official.items()})
        return module.to(torch_device())

    def image(self) -> np.ndarray:
        """A random picture `[1, H, W, 3]` in [-1, 1], to train on."""
        shape = (1, self.size, self.size, 3)
        return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def empty_layout(self) -> Layout:
        """For its shape."""
        shape = (1, self.size, self.size)
        return Layout(np.zeros(shape, np.int32), np.zeros(shape, bool))

    def tabulated(self, layout: Layout, *, tight: bool = False) -> Layout:
        """The layout with its tables."""
        generator = self.networks["generator"]
        return tabulate(
            layout,
            generator.scales(*layout.size),
            kernel_size=generator.kernel_size,
            tight=tight,
        )


def torch_device() -> torch.device:
    """The device that JAX uses too."""
    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


# --- Inference ----------------------------------------------------------------------


def pytorch_inference(
    problem: Problem, name: str, *, best: bool = False, compiled: bool = False
) -> Variant:
    """PyTorch as the official program runs it, or at its best."""
    generator = problem.pytorch("generator").eval()
    if best:
        generator = pytorch_spade.frozen(generator)
        generator.to(memory_format=torch.channels_last)
    if compiled:
        generator = torch.compile(generator)
    no_gradients = torch.inference_mode if best else torch.no_grad
    mixed = _autocast(problem, best)

    def prepare(layout: Layout) -> Run:
        def run():
            with no_gradients(), mixed:
                image = generator(_pytorch_planes(problem, layout, channels_last=best))
            return _wait(image).permute(0, 2, 3, 1)

        return run

    return Variant(name, prepare)


def our_inference(
    problem: Problem,
    name: str,
    *,
    frozen: bool = True,
    factored: bool = False,
    restyles: bool = False,
) -> Variant:
    """This project, with and without spectral norm, tables and ready modulations."""
    module = problem.networks["generator"]
    variables = jax.device_put(problem.variables("generator"))
    if frozen:
        transformed = choose.winograd_pays_on(jax.default_backend())
        inputs = (problem.empty_layout(),) if transformed else ()
        module, variables = nets.frozen(module, variables, inputs=inputs)

    def prepare(layout: Layout) -> Run:
        if restyles:
            known = _modulations(
                module, variables, problem.tabulated(layout, tight=True)
            )
            jax.block_until_ready(known)
            return lambda: jax.block_until_ready(
                _synthesise(module, variables, layout, known)
            )

        def run():
            seen = problem.tabulated(layout, tight=True) if factored else layout
            return jax.block_until_ready(_synthesise(module, variables, seen))

        return run

    return Variant(name, prepare, factored=factored, restyles=restyles, frozen=frozen)


INFERENCE: dict[str, Callable[[Problem, str], Variant]] = {
    "PyTorch, official settings": pytorch_inference,
    "PyTorch, channels_last": functools.partial(pytorch_inference, best=True),
    "PyTorch, compiled": functools.partial(pytorch_inference, best=True, compiled=True),
    "spade_jax, dense": functools.partial(our_inference, frozen=False),
    "spade_jax, dense, frozen": our_inference,
    "spade_jax, factored, frozen": functools.partial(our_inference, factored=True),
    "spade_jax, restyling": functools.partial(
        our_inference, factored=True, restyles=True
    ),
}


@functools.partial(jax.jit, static_argnums=0)
def _synthesise(module, variables, layout, modulations=None):
    return module.apply(variables, layout, modulations=modulations, train=False)


@functools.partial(jax.jit, static_argnums=0)
def _modulations(module, variables, layout):
    return module.apply(variables, layout, method="modulations")


# --- A train step -------------------------------------------------------------------


def pytorch_training(
    problem: Problem, name: str, *, best: bool = False, compiled: bool = False
) -> Variant:
    """The official iteration in PyTorch, as the official program runs it or better."""
    modules = [problem.pytorch(name) for name in problem.networks]
    image = torch.from_numpy(problem.image()).permute(0, 3, 1, 2).contiguous()
    if best:
        modules = [m.to(memory_format=torch.channels_last) for m in modules]
        image = image.contiguous(memory_format=torch.channels_last)
    if compiled:
        modules = [torch.compile(m) for m in modules]
    trainer = pytorch_spade.Trainer(
        *modules,
        fused=best,
        skip_unused=best,
        autocast=_autocast(problem, best),
    )

    def prepare(layout: Layout) -> Run:
        def run():
            planes = _pytorch_planes(problem, layout, channels_last=best)
            return _wait(trainer.step(planes, image.to(planes.device)))

        return run

    return Variant(name, prepare)


def our_training(problem: Problem, name: str, *, factored: bool = False) -> Variant:
    """This project's train step; layouts are tabulated while it waits."""
    optimizer = optax.scale_by_adam(b1=0.0, b2=0.9, eps=1e-8)

    def net(network):
        variables = jax.device_put(problem.variables(network))
        params = variables.pop("params")
        return NetState(params, variables, optimizer.init(params))

    state = TrainState(
        step=jnp.zeros((), jnp.int32),
        generator=net("generator"),
        discriminator=net("discriminator"),
    )
    features = jax.device_put(problem.variables("perceptual")["params"])
    rate = pytorch_spade.LEARNING_RATE
    train_step = jax.jit(
        make_train_step(
            generator=problem.networks["generator"],
            objective=spade_objective(
                discriminator=problem.networks["discriminator"],
                perceptual=problem.networks["perceptual"],
            ),
            optimizers=Optimizers(
                generator=optimizer,
                discriminator=optimizer,
                generator_learning_rate=lambda _: rate / 2,
                discriminator_learning_rate=lambda _: rate * 2,
            ),
        ),
        donate_argnums=0,
    )
    image = problem.image()

    def prepare(layout: Layout) -> Run:
        def run():
            nonlocal state
            seen = problem.tabulated(layout, tight=False) if factored else layout
            batch = {"image": image, "label": seen.label, "edge": seen.edge}
            if factored:
                batch["tables"] = seen.tables
            state, terms = train_step(state, batch, features)
            jax.block_until_ready(state)
            return terms

        return run

    return Variant(name, prepare, factored=factored)


TRAINING: dict[str, Callable[[Problem, str], Variant]] = {
    "PyTorch, official settings": pytorch_training,
    "PyTorch, channels_last": functools.partial(pytorch_training, best=True),
    "PyTorch, compiled": functools.partial(pytorch_training, best=True, compiled=True),
    "spade_jax, dense": our_training,
    "spade_jax, factored": functools.partial(our_training, factored=True),
}


# --- Shared parts -------------------------------------------------------------------


def _pytorch_planes(
    problem: Problem, layout: Layout, *, channels_last: bool
) -> torch.Tensor:
    device = torch_device()
    return pytorch_spade.planes(
        torch.from_numpy(layout.label).to(device).long(),
        torch.from_numpy(layout.edge).to(device),
        problem.num_classes,
        memory_format=torch.channels_last if channels_last else torch.contiguous_format,
    )


def _autocast(problem: Problem, best: bool) -> contextlib.AbstractContextManager:
    if not best or problem.dtype == "float32":
        return contextlib.nullcontext()
    return torch.autocast(torch_device().type, getattr(torch, problem.dtype))


def _wait(result):
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return result


def _random_variables(abstract: dict[str, Any]) -> dict[str, Any]:
    """Draws variables that keep signals at about their size.

    By NumPy, as JAX takes a minute to draw as many numbers. Spectral norm's vectors are
    those of a network that has been trained for a while: random ones would make its
    divisor any small number.
    """
    random = np.random.default_rng(0)
    flat = {}
    for path, leaf in sorted(flatten_dict(abstract).items()):
        values = random.standard_normal(leaf.shape, np.float32)
        match path[-1]:
            case "kernel":
                values /= np.sqrt(np.prod(leaf.shape[:-1]), dtype=np.float32)
            case "bias" | "mean":
                values *= np.float32(0.1)
            case "var":
                values = np.exp(np.float32(0.1) * values)
            case "count":
                values = np.zeros(leaf.shape)
        flat[path] = values.astype(leaf.dtype)
    for path in [path for path in flat if path[-1] == "u"]:
        kernel = flat["params", *path[1:-2], "kernel"]
        matrix, u = kernel.reshape(-1, kernel.shape[-1]), flat[path]
        for _ in range(3):
            v = _unit(matrix @ u)
            u = _unit(v @ matrix)
        flat[path], flat[*path[:-1], "v"] = u, v
    return unflatten_dict(flat)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)
