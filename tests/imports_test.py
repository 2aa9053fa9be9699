"""Which room may import what, and what runs where little is installed.

A room is a package of `spade_jax`. Its docstring ends with what it may import, which is
the rule that is held here: packages by the names they are imported by, rooms in
backquotes.
"""

import ast
import graphlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import textwrap

import pytest

# Every file that lies loose is a command, and every command that is none is a room with
# a `__main__`.
LOOSE = {"__init__", "main", "publish"}
# Only these know of configs; all others take the parts of a recipe, or plain values.
READ_CONFIGS = {
    "spade_jax.main",
    "spade_jax.recipe",
    "spade_jax.convert.nvlabs_options",
    "spade_jax.commands.command_line",
    "spade_jax.plan.__main__",
}
# The pipeline sees to it that Grain, which reads absl's flags to start its workers,
# finds them parsed. It reads none itself.
READ_FLAGS = {
    "spade_jax.main",
    "spade_jax.commands.command_line",
    "spade_jax.plan.__main__",
    "spade_jax.data.pipeline",
}


# What data tells while it is built goes through a room that imports nothing.
TELLING = {"spade_jax.progress.phase"}


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


@pytest.fixture(scope="module")
def rooms(repository):
    """From each room to what its docstring says that it may import."""
    found = {}
    for path in sorted((repository / "spade_jax").glob("*/__init__.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        text = " ".join(docstring.split())
        match = re.search(r"May import: ([^.]*)\.$", text)
        assert match, f"{path} does not end with what the room may import"
        named = set(re.split(r", | and |; ", match[1])) - {"nothing"}
        found[path.parent.name] = {
            f"spade_jax.{n.strip('`')}" if n.startswith("`") else n for n in named
        }
    assert len(found) > 10
    return found


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def importers(imports, package: str) -> set[str]:
    return {m for m, names in imports.items() if any(within(n, package) for n in names)}


def test_rooms_import_what_they_say(imports, rooms):
    free = set(sys.stdlib_module_names) | {"numpy"}
    for room, allowed in rooms.items():
        own = f"spade_jax.{room}"
        used = set()
        for module, names in imports.items():
            # A `__main__` is a door: it only reads flags, and calls.
            if not within(module, own) or module.endswith("__main__"):
                continue
            for name in names:
                # The package itself holds its version, and `load`, which runs nothing.
                if name == "spade_jax" or any(within(name, f) for f in (*free, own)):
                    continue
                fitting = {a for a in allowed if within(name, a)}
                assert fitting, f"{module} imports {name}, which {room} may not"
                used |= fitting
        assert used == allowed, f"{room} does not import {sorted(allowed - used)}"


def test_rooms_import_downward_only(rooms):
    order = graphlib.TopologicalSorter(
        {
            room: {n.removeprefix("spade_jax.") for n in allowed if "spade_jax." in n}
            for room, allowed in rooms.items()
        }
    )
    floors = list(order.static_order())  # raises where rooms import one another
    assert set(floors) == set(rooms)


def test_a_room_that_lists_its_files_lists_them_all(repository):
    listing = {}
    for path in (repository / "spade_jax").glob("*/__init__.py"):
        docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
        if re.search(r"^ {4}\w+\.py ", docstring, re.MULTILINE):
            named = set(re.findall(r"\b(\w+)\.py\b", docstring))
            listing[path.parent] = named - {"__main__"}
    assert {"models", "training"} <= {room.name for room in listing}
    for room, listed in listing.items():
        files = {p.stem for p in room.glob("*.py") if not p.stem.startswith("__")}
        assert listed == files, f"{room.name}: {sorted(listed ^ files)}"


def test_what_lies_loose_is_a_command(repository):
    assert {p.stem for p in (repository / "spade_jax").glob("*.py")} == LOOSE


def test_data_knows_neither_jax_nor_the_rest(imports):
    modules = {m: n for m, n in imports.items() if within(m, "spade_jax.data")}
    assert len(modules) > 5
    for module, names in modules.items():
        for foreign in ("jax", "flax", "optax", "ml_collections"):
            assert not any(within(n, foreign) for n in names), (module, foreign)
        ours = {n for n in names if within(n, "spade_jax")}
        assert all(within(n, "spade_jax.data") for n in ours - TELLING), (module, ours)


def test_only_doors_read_flags(imports):
    found = importers(imports, "absl.flags") | importers(
        imports, "ml_collections.config_flags"
    )
    assert found == READ_FLAGS


def test_only_doors_import_the_training_loop(imports):
    found = importers(imports, "spade_jax.training")
    assert {m for m in found if not within(m, "spade_jax.training")} == {
        "spade_jax.main"
    }
    assert importers(imports, "spade_jax.main") == set()


def test_configs_stop_at_the_door(imports):
    found = importers(imports, "ml_collections")
    strangers = {m for m in found if not any(within(m, r) for r in READ_CONFIGS)}
    assert not strangers
    assert importers(imports, "configs") == set()


def test_tensorflow_is_for_reports_datasets_and_its_own_format_only(imports):
    of_data = {m for m in imports if within(m, "spade_jax.data")}
    others = {"spade_jax.workdir.report", "spade_jax.export.saved_model"}
    assert importers(imports, "tensorflow") <= others | of_data
    assert importers(imports, "clu") == {"spade_jax.workdir.report"}
    assert importers(imports, "tensorflow_datasets") <= of_data
    assert importers(imports, "onnx") == {"spade_jax.export.onnx_file"}
    assert importers(imports, "torch") <= {
        m for m in imports if within(m, "spade_jax.convert")
    }


SCRIPT = """
    import functools, json, sys

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
    from spade_jax import layout, nets
    from spade_jax.devices import mesh
    from spade_jax.devices.batches import shard_batch
    from spade_jax.devices.parallel import parallel_train_step
    from spade_jax.learning import state
    from spade_jax.learning.objectives.spade import spade_objective
    from spade_jax.learning.optimizers import Optimizers
    from spade_jax.learning.train_step import make_train_step
    from spade_jax.nets.initial import first_values

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
    optimizers = Optimizers(
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
    train_step = parallel_train_step(
        make_train_step(
            generator=networks.generator,
            objective=spade_objective(discriminator=networks.discriminator),
            optimizers=optimizers,
            axis_name="data",
        ),
        devices,
    )
    create = jax.jit(
        functools.partial(state.create_state, optimizers=optimizers),
        out_shardings=mesh.replicated(devices),
    )
    shapes = state.abstract_variables(networks, layout.Layout(batch["label"]))
    variables = first_values(0, shapes)
    before = jax.device_get(create(variables))
    after, terms = train_step(create(variables), shard_batch(batch, devices))
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


# ---- Another Python ------------------------------------------------------------------


@pytest.fixture
def other_python(repository, tmp_path):
    """The newest other Python of this machine, with what is required installed."""
    for minor in (13, 12, 11):
        if sys.version_info[:2] == (3, minor):
            continue
        name = f"python3.{minor}"
        kept = pathlib.Path.home() / ".pyenv" / "versions"
        candidates = [shutil.which(name), *kept.glob(f"3.{minor}*/bin/{name}")]
        for candidate in filter(None, candidates):
            # A name on the path may stand for a Python that is not switched on.
            started = subprocess.run(
                [candidate, "-m", "venv", tmp_path / "venv"],
                capture_output=True,
                check=False,
            )
            if started.returncode == 0:
                python = tmp_path / "venv" / "bin" / "python"
                subprocess.run(
                    [
                        *(python, "-m", "pip", "install", "--quiet", "-r"),
                        repository / "requirements.txt",
                    ],
                    check=True,
                )
                return python
    pytest.skip("there is no other Python here")


LOAD = """
    from PIL import Image
    import spade_jax
    from spade_jax.data import scenes

    scene = scenes.draw(5013, height=256, width=256)
    (picture,) = spade_jax.load("scenes")(scene.label)
    assert picture.dtype == "uint8" and picture.std() > 20, picture
    print(picture.shape)
"""


@pytest.mark.long
def test_an_update_and_a_picture_under_another_python(other_python, repository):
    """An update as above, and the six lines of the README."""
    # Compilers differ in their flags.
    environment = os.environ | {
        "PYTHONPATH": "",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    last = []
    for script in (SCRIPT, LOAD):
        result = subprocess.run(
            [other_python, "-c", textwrap.dedent(script)],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        last.append(result.stdout.splitlines()[-1])
    assert json.loads(last[0])["finite"]
    assert last[1] == "(256, 256, 3)"
