"""Training, in one reading: data, networks, state, step, loop."""

import functools
import logging
import os
import pathlib
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from spade_jax import build, data
from spade_jax.devices import distributed, mesh
from spade_jax.evaluation.evaluate import TrainingEvaluation
from spade_jax.files import pictures
from spade_jax.learning import perceptual
from spade_jax.learning.latents import example_noise
from spade_jax.learning.objectives.spade import LossWeights, spade_objective
from spade_jax.learning.optimizers import Optimizers
from spade_jax.learning.sample import make_sample
from spade_jax.learning.state import Networks, TrainState, create_state
from spade_jax.learning.train_step import make_train_step
from spade_jax.workdir import checkpoint
from spade_jax.workdir.report import Report, progress_line

_log = logging.getLogger(__name__)

PendingLosses = list[tuple[int, Mapping[str, jax.Array]]]
"""Losses still on the devices, each with the iterations done by then."""


class DivergedError(RuntimeError):
    """A loss or a parameter became NaN or infinite."""


def train(
    config: ml_collections.ConfigDict, workdir: str | os.PathLike[str]
) -> TrainState:
    """Trains until the config's last iteration, from the work dir's last checkpoint.

    Leaves in `workdir`: `checkpoints/`, `metrics.jsonl`, TensorBoard events where
    TensorFlow is installed, and `samples.png` (layout | synthesised | real).

    Args:
      config: see `configs/default.py`.
      workdir: created where missing.

    Returns:
      The last state. After SIGINT or SIGTERM that is the state then, which is saved.

    Raises:
      DataError: the data is missing or wrong.
      CheckpointError: the work dir's checkpoint is of other networks, or none can be
        saved.
      ValueError: fields of the config do not fit together.
      DivergedError: training diverged; the last good checkpoint is kept.
      ProcessError: the data is missing or wrong for another process of the run.
    """
    workdir = pathlib.Path(workdir)

    # ---- What can be known to be wrong before any work ------------------------------
    _check_positive(config)
    _check_multiple(config, "keep_every", config.keep_every)
    _check_multiple(config, "eval.every", config.eval.every)
    distributed.check_shared(workdir)
    distributed.together(functools.partial(checkpoint.set_aside_damaged, workdir))
    open_checkpoints = functools.partial(
        checkpoint.Checkpoints,
        workdir,
        keep=config.keep_checkpoints,
        keep_every=config.keep_every,
        keep_best=config.keep_best,
    )
    if checkpoint.has_checkpoint(workdir):
        with open_checkpoints() as saved:
            saved.check_trainable()
            checkpoint.check_architecture(saved.config(), config, workdir=workdir)
    # Files may be missing on one host only, here and below.
    config = distributed.together(functools.partial(build.with_palette, config))
    devices = mesh.make_mesh(spatial=config.spatial)
    platform = devices.devices.flat[0].platform
    height, _ = build.example_layout(config).size
    mesh.check_batch(
        config.batch_size, devices, accumulate=config.accumulate, height=height
    )

    # ---- Data -----------------------------------------------------------------------
    def open_data():
        source = build.source(config, config.data.train_split)
        transform = build.preprocess(config, training=True)
        data.check(source, transform=transform)
        return source, transform, _example_batch(config, platform=platform)

    source, transform, examples = distributed.together(open_data)
    steps_per_epoch = max(1, len(source) // config.batch_size)
    num_steps = build.num_steps(config, len(source))

    # ---- Networks, optimisers, functions --------------------------------------------
    networks = build.networks(config, axis_name=mesh.DATA_AXIS)
    optimizers = build.optimizers(config, steps_per_epoch=steps_per_epoch)
    features = distributed.together(functools.partial(build.perceptual, config))
    distributed.check_same(
        "loss.perceptual_network", features.variant if features else "none"
    )
    train_step = mesh.parallel_train_step(
        make_step(config, networks, optimizers, features), devices
    )
    sample = jax.jit(
        make_sample(
            generator=networks.generator,
            encoder=networks.encoder,
            latent_size=networks.latent_size,
        ),
        # Whole in every process: the compiler may otherwise share the pictures out.
        out_shardings=mesh.replicated(devices),
    )

    # ---- State ----------------------------------------------------------------------
    def init() -> TrainState:
        return create_state(
            jax.random.key(config.seed),
            networks=networks,
            optimizers=optimizers,
            layout=build.example_layout(config),
            ema=config.ema_decay > 0,
        )

    replicated = mesh.replicated(devices)
    abstract_state = checkpoint.abstract(jax.eval_shape(init), replicated)

    def synthesise_examples(state: TrainState) -> jax.Array:
        return sample(
            state.generator_variables,
            state.encoder_variables,
            examples,
            jax.random.key(config.seed),
        )

    _check_picture_size(jax.eval_shape(synthesise_examples, abstract_state), examples)
    feature_params = None
    if features is not None:
        feature_params = jax.device_put(features.params, replicated)
    evaluate = None
    if config.eval.every:
        evaluate = TrainingEvaluation(
            config, networks, workdir=workdir, devices=devices
        )

    # ---- Loop -----------------------------------------------------------------------
    is_main_process = jax.process_index() == 0
    with (
        open_checkpoints() as checkpoints,
        Report(workdir, enabled=is_main_process) as report,
        StopRequest() as stop,
    ):
        if checkpoints.latest_step is None:
            state = jax.jit(init, out_shardings=replicated)()
        else:
            state = checkpoints.restore(abstract_state)
            _log.info("Going on from step %d of %s.", int(state.step), workdir)
        first_step = int(state.step)
        _log.info("Networks: %s. Data: %r.", _sizes(state), source)
        batches = data.batches(
            source,
            batch_size=config.batch_size,
            seed=config.seed,
            shuffle=True,
            transform=transform,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=config.data.workers,
            start_batch=first_step,
            finish=build.planner(
                config,
                shards=mesh.local_shares(devices) * config.accumulate,
                platform=platform,
            ),
        )
        on_devices = mesh.prefetch(batches, devices)
        pending: PendingLosses = []
        # The newest of each, which go with a checkpoint.
        metrics: dict[str, float] = {}
        window_step, window_start = first_step, time.monotonic()
        for step in range(first_step + 1, num_steps + 1):
            state, losses = train_step(
                state,
                next(on_devices),
                feature_params,
                update_generator=(step - 1) % config.discriminator_steps == 0,
            )
            pending.append((step, losses))
            # One step waits behind the running one and no more: with its batch and the
            # prefetched ones, four batches are on the devices.
            if len(pending) > 1:
                jax.block_until_ready(pending[-2])
            if step == first_step + 1:
                jax.block_until_ready(losses)
                seconds = time.monotonic() - window_start
                _log.info("Step %d, compilation included: %.0f s.", step, seconds)
                window_step, window_start = step, time.monotonic()

            stopping = stop.everywhere()
            last = stopping or step == num_steps
            if last or step % config.log_every == 0:
                means = _mean_losses(pending, checkpoints)
                pending.clear()
                now = time.monotonic()
                steps_per_second = (step - window_step) / (now - window_start)
                window_step, window_start = step, now
                rate = float(optimizers.generator_learning_rate(step - 1))
                scalars = {f"loss/{name}": value for name, value in means.items()} | {
                    "learning_rate/generator": rate,
                    "images_per_second": steps_per_second * config.batch_size,
                }
                report.scalars(step, scalars)
                metrics |= scalars
                # With config.discriminator_steps an iteration may lack the generator's.
                if "loss/gan" in metrics:
                    checkpoints.check([*metrics, *(evaluate.names if evaluate else ())])
                if is_main_process:
                    line = progress_line(
                        step=step,
                        num_steps=num_steps,
                        steps_per_epoch=steps_per_epoch,
                        batch_size=config.batch_size,
                        steps_per_second=steps_per_second,
                        losses=means,
                    )
                    print(line, flush=True)
            if last or step % config.checkpoint_every == 0:
                _check_finite(state, checkpoints)
                save = functools.partial(checkpoints.save, state, config=config)
                is_due = evaluate and not stopping and step % config.eval.every == 0
                # Before the evaluation, which takes long, unless that has to choose.
                waits = is_due and config.keep_best.removeprefix("-") in evaluate.names
                if not waits:
                    save(metrics=metrics or None)
                if is_due:
                    scores, seconds = _evaluated(evaluate, state)
                    window_start += seconds
                    report.scalars(step, scores)
                    if waits:
                        save(metrics=metrics | scores)
            if last or step % config.sample_every == 0:
                sheet = _contact_sheet(config, synthesise_examples(state), examples)
                if is_main_process:
                    pictures.save_png(workdir / "samples.png", sheet)
                    report.picture(step, "layout | synthesised | real", sheet)
            if last:
                break
        batches.close()
        checkpoints.wait()
        _log.info("Step %d is saved in %s.", int(state.step), workdir)
    return state


class StopRequest:
    """While it is entered, the first SIGINT or SIGTERM only sets `requested`.

    So an iteration, or a save, is never cut in two. A second signal acts as usual.
    """

    def __init__(self):
        self.requested = False
        self._ballot: jax.Array | None = None
        self._usual: dict[int, signal.Handlers | Callable | int | None] = {}

    def __enter__(self) -> "StopRequest":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._usual[number] = signal.signal(number, self._request)
        return self

    def __exit__(self, *_) -> None:
        for number, handler in self._usual.items():
            signal.signal(number, handler)

    def everywhere(self) -> bool:
        """Whether any process was asked to stop; all get the same answer.

        To be called by all processes, once an iteration. With several of them the
        answer is that of one iteration ago, which is there by now: waiting for this
        one's would keep the devices from running ahead of the host.
        """
        if jax.process_count() == 1:
            return self.requested
        previous, self._ballot = self._ballot, _any_process(self.requested)
        return previous is not None and bool(previous)

    def _request(self, number: int, _) -> None:
        self.requested = True
        signal.signal(number, self._usual[number])
        _log.warning(
            "%s: saving after this iteration; a second one leaves at once.",
            signal.Signals(number).name,
        )


@functools.cache
def _across_devices() -> tuple[NamedSharding, Callable[[jax.Array], jax.Array]]:
    # All devices, though one a process would do: TPUs do not compute on any few.
    devices = Mesh(jax.devices(), "device")
    everywhere = NamedSharding(devices, PartitionSpec())
    one_each = NamedSharding(devices, PartitionSpec("device"))
    return one_each, jax.jit(jnp.any, out_shardings=everywhere)


def _any_process(value: bool) -> jax.Array:
    """Whether `value` is True in any process, for all of them to wait for later."""
    one_each, any_value = _across_devices()
    return any_value(
        jax.make_array_from_callback(
            (jax.device_count(),), one_each, lambda _: np.array([value])
        )
    )


def make_step(
    config: ml_collections.ConfigDict,
    networks: Networks,
    optimizers: Optimizers,
    features: perceptual.PerceptualNetwork | None,
) -> Callable[..., tuple[TrainState, dict[str, jax.Array]]]:
    """The train step of a config, before it is compiled for a mesh.

    Args:
      config: see `configs/default.py`.
      networks: of the config, with `mesh.DATA_AXIS`.
      optimizers: of the config.
      features: network of the perceptual loss, or None.
    """
    noise = None
    if networks.latent_size is not None:
        noise = example_noise(
            seed=config.seed,
            latent_size=networks.latent_size,
            axis_name=mesh.DATA_AXIS,
        )
    return make_train_step(
        generator=networks.generator,
        encoder=networks.encoder,
        objective=spade_objective(
            discriminator=networks.discriminator,
            gan_loss=config.loss.gan,
            weights=LossWeights(
                feature_matching=config.loss.feature_matching,
                perceptual=config.loss.perceptual,
                kld=config.loss.kld,
            ),
            perceptual=perceptual.module(features, dtype=jnp.dtype(config.dtype)),
        ),
        optimizers=optimizers,
        noise=noise,
        reuse_fake=config.reuse_fake,
        accumulate=config.accumulate,
        ema_decay=config.ema_decay,
        axis_name=mesh.DATA_AXIS,
    )


def _example_batch(
    config: ml_collections.ConfigDict, *, platform: str
) -> dict[str, Any]:
    """The validation examples that the pictures of progress show, evenly spaced."""
    source = build.source(config, config.data.val_split)
    count = min(config.num_samples, len(source))
    chosen = np.linspace(0, len(source) - 1, count, dtype=int)
    batch = next(
        data.batches(
            [source[int(i)] for i in chosen],
            batch_size=count,
            seed=config.seed,
            shuffle=False,
            transform=build.preprocess(config, training=False),
            finish=build.planner(config, shards=1, platform=platform),
        )
    )
    return dict(batch)


def _check_positive(config: ml_collections.ConfigDict) -> None:
    for field in (
        "log_every",
        "sample_every",
        "checkpoint_every",
        "num_samples",
        "discriminator_steps",
    ):
        if config[field] < 1:
            raise ValueError(f"config.{field}={config[field]} must be 1 or more.")


def _check_multiple(config: ml_collections.ConfigDict, field: str, every: int) -> None:
    if every % config.checkpoint_every:
        raise ValueError(
            f"config.{field}={every} must be a multiple of"
            f" config.checkpoint_every={config.checkpoint_every}, or 0: other"
            " iterations are not saved."
        )


def _check_picture_size(
    synthesised: jax.ShapeDtypeStruct, examples: Mapping[str, np.ndarray]
) -> None:
    height, width = examples["image"].shape[1:3]
    if synthesised.shape[1:3] != (height, width):
        raise ValueError(
            f"The preprocessing gives pictures {width} wide and {height} high, but the"
            f" generator makes them {synthesised.shape[2]} wide and"
            f" {synthesised.shape[1]} high. Choose config.data.crop_size (and"
            " aspect_ratio) so that both are multiples of 32, or of 64 and 128 with"
            " config.generator.upsampling 'more' and 'most'."
        )


def _mean_losses(
    pending: PendingLosses, checkpoints: checkpoint.Checkpoints
) -> dict[str, float]:
    """Mean of each term over the iterations in which it was computed."""
    values: dict[str, list[float]] = {}
    for step, losses in jax.device_get(pending):
        # The generator's terms first: those of the discriminator, which are computed
        # after its update, follow them.
        names = sorted(losses, key=lambda name: (name.startswith("d_"), name))
        bad = [f"{n} is {losses[n]}" for n in names if not np.isfinite(losses[n])]
        if bad:
            raise DivergedError(
                f"Loss terms are not finite at step {step}: {', '.join(bad)}."
                + _last_good(checkpoints)
            )
        for name, value in losses.items():
            values.setdefault(name, []).append(float(value))
    return {name: float(np.mean(v)) for name, v in values.items()}


@jax.jit
def _all_finite(tree) -> jax.Array:
    return jnp.stack([jnp.isfinite(x).all() for x in jax.tree.leaves(tree)]).all()


def _check_finite(state: TrainState, checkpoints: checkpoint.Checkpoints) -> None:
    # The losses of a step are those before its update, so they cannot show what the
    # update did.
    for name in ("generator", "discriminator", "encoder"):
        net = getattr(state, name)
        if net is not None and not _all_finite((net.params, net.stats)):
            raise DivergedError(
                f"Parameters of the {name} are not finite after step"
                f" {int(state.step)}." + _last_good(checkpoints)
            )


def _last_good(checkpoints: checkpoint.Checkpoints) -> str:
    checkpoints.wait()
    step = checkpoints.latest_step
    kept = "No checkpoint had been saved" if step is None else f"Step {step} is saved"
    return (
        f" {kept}; nothing later was. A lower config.optimizer.learning_rate, or"
        " config.dtype='float32' if it is bfloat16, may help."
    )


def _evaluated(
    evaluate: TrainingEvaluation, state: TrainState
) -> tuple[dict[str, float], float]:
    """A state's scores, which are also printed, and how long they took."""
    start = time.monotonic()
    scores = evaluate(state)
    seconds = time.monotonic() - start
    if jax.process_index() == 0:
        told = " ".join(f"{name} {value:.4g}" for name, value in scores.items())
        print(f"step {int(state.step)} | {told} | {seconds:.0f} s", flush=True)
    return scores, seconds


def _contact_sheet(
    config: ml_collections.ConfigDict,
    synthesised: jax.Array,
    examples: Mapping[str, np.ndarray],
) -> np.ndarray:
    palette = pictures.full_palette(config.data.palette, build.num_class_ids(config))
    return pictures.grid(
        [
            pictures.paint(examples["label"], palette),
            pictures.to_uint8(jax.device_get(synthesised)),
            pictures.to_uint8(examples["image"]),
        ],
        per_row=2,
        at_least=128,
    )


def _sizes(state: TrainState) -> str:
    def millions(net):
        return sum(x.size for x in jax.tree.leaves(net.params)) / 1e6

    named = {"G": state.generator, "D": state.discriminator, "E": state.encoder}
    return ", ".join(f"{k} {millions(v):.2f} M" for k, v in named.items() if v)
