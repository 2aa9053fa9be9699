"""Which module may import what, and what runs where little is installed."""

import ast
import json
import pathlib
import subprocess
import sys
import textwrap

import pytest

# What a layer may import besides the standard library, NumPy and itself. A name stands
# for the module or package and everything in it; the longest name that fits counts.
ALLOWED = {
    "spade_jax.layout": {"jax"},
    "spade_jax.learning.losses": {"jax", "flax"},
    "spade_jax.nets": {"jax", "flax", "spade_jax.layout"},
    "spade_jax.learning.state": {"jax", "flax", "optax", "spade_jax.layout"},
    "spade_jax.learning.step": {
        "jax",
        "flax",
        "optax",
        "spade_jax.layout",
        "spade_jax.learning.losses",
        "spade_jax.nets",
        "spade_jax.learning.state",
    },
    "spade_jax.devices.mesh": {"jax"},
    "spade_jax.metrics": {
        "jax",
        "flax",
        "scipy",
        "PIL",
        "spade_jax.files",
        "spade_jax.nets",
        "spade_jax.learning.perceptual",
    },
    "spade_jax.evaluation.evaluator": {"spade_jax.metrics", "spade_jax.files.pictures"},
    "spade_jax.evaluation.result": {"spade_jax.files", "spade_jax.metrics"},
    "spade_jax.evaluation.sampling": {
        "jax",
        "spade_jax.devices.mesh",
        "spade_jax.metrics",
        "spade_jax.nets",
        "spade_jax.learning.state",
        "spade_jax.learning.step",
    },
    "spade_jax.files": set(),
    "spade_jax.files.pictures": {"PIL", "spade_jax.files"},
    "spade_jax.workdir.report": {"tensorflow", "clu"},
    "spade_jax.files.video": {"PIL", "av", "spade_jax.files"},
    "spade_jax.plan.work": {"spade_jax.nets"},
    "spade_jax.plan.chips": set(),
    "spade_jax.plan.hlo": set(),
}
# Only these know of configs; all others take plain numbers and names.
READ_CONFIGS = {
    "spade_jax.main",
    "spade_jax.training.train",
    "spade_jax.training.train_segmenter",
    "spade_jax.evaluation.evaluate",
    "spade_jax.evaluation.examples",
    "spade_jax.evaluation.reference",
    "spade_jax.evaluation.sources",
    "spade_jax.commands.predict",
    "spade_jax.models.restore",
    "spade_jax.build",
    "spade_jax.workdir.checkpoint",
    "spade_jax.convert",
    "spade_jax.commands.check_data",
    "spade_jax.commands.command_line",
    "spade_jax.plan",
    "spade_jax.recipe.library",
}
# The pipeline sees to it that Grain, which reads absl's flags to start its workers,
# finds them parsed. It reads none itself.
READ_FLAGS = {"spade_jax.main", "spade_jax.data.pipeline"}
# Command lines of their own, if they are there.
COMMAND_LINES = {
    "spade_jax.main",
    "spade_jax.convert.__main__",
    "spade_jax.plan.__main__",
}


