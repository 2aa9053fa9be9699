import gzip
import json
import os
import subprocess
import sys

import pytest

# A baseline, because a SPADE takes thrice as long to compile.
TINY = [
    "--config.batch_size=8",
    "--config.data.crop_size=32",
    "--config.data.source=coco_stuff",
    "--config.generator.name=pix2pixhd",
    "--config.generator.norm=spectralsyncbatch",
    "--config.generator.width=4",
    "--config.generator.blocks=1",
    "--config.generator.downsamplings=1",
    "--config.discriminator.width=4",
    "--config.discriminator.num_layers=2",
    "--config.discriminator.num_scales=1",
    "--config.loss.perceptual_network=none",
]


@pytest.fixture
def run(repository, tmp_path):
    """`run(*arguments)` of `python -m spade_jax.plan`."""
    environment = os.environ | {
        "XDG_CACHE_HOME": str(tmp_path),
        # A quarter of the time, and nearly the same figures.
        "JAX_OPTIMIZATION_LEVEL": "O0",
    }

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "spade_jax.plan", *arguments],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.mark.long  # It needs libtpu, which is large.
def test_a_small_recipe_is_planned_for_tpus(run, tmp_path):
    pytest.importorskip("libtpu")
    file = tmp_path / "plan.json"
    result = run(
        "--config=configs/default.py", "--topology=v5e:2x4", f"--json={file}", *TINY
    )
    assert result.returncode == 0, result.stderr
    assert "configs/default.py on v5e:2x4: 8 devices" in result.stdout
    assert "118,287 training pictures" in result.stdout
    plan = json.loads(file.read_text())
    assert plan["config"] == "configs/default.py"
    assert plan["fits"]
    assert plan["device"]["memory"] == 16 * 2**30
    assert 1 < plan["flops"]["ratio"] < 10
    assert {c["kind"] for c in plan["collectives"]} == {"all-reduce"}
    (kept,) = (tmp_path / "spade_jax" / "plans").iterdir()
    said = json.loads(gzip.decompress(kept.read_bytes()))
    assert said["seconds"] == plan["compile_seconds"]
    # Smaller than the compiler's count, by what stays on the chip.
    assert 0 < plan["traffic"]["bytes"] < plan["bytes_accessed"]
    assert plan["traffic"]["unknown"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--config.dtype=bfloat16"],
            "--config.dtype=bfloat16: --config=FILE is missing",
        ),
        (["--config=configs/default.py"], "--topology is missing, for example v5e:2x4"),
        (
            ["--config=configs/default.py", "--topology=x", "--json=LICENSE/x.json"],
            "--json: LICENSE is no directory",
        ),
        (
            ["--config=configs/default.py", "--topology=x", "--json=LICENSE"],
            "--json: LICENSE is there already, and plan did not write it",
        ),
    ],
)
def test_mistakes_are_told_in_one_message(run, arguments, message):
    result = run(*arguments)
    assert result.returncode == 1
    assert message in result.stderr
    assert "Traceback" not in result.stderr
