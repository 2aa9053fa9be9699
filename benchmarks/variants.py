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
from spade_jax.kernels import choose, onednn
from spade_jax.layout import Layout, num_planes
from spade_jax.layout.neighbourhoods import tabulate
from spade_jax.learning.latents import example_noise
from spade_jax.learning.objectives import Objective
from spade_jax.learning.objectives.oasis import fair_coins, oasis_objective
from spade_jax.learning.objectives.spade import spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import NetState, TrainState
from spade_jax.learning.train_step import make_train_step
from spade_jax.nets.unet import WIDTHS as UNET_WIDTHS

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
      norm: of the generator; PyTorch's has the one of SPADE.
      family: "spade", or "oasis", which PyTorch's networks are not.
      dtype: of this project's computations, and of PyTorch's at its best.
      batch: pictures that are made or learned from at once.
    """

    num_classes: int = 183
    size: int = 256
    width: int = 64
    hidden: int = 128
    norm: str = "spectralspadesyncbatch3x3"
    family: str = "spade"
    dtype: str = "float32"
    batch: int = 1

    @property
    def edges(self) -> bool:
        """Whether the networks look at instances, as their recipes have it."""
        return self.family == "spade"

    @property
    def num_planes(self) -> int:
        return num_planes(self.num_classes, edges=self.edges)

    @functools.cached_property
    def networks(self) -> dict[str, Any]:
        """This project's modules."""
        dtype = jnp.dtype(self.dtype)
        if self.family == "oasis":
            return {
                "generator": nets.SPADEGenerator(
                    self.num_classes,
                    width=self.width,
                    upsampling="oasis",
                    hidden=self.hidden,
                    norm=self.norm,
                    latent_size=_NOISE,
                    latent_joins_planes=True,
                    dtype=dtype,
                ),
                "discriminator": nets.UNetDiscriminator(
                    self.num_classes,
                    widths=tuple(self.width * width for width in UNET_WIDTHS),
                    last_width=self.width,
                    dtype=dtype,
                ),
            }
        return {
            "generator": nets.SPADEGenerator(
                self.num_classes,
                width=self.width,
                hidden=self.hidden,
                norm=self.norm,
                dtype=dtype,
            ),
            "discriminator": nets.MultiscaleDiscriminator(
                self.num_classes, width=self.width, dtype=dtype
            ),
            "perceptual": nets.VGG("vgg19", dtype=dtype),
        }

    def variables(self, name: str) -> dict[str, Any]:
        """Random variables of a network: NumPy arrays, the same ones in each call."""
        abstract = abstract_variables(self.networks[name], edges=self.edges)
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
        """Random pictures `[B, H, W, 3]` in [-1, 1], to train on."""
        shape = (self.batch, self.size, self.size, 3)
        return np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)

    def empty_layout(self) -> Layout:
        """For its shape."""
        shape = (self.batch, self.size, self.size)
        return self.seen(Layout(np.zeros(shape, np.int32), np.zeros(shape, bool)))

    def seen(self, layout: Layout) -> Layout:
        """What the networks see of a layout."""
        return layout if self.edges else layout._replace(edge=None)

    def tabulated(self, layout: Layout, *, tight: bool = False) -> Layout:
        """What they see, with its tables."""
        generator = self.networks["generator"]
        return tabulate(
            self.seen(layout),
            generator.scales(*layout.size),
            kernel_size=generator.kernel_size,
            apart=generator.modulates_by_latent,
            tight=tight,
        )

    def given(self, layout: Layout, *, factored: bool, tight: bool) -> Layout:
        """The layout that a program is called with."""
        return self.tabulated(layout, tight=tight) if factored else self.seen(layout)

    def latent(self) -> np.ndarray | None:
        """What the generator takes beside a layout, `[B, N]`."""
        if self.networks["generator"].latent_size is None:
            return None
        shape = (self.batch, _NOISE)
        return np.random.default_rng(1).standard_normal(shape, np.float32)

    def objective(self) -> Objective:
        """What the networks minimise."""
        discriminator = self.networks["discriminator"]
        if self.family == "oasis":
            return oasis_objective(
                discriminator=discriminator,
                num_classes=self.num_classes,
                coins=fair_coins(seed=0, num_classes=self.num_classes),
            )
        return spade_objective(
            discriminator=discriminator, perceptual=self.networks["perceptual"]
        )