def module_name(path: pathlib.Path, root: pathlib.Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(tree: ast.Module) -> set[str]:
    """Dotted names of everything imported, wherever in the file."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.fixture(scope="module")
def imports(repository):
    """From each module of the package to the names it imports."""
    found = {
        module_name(path, repository): imported_names(ast.parse(path.read_text()))
        for path in sorted((repository / "spade_jax").rglob("*.py"))
    }
    assert {"spade_jax.nets.norm", "spade_jax.data", "spade_jax.main"} <= set(found)
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def importers(imports, package: str) -> set[str]:
    return {m for m, names in imports.items() if any(within(n, package) for n in names)}


def test_layers_import_downward_only(imports):
    free = set(sys.stdlib_module_names) | {"numpy"}
    checked = set()
    for module, names in imports.items():
        layers = [layer for layer in ALLOWED if within(module, layer)]
        if not layers:
            continue
        (layer,) = layers
        checked.add(layer)
        allowed = free | ALLOWED[layer] | {layer}
        # The package itself holds its version, and `load`, of which nothing is run.
        named = names - {"spade_jax"}
        foreign = {n for n in named if not any(within(n, a) for a in allowed)}
        # `from spade_jax import losses` is named spade_jax.learning.losses here.
        assert not foreign, f"{module} imports {sorted(foreign)}"
    assert checked == set(ALLOWED)


def test_data_knows_neither_jax_nor_the_rest(imports):
    modules = {m: n for m, n in imports.items() if within(m, "spade_jax.data")}
    assert len(modules) > 5
    for module, names in modules.items():
        for foreign in ("jax", "flax", "optax", "ml_collections"):
            assert not any(within(n, foreign) for n in names), (module, foreign)
        ours = {n for n in names if within(n, "spade_jax")}
        assert all(within(n, "spade_jax.data") for n in ours), (module, ours)


def test_only_main_reads_flags(imports):
    found = importers(imports, "absl.flags") | importers(
        imports, "ml_collections.config_flags"
    )
    assert found - COMMAND_LINES == READ_FLAGS - COMMAND_LINES
    assert "spade_jax.main" in found


def test_nothing_but_main_and_plan_imports_train(imports):
    found = importers(imports, "spade_jax.training.train")
    assert found == {"spade_jax.main", "spade_jax.plan.ahead"}
    assert importers(imports, "spade_jax.main") == set()


def test_only_the_outer_layers_read_configs(imports):
    found = importers(imports, "ml_collections")
    assert "spade_jax.training.train" in found
    strangers = {m for m in found if not any(within(m, r) for r in READ_CONFIGS)}
    assert not strangers
    assert importers(imports, "configs") == set()


def test_tensorflow_is_for_reports_datasets_and_its_own_format_only(imports):
    of_data = {m for m in imports if within(m, "spade_jax.data")}
    others = {"spade_jax.workdir.report", "spade_jax.export"}
    assert importers(imports, "tensorflow") <= others | of_data
    assert importers(imports, "clu") == {"spade_jax.workdir.report"}
    assert importers(imports, "tensorflow_datasets") <= of_data
    assert importers(imports, "torch") <= {
        m for m in imports if within(m, "spade_jax.convert")
    }


SCRIPT = """
    import json, sys

    BLOCKED = {
        "tensorflow", "clu", "tensorflow_datasets", "grain", "ml_collections", "PIL",
        "torch",
    }


    class Blocker:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] in BLOCKED:
                raise ImportError(f"{name} is blocked")


    sys.meta_path.insert(0, Blocker())

    import jax, jax.numpy as jnp, numpy as np, optax
    from spade_jax import layout, losses, mesh, nets, state, step

    networks = state.Networks(
        generator=nets.Pix2PixHDGenerator(
            3, width=4, norm="syncbatch", downsamplings=1, blocks=1, axis_name="data"
        ),
        discriminator=nets.MultiscaleDiscriminator(
            3, num_scales=1, num_layers=2, width=4, axis_name="data"
        ),
        encoder=None,
        latent_size=None,
    )
    optimizers = state.Optimizers(
        generator=optax.scale_by_adam(b1=0.0, b2=0.9),
        discriminator=optax.scale_by_adam(b1=0.0, b2=0.9),
        generator_learning_rate=optax.constant_schedule(1e-4),
        discriminator_learning_rate=optax.constant_schedule(4e-4),
    )
    random = np.random.default_rng(0)
    batch = {
        "image": random.uniform(-1, 1, (2, 16, 16, 3)).astype(np.float32),
        "label": random.integers(0, 3, (2, 16, 16), dtype=np.int32),
    }
    devices = mesh.make_mesh(jax.devices()[:2])
    train_step = mesh.parallel_train_step(
        step.make_train_step(
            generator=networks.generator,
            discriminator=networks.discriminator,
            generator_optimizer=optimizers.generator,
            discriminator_optimizer=optimizers.discriminator,
            generator_learning_rate=optimizers.generator_learning_rate,
            discriminator_learning_rate=optimizers.discriminator_learning_rate,
            axis_name="data",
        ),
        devices,
    )
    create = jax.jit(
        lambda key: state.create_state(
            key,
            networks=networks,
            optimizers=optimizers,
            layout=layout.Layout(batch["label"]),
        ),
        out_shardings=mesh.replicated(devices),
    )
    before = jax.device_get(create(jax.random.key(0)))
    after, terms = train_step(
        create(jax.random.key(0)), mesh.shard_batch(batch, devices)
    )
    after = jax.device_get(after)
    old, new = (
        jax.tree.leaves((s.generator.params, s.discriminator.params))
        for s in (before, after)
    )
    print(json.dumps({
        "step": int(after.step),
        "terms": {name: float(value) for name, value in terms.items()},
        "finite": all(bool(np.isfinite(x).all()) for x in new),
        "changed": float(np.mean([(x != y).any() for x, y in zip(old, new)])),
        "modules": sorted(m for m in sys.modules if m.partition(".")[0] in BLOCKED),
    }))
"""


def test_an_update_needs_neither_tensorflow_nor_what_reads_data(repository):
    """jax, flax and optax are enough (Orbax comes with flax, which imports it)."""
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT)],
        cwd=repository,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout.splitlines()[-1])
    assert found["step"] == 1
    assert set(found["terms"]) == {"gan", "feature_matching", "d_fake", "d_real"}
    assert found["finite"]
    assert found["changed"] > 0.7
    assert found["modules"] == []
