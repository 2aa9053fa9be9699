"""Evaluation of a checkpoint on the validation split.

So far it measures how near the synthesised pictures are to the real ones of the same
layouts. That is no measure of realism: a layout has many good pictures.
"""

import os
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from spade_jax import build, data, losses, perceptual
from spade_jax.restore import load_model
from spade_jax.step import Batch, make_sample


def evaluate(
    workdir: str | os.PathLike[str],
    *,
    config: ml_collections.ConfigDict | None = None,
) -> Iterator[tuple[str, float]]:
    """Yields (name, value) of each measure, a mean over the validation split.

    Measures: `l1`, mean absolute difference on the scale [-1, 1]; `perceptual`, the
    unweighted perceptual loss, where the config's feature network is at hand. A VAE
    model takes each picture's style from the real picture; one that starts from noise
    draws it.

    Args:
      workdir: of the model; see `spade_jax.restore.load_model`.
      config: whose data to use; None for that of the checkpoint.

    Raises:
      CheckpointError: there is no model.
      DataError: the data is missing or wrong.
    """
    model = load_model(workdir)
    config = model.config if config is None else config
    source = build.source(config, config.data.val_split)
    features = build.perceptual(config)
    feature_network = perceptual.module(features, dtype=jnp.float32)

    sample = make_sample(
        generator=model.networks.generator,
        encoder=model.networks.encoder,
        latent_size=model.networks.latent_size,
    )

    @jax.jit
    def measure(batch: Batch, feature_params, key: jax.Array) -> dict[str, jax.Array]:
        fake = sample(model.generator, model.encoder, batch, key)

        def of_one(fake, real):
            values = {"l1": jnp.abs(fake - real).mean()}
            if feature_network is not None:
                variables = {"params": feature_params}
                values["perceptual"] = losses.perceptual_loss(
                    feature_network.apply(variables, fake[None]),
                    feature_network.apply(variables, real[None]),
                )
            return values

        return jax.vmap(of_one)(fake, batch["image"])

    values: dict[str, list[np.ndarray]] = {}
    for number, batch in enumerate(
        data.batches(
            source,
            batch_size=min(config.batch_size, len(source)),
            seed=config.seed,
            shuffle=False,
            transform=build.preprocess(config, training=False),
            num_epochs=1,
            finish=build.planner(
                config, shards=1, platform=jax.default_backend(), tight=True
            ),
        )
    ):
        real = batch.pop("mask")
        measured = measure(
            batch,
            None if features is None else features.params,
            jax.random.fold_in(jax.random.key(config.seed), number),
        )
        for name, value in jax.device_get(measured).items():
            values.setdefault(name, []).append(value[real])
    for name, parts in values.items():
        yield name, float(np.concatenate(parts).mean())