_CLADE = {"norm": "spectralcladesyncbatch"}
_OASIS = {"family": "oasis"}
FAMILY: dict[str, dict[str, str]] = {
    "SPADE": {},
    "CLADE": _CLADE,
    "OASIS": _OASIS,
    "OASIS with CLADE": _OASIS | _CLADE,
}
"""What of a problem is theirs, as in the recipes of COCO-Stuff."""

# Of OASIS.
_NOISE = 64


def torch_device() -> torch.device:
    """The device that JAX uses too."""
    return torch.device("cuda" if jax.default_backend() == "gpu" else "cpu")


# --- Inference ----------------------------------------------------------------------


def pytorch_inference(
    problem: Problem, name: str, *, best: bool = False, compiled: bool = False
) -> Variant:
    """PyTorch as the official program runs it, or at its best."""
    synthesise = pytorch_synthesis(problem, best=best, compiled=compiled)

    def prepare(layout: Layout) -> Run:
        def run():
            planes = pytorch_planes(problem, layout, channels_last=best)
            return _wait(synthesise(planes)).permute(0, 2, 3, 1)

        return run

    return Variant(name, prepare)


def pytorch_synthesis(
    problem: Problem, *, best: bool, compiled: bool, mode: str | None = None
) -> Callable[[torch.Tensor], torch.Tensor]:
    """PyTorch's function from planes `[B, P, H, W]` to pictures `[B, 3, H, W]`.

    Args:
      problem: whose generator it is.
      best: without spectral norm, in `channels_last`, and in mixed precision.
      compiled: by `torch.compile`.
      mode: of that.
    """
    generator = problem.pytorch("generator").eval()
    if best:
        generator = pytorch_spade.frozen(generator)
        generator.to(memory_format=torch.channels_last)
    if compiled:
        generator = torch.compile(generator, mode=mode)
    no_gradients = torch.inference_mode if best else torch.no_grad
    mixed = _autocast(problem, best)

    def synthesise(planes):
        with no_gradients(), mixed:
            return generator(planes)

    return synthesise


def our_inference(
    problem: Problem,
    name: str,
    *,
    frozen: bool = True,
    factored: bool = False,
    restyles: bool = False,
) -> Variant:
    """This project, with and without spectral norm, tables and ready modulations."""
    module, variables = our_generator(
        problem, frozen=frozen, platform=jax.default_backend()
    )

    synthesise = synthesise_by(problem.dtype)
    latent = problem.latent()

    def prepare(layout: Layout) -> Run:
        if restyles:
            known = modulations_by(problem.dtype)(
                module, variables, problem.tabulated(layout, tight=True)
            )
            jax.block_until_ready(known)
            return lambda: jax.block_until_ready(
                synthesise(module, variables, problem.seen(layout), known, latent)
            )

        def run():
            seen = problem.given(layout, factored=factored, tight=True)
            return jax.block_until_ready(synthesise(module, variables, seen, z=latent))

        return run

    return Variant(name, prepare, factored=factored, restyles=restyles, frozen=frozen)


def our_generator(problem: Problem, *, frozen: bool, platform: str) -> tuple[Any, Any]:
    """The generator and its variables, on the device, as they are on a platform."""
    module = problem.networks["generator"]
    variables = jax.device_put(problem.variables("generator"))
    if not frozen:
        return module, variables
    transformed = choose.winograd_pays_on(platform, dtype=module.dtype)
    latent = problem.latent()
    taken = (problem.empty_layout(), *(() if latent is None else (latent,)))
    inputs = taken if transformed else ()
    module, variables = nets.frozen(module, variables, inputs=inputs)
    return module, jax.device_put(nets.cast_kernels(variables, module.dtype))


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


@functools.cache
def synthesise_by(dtype: Any) -> Any:
    """A jitted function: pictures `[B, H, W, 3]` of a module of a dtype."""

    def synthesise(module, variables, layout, modulations=None, z=None):
        latent = () if z is None else (z,)
        known = {} if modulations is None else {"modulations": modulations}
        return module.apply(variables, layout, *latent, **known, train=False)

    return _compiled(synthesise, dtype, static_argnums=0)


@functools.cache
def modulations_by(dtype: Any) -> Any:
    """A jitted function: what a module of a dtype reads of a layout."""

    def modulate(module, variables, layout):
        return module.apply(variables, layout, method="modulations")

    return _compiled(modulate, dtype, static_argnums=0)


def _compiled(function, dtype, **options):
    """Jitted as the project does it."""
    found = onednn.compiler_options(jax.default_backend(), dtype)
    return jax.jit(function, compiler_options=found, **options)


