"""Whole training runs of the official trainer, through the real train step.

In float32 a run is chaotic: Adam with beta1 = 0 takes its first steps by the signs of
the gradients, rounding noise included. So iterations are compared in float64, and in
float32 iteration 0 only.
"""

import dataclasses

import jax
import numpy as np
import optax
import pytest

from spade_jax import assemble, nets
from spade_jax.convert import to_official
from spade_jax.layout.neighbourhoods import tabulate_batch
from spade_jax.learning.batch import layout_of
from spade_jax.learning.objectives.spade import LossWeights, spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.state import NetState, TrainState
from spade_jax.learning.train_step import make_train_step
from spade_jax.nets.encoder import sample_latent

LETTERS = {"G": "generator", "D": "discriminator", "E": "encoder"}
TERMS = {
    "GAN": "gan",
    "GAN_Feat": "feature_matching",
    "VGG": "perceptual",
    "KLD": "kld",
    "D_Fake": "d_fake",
    "D_real": "d_real",
}

# Compiling takes longer than running, but for several iterations in float64.
COMPILER_OPTIONS = {
    "compiled quickly": {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
    },
    "run quickly": {"xla_backend_optimization_level": 1},
}


def recording(optimizer):
    """`optimizer` with the raw gradient of its last update in front of its state."""

    def init(params):
        zeros = jax.tree.map(np.zeros_like, params)
        return zeros, optimizer.init(params)

    def update(gradients, state, params):
        updates, inner = optimizer.update(gradients, state[1], params)
        return updates, (gradients, inner)

    return optax.GradientTransformation(init, update)


class Run:
    """A golden run, ready to be repeated here."""

    def __init__(
        self,
        file,
        recipe,
        networks,
        *,
        factored,
        options,
        perceptual,
        variables,
        nhwc,
        layout,
    ):
        self.factored = factored
        self.file, self.networks = file, networks
        self.dtype = networks.generator.dtype
        self.letters = [x for x in LETTERS if getattr(networks, LETTERS[x])]
        self.perceptual = perceptual
        self.nhwc, self.layout = nhwc, layout
        self.edges = recipe.data.instances
        # `opt` has the parser's defaults, which without TTUR are not what was used.
        beta1, beta2 = file.meta["betas"]
        optimizers = assemble.optimizers(
            dataclasses.replace(recipe.optimizer, beta1=beta1, beta2=beta2),
            recipe.schedule,
            steps_per_epoch=file.meta["iters"],
        )
        assert optimizers.generator_learning_rate(0) == np.float32(file.meta["lr_G"])
        assert optimizers.discriminator_learning_rate(0) == np.float32(
            file.meta["lr_D"]
        )
        adam = recording(optimizers.generator)
        states = {}
        for letter in self.letters:
            v = variables(
                self.module(letter),
                file.part(letter),
                edges=self.edges,
                dtype=self.dtype,
            )
            params = v.pop("params")
            states[LETTERS[letter]] = NetState(params, v, adam.init(params))
        self.state = TrainState(step=np.int32(0), **states)
        noises = {
            purpose: np.stack(
                [file.arrays[f"iter{i}/noise_{x}"] for i in range(file.meta["iters"])]
            ).astype(self.dtype)
            for x, purpose in (("G", "generator"), ("D", "discriminator"))
            if "iter0/noise_G" in file.arrays
        }
        noise = None
        if noises:

            def noise(step, purpose, batch_size):
                del batch_size
                return jax.numpy.asarray(noises[purpose])[step]

        self.noise = noise
        loss = recipe.loss
        train_step = make_train_step(
            generator=networks.generator,
            encoder=networks.encoder,
            objective=spade_objective(
                discriminator=networks.discriminator,
                gan_loss=loss.gan,
                weights=LossWeights(loss.feature_matching, loss.perceptual, loss.kld),
                perceptual=perceptual and nets.VGG("vgg19", dtype=self.dtype),
            ),
            optimizers=Optimizers(
                generator=adam,
                discriminator=adam,
                # The schedules themselves give float32.
                generator_learning_rate=lambda _: file.meta["lr_G"],
                discriminator_learning_rate=lambda _: file.meta["lr_D"],
            ),
            noise=noise,
        )
        # In one program, which has the picture from its train step: compiling the
        # generator once more would take long.
        self.iterate = jax.jit(
            lambda state, batch, perceptual: (
                self._generate(state, batch),
                *train_step(state, batch, perceptual),
            ),
            compiler_options=options,
        )

    def module(self, letter):
        return getattr(self.networks, LETTERS[letter])

    def batch(self, i):
        arrays = self.file.part(f"iter{i}")
        scene = self.layout(arrays["label"], arrays.get("instance"))
        batch = {"label": scene.label}
        if self.edges:
            batch["edge"] = scene.edge
        if self.factored:
            generator = self.networks.generator
            batch = tabulate_batch(
                batch,
                sizes=generator.scales(*scene.size),
                kernel_size=generator.kernel_size,
            )
        return batch | {"image": self.nhwc(arrays["image_u8"]).astype(self.dtype)}

    def _generate(self, state, batch):
        """The picture of the coming generator update, in training mode."""

        def forward(net, module, *inputs):
            variables = {"params": net.params, **net.stats}
            collections = list(net.stats)
            return module.apply(variables, *inputs, train=True, mutable=collections)[0]

        inputs = ()
        if self.noise is not None:
            latent = forward(state.encoder, self.networks.encoder, batch["image"])
            noise = self.noise(state.step, "generator", len(batch["label"]))
            inputs = (sample_latent(*latent, noise),)
        layout = layout_of(batch)
        return forward(state.generator, self.networks.generator, layout, *inputs)

    def advance(self, i):
        """Makes iteration i; returns the generated picture and the losses."""
        batch = self.batch(i)
        image, self.state, terms = self.iterate(self.state, batch, self.perceptual)
        return np.moveaxis(np.asarray(image), -1, 1), terms

    def state_dict(self, letter):
        net = getattr(self.state, LETTERS[letter])
        return to_official(self.module(letter), {"params": net.params, **net.stats})

    def gradients(self, letter):
        """Official keys to the raw gradients of the last update."""
        net = getattr(self.state, LETTERS[letter])
        gradients = net.opt_state[0]
        return to_official(self.module(letter), {"params": gradients, **net.stats})


