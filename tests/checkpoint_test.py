import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import spade_jax
from spade_jax import checkpoint, mesh
from spade_jax.checkpoint import CheckpointError, Checkpoints
from spade_jax.state import NetState, TrainState


def make_state(step, *, encoder=True):
    def net(seed):
        random = np.random.default_rng(seed)
        return NetState(
            params={"layer": {"kernel": random.standard_normal((3, 4, 2))}},
            stats={"batch_stats": {"count": np.int32(seed)}, "spectral": {}},
            opt_state=({"nu": random.standard_normal(5)}, ()),
        )

    state = TrainState(
        step=np.int32(step),
        generator=net(step),
        discriminator=net(step + 1),
        encoder=net(step + 2) if encoder else None,
        ema={"layer": {"kernel": np.full((3, 4, 2), 1 / 3)}},
    )
    sharding = mesh.replicated(mesh.make_mesh())
    return jax.tree.map(
        lambda x: jax.device_put(
            jnp.asarray(x, jnp.int32 if x.dtype.kind == "i" else jnp.float32), sharding
        ),
        state,
    )


def abstract_of(state):
    return checkpoint.abstract(
        state, mesh.replicated(mesh.make_mesh(jax.devices()[:2]))
    )


@pytest.mark.parametrize("encoder", [True, False])
def test_state_comes_back_in_bits(tmp_path, default_config, assert_same_tree, encoder):
    """On other devices than those that wrote it, too."""
    state = make_state(7, encoder=encoder)
    expected = jax.device_get(state)
    with Checkpoints(tmp_path / "new" / "run") as checkpoints:
        assert checkpoints.latest_step is None
        checkpoints.save(state, config=default_config)
    with Checkpoints(tmp_path / "new" / "run") as checkpoints:
        assert checkpoints.latest_step == 7
        found = checkpoints.restore(abstract_of(state))
    assert isinstance(found, TrainState)
    assert len(found.step.sharding.device_set) == 2
    assert_same_tree(jax.device_get(found), expected)


def test_state_may_be_donated_at_once(tmp_path, default_config, assert_same_tree):
    state = make_state(7)
    expected, abstract = jax.device_get(state), abstract_of(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(state, config=default_config)
        for leaf in jax.tree.leaves(state):
            leaf.delete()
        checkpoints.wait()
        assert_same_tree(jax.device_get(checkpoints.restore(abstract)), expected)


def test_newest_are_kept_and_a_step_is_saved_once(
    tmp_path, default_config, assert_same_tree
):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2, 3, 3):
            checkpoints.save(make_state(step), config=default_config)
            checkpoints.wait()
        assert checkpoints.latest_step == 3
        second = checkpoints.restore(abstract_of(make_state(2)), step=2)
        assert_same_tree(jax.device_get(second), jax.device_get(make_state(2)))
    kept = sorted(p.name for p in (tmp_path / "checkpoints").iterdir())
    assert kept == ["2", "3"]


def test_checkpoints_describe_themselves(tmp_path, default_config):
    config = default_config
    config.data.classes = ("sky", "sea")
    config.data.palette = ((1, 2, 3), (4, 5, 6))
    config.data.unknown_label = 255
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(make_state(1), config=config)
        checkpoints.wait()
        found = checkpoints.config()
    # JSON has no tuples; everything else is as it was.
    assert json.loads(found.to_json()) == json.loads(config.to_json_best_effort())
    assert list(found.data.classes) == ["sky", "sea"]
    assert found.data.unknown_label == 255
    assert found.num_steps is None
    checkpoint.check_architecture(found, config, workdir=tmp_path)
    texts = [p.read_text() for p in tmp_path.rglob("*METADATA*") if p.is_file()]
    assert any(spade_jax.__version__ in t and jax.__version__ in t for t in texts)


def test_has_checkpoint(tmp_path):
    assert not checkpoint.has_checkpoint(tmp_path / "missing")
    (tmp_path / "checkpoints").mkdir()
    # What an interrupted save leaves.
    (tmp_path / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir()
    assert not checkpoint.has_checkpoint(tmp_path)
    (tmp_path / "checkpoints" / "5").mkdir()
    assert checkpoint.has_checkpoint(tmp_path)


def test_opening_what_is_not_there(tmp_path):
    message = (
        r"run holds no checkpoint \(looked for checkpoints/STEP in it\)\. Give --w"
    )
    with pytest.raises(CheckpointError, match=message):
        checkpoint.open_existing(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_other_architecture_names_fields_and_values(default_config):
    saved = default_config.copy_and_resolve_references()
    default_config.generator.width = 32
    default_config.data.unknown_label = 255
    default_config.discriminator.norm = "spectralsyncbatch"
    with pytest.raises(CheckpointError) as error:
        checkpoint.check_architecture(saved, default_config, workdir="runs/x")
    assert str(error.value).splitlines() == [
        "runs/x holds a checkpoint of another architecture:",
        "  config.data.unknown_label: None in the checkpoint, 255 in this config",
        "  config.discriminator.norm: 'spectralinstance' in the checkpoint,"
        " 'spectralsyncbatch' in this config",
        "  config.generator.width: 64 in the checkpoint, 32 in this config",
        "Train into another --workdir, or give these fields the checkpoint's values.",
    ]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("optimizer.learning_rate", 1e-5),
        ("data.root", "elsewhere"),
        ("batch_size", 3),
        ("dtype", "bfloat16"),
        ("loss.perceptual", 0.0),
    ],
)
def test_what_may_change_between_runs(default_config, field, value):
    saved = default_config.copy_and_resolve_references()
    default_config.update_from_flattened_dict({field: value})
    checkpoint.check_architecture(saved, default_config, workdir="runs/x")