# --- A train step -------------------------------------------------------------------


def pytorch_training(
    problem: Problem, name: str, *, best: bool = False, compiled: bool = False
) -> Variant:
    """The official iteration in PyTorch, as the official program runs it or better."""
    trainer = pytorch_trainer(problem, best=best, compiled=compiled)
    image = pytorch_image(problem, channels_last=best)

    def prepare(layout: Layout) -> Run:
        def run():
            planes = pytorch_planes(problem, layout, channels_last=best)
            return _wait(trainer.step(planes, image.to(planes.device)))

        return run

    return Variant(name, prepare)


def pytorch_trainer(
    problem: Problem, *, best: bool, compiled: bool
) -> pytorch_spade.Trainer:
    """PyTorch's networks and optimisers; arguments as of `pytorch_synthesis`."""
    modules = [problem.pytorch(name) for name in problem.networks]
    if best:
        modules = [m.to(memory_format=torch.channels_last) for m in modules]
    if compiled:
        modules = [torch.compile(m) for m in modules]
    return pytorch_spade.Trainer(
        *modules,
        fused=best,
        skip_unused=best,
        autocast=_autocast(problem, best),
    )


def our_training(problem: Problem, name: str, *, factored: bool = False) -> Variant:
    """This project's train step; layouts are tabulated while it waits."""
    state, train_step, features = our_trainer(problem)
    image = problem.image()

    def prepare(layout: Layout) -> Run:
        def run():
            nonlocal state
            seen = problem.given(layout, factored=factored, tight=False)
            state, terms = train_step(state, our_batch(image, seen), features)
            jax.block_until_ready(state)
            return terms

        return run

    return Variant(name, prepare, factored=factored)


def our_trainer(problem: Problem) -> tuple[TrainState, Any, Any]:
    """The first state, the jitted train step, which takes it for good, and constants.

    The step is called with the state, what `our_batch` makes, and the constants.
    """
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
    features = None
    if "perceptual" in problem.networks:
        features = jax.device_put(problem.variables("perceptual")["params"])
    noise = None
    if (latent := problem.latent()) is not None:
        noise = example_noise(seed=0, latent_size=latent.shape[1])
    rate = pytorch_spade.LEARNING_RATE
    train_step = _compiled(
        make_train_step(
            generator=problem.networks["generator"],
            objective=problem.objective(),
            noise=noise,
            optimizers=Optimizers(
                generator=optimizer,
                discriminator=optimizer,
                generator_learning_rate=lambda _: rate / 2,
                discriminator_learning_rate=lambda _: rate * 2,
            ),
        ),
        problem.dtype,
        donate_argnums=0,
    )
    return state, train_step, features


def our_batch(image: np.ndarray, layout: Layout) -> dict[str, Any]:
    """A batch of pictures `[B, H, W, 3]` and their layout, with its tables if any."""
    batch = {"image": image, "label": layout.label}
    parts = {"edge": layout.edge, "tables": layout.tables}
    return batch | {name: part for name, part in parts.items() if part is not None}


TRAINING: dict[str, Callable[[Problem, str], Variant]] = {
    "PyTorch, official settings": pytorch_training,
    "PyTorch, channels_last": functools.partial(pytorch_training, best=True),
    "PyTorch, compiled": functools.partial(pytorch_training, best=True, compiled=True),
    "spade_jax, dense": our_training,
    "spade_jax, factored": functools.partial(our_training, factored=True),
}


# --- Shared parts -------------------------------------------------------------------


def pytorch_image(problem: Problem, *, channels_last: bool) -> torch.Tensor:
    """The pictures to train on, `[B, 3, H, W]`, in main memory."""
    image = torch.from_numpy(problem.image()).permute(0, 3, 1, 2)
    return image.contiguous(memory_format=_memory_format(channels_last))


def pytorch_planes(
    problem: Problem, layout: Layout, *, channels_last: bool
) -> torch.Tensor:
    """The planes `[B, P, H, W]` of a layout, on the device."""
    device = torch_device()
    return pytorch_spade.planes(
        torch.from_numpy(layout.label).to(device).long(),
        torch.from_numpy(layout.edge).to(device),
        problem.num_classes,
        memory_format=_memory_format(channels_last),
    )


def _memory_format(channels_last: bool) -> torch.memory_format:
    return torch.channels_last if channels_last else torch.contiguous_format


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