@pytest.fixture
def run(golden, model, vgg19, variables, nhwc, layout):
    def make(name, dtype, *, factored=False, compiled="compiled quickly"):
        file = golden(f"train_{name}")
        recipe, networks = model(file, dtype)
        perceptual = None
        if recipe.loss.perceptual:
            perceptual = variables(nets.VGG("vgg19"), vgg19, dtype=dtype)["params"]
        return Run(
            file,
            recipe,
            networks,
            factored=factored,
            options=COMPILER_OPTIONS[compiled],
            perceptual=perceptual,
            variables=variables,
            nhwc=nhwc,
            layout=layout,
        )

    return make


def image_of(file, i):
    """A golden picture, and the stride at which it was kept."""
    arrays = file.part(f"iter{i}")
    if "generated" in arrays:
        return arrays["generated"], 1
    return arrays["generated_s4"], 4


def zero_gradient_keys(file):
    return {key.split("/")[1] for key in file.meta["theoretically_zero_gradient_keys"]}


# Of the long ones, two go to their end. VGG and neighbourhoods take their time in
# float64, and have nothing that one iteration hands to the next.
@pytest.mark.parametrize(
    ("name", "factored", "iterations"),
    [
        ("hinge_feat", False, 1),
        pytest.param("hinge_feat", False, 5, marks=pytest.mark.long),
        pytest.param("ls_nottur", False, 4, marks=pytest.mark.long),
        pytest.param("vae_vgg", False, 1, marks=pytest.mark.long),
        pytest.param("hinge_feat", True, 1, marks=pytest.mark.long),
    ],
)
def test_float64(name, factored, iterations, golden, run, not_reproducible, compare):
    with jax.enable_x64(True):
        truth = golden(f"train_{name}_f64")
        is_short = (name, factored, iterations) == ("hinge_feat", False, 1)
        compiled = "compiled quickly" if is_short else "run quickly"
        mine = run(name, "float64", factored=factored, compiled=compiled)
        file = mine.file
        skipped = {"G": not_reproducible(file.part("G"), zero_gradient_keys(file))}
        for i in range(iterations):
            image, terms = mine.advance(i)
            for theirs, value in truth.meta["losses_f64"][i].items():
                what = f"{theirs} {i}"
                compare("float64 loss", truth.name, what, terms[TERMS[theirs]], value)
            assert len(terms) == len(truth.meta["losses_f64"][i])
            theirs, stride = image_of(truth, i)
            ours = image[..., ::stride, ::stride]
            compare("float64 array", truth.name, f"image {i}", ours, theirs)
            if i:
                continue
            for letter in mine.letters:
                ours = mine.state_dict(letter)
                for key, theirs in truth.part(f"after_iter0/{letter}").items():
                    if key not in skipped.get(letter, ()):
                        compare("float64 array", truth.name, key, ours[key], theirs)
            if name != "ls_nottur":
                grads = golden(f"train_{name}_grads")
                for letter in mine.letters:
                    ours = mine.gradients(letter)
                    for key, theirs in grads.part(f"grad{letter}").items():
                        if key not in zero_gradient_keys(file):
                            compare(
                                "float64 gradient", grads.name, key, ours[key], theirs
                            )
        if iterations < file.meta["iters"]:
            return
        for letter in mine.letters:
            ours = mine.state_dict(letter)
            final = truth.part(f"final/{letter}")
            assert final.keys() == ours.keys()
            for key, theirs in final.items():
                if key not in skipped.get(letter, ()):
                    compare(
                        "float64 array", truth.name, f"final {key}", ours[key], theirs
                    )


# All networks and terms; the others have fewer, and are compared in float64.
@pytest.mark.long
@pytest.mark.parametrize("name", ["vae_vgg"])
def test_float32(name, golden, run, compare):
    mine = run(name, "float32")
    file = mine.file
    image, terms = mine.advance(0)
    for theirs, value in file.meta["losses_f32"][0].items():
        kind = "loss D" if theirs.startswith("D_") else "loss"
        compare(kind, file.name, theirs, terms[TERMS[theirs]], value)
    theirs, stride = image_of(file, 0)
    compare("output", file.name, "image", image[..., ::stride, ::stride], theirs)
    grads = golden(f"train_{name}_grads")
    for letter in mine.letters:
        kind = "gradient D" if letter == "D" else "gradient"
        kind += " vae" if name == "vae_vgg" else ""
        ours = mine.gradients(letter)
        for key, theirs in grads.part(f"grad{letter}").items():
            if key not in zero_gradient_keys(file):
                compare(kind, grads.name, key, ours[key], theirs)
