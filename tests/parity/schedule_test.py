"""Learning rates against the official trainer's, epoch by epoch."""

import json

import pytest

from spade_jax import assemble
from spade_jax.recipe import describe

STEPS_PER_EPOCH = 7


@pytest.mark.parametrize("ttur", [True, False])
@pytest.mark.parametrize("epochs", [(3, 4), (2, 3)])
def test_learning_rates(ttur, epochs, golden_file, default_config):
    key = f"TTUR={ttur} niter={epochs[0]} niter_decay={epochs[1]}"
    default_config.optimizer.ttur = ttur
    default_config.num_epochs, default_config.decay_epochs = epochs
    recipe = describe(default_config)
    optimizers = assemble.optimizers(
        recipe.optimizer, recipe.schedule, steps_per_epoch=STEPS_PER_EPOCH
    )
    schedules = json.loads(golden_file("lr_schedule.json").read_text())
    rows = schedules[key]["rows_epoch_lrG_lrD_in_effect_during_epoch"]
    for epoch, generator, discriminator in rows:
        if epoch == "after_last":
            epoch = sum(epochs) + 1
        first = (epoch - 1) * STEPS_PER_EPOCH
        for step in (first, first + STEPS_PER_EPOCH - 1):
            ours = (
                float(optimizers.generator_learning_rate(step)),
                float(optimizers.discriminator_learning_rate(step)),
            )
            assert ours == pytest.approx(
                (generator, discriminator), rel=1e-6, abs=1e-12
            )
