import json

import jax
import pytest

from spade_jax.plan import ahead, counted, kept, report
from spade_jax.plan.chips import parse_topology
from spade_jax.recipe import describe

GIB = 2**30
# It reads and writes 40.95 GB each; its collectives stay on the chip.
LARGE, ROW = "f32[10237500000]{0}", "f32[1024]{0:S(1)}"
MANY = ", ".join(["f32[1000000]{0:S(1)}"] * 89 + ["f32[11000000]{0:S(1)}"])
TEXT = f"""\
HloModule jit_step

ENTRY %main (a: f32[10237500000]) -> f32[10237500000] {{
  %a = {LARGE} parameter(0)
  %m = ({MANY}) all-reduce(), to_apply=%sum
{"".join(f"  %r{n} = {ROW} all-reduce(), to_apply=%sum{chr(10)}" for n in range(24))}\
  ROOT %b = {LARGE} negate(%a)
}}
"""
LOOP = """\
HloModule jit_step

%until (s: f32[1000000]) -> pred[] {
  ROOT %s = pred[]{:S(6)} constant(true)
}

%round (t: f32[1000000]) -> f32[1000000] {
  %t = f32[1000000]{0} parameter(0)
  ROOT %n = f32[1000000]{0} negate(%t)
}

ENTRY %main (a: f32[1000000]) -> f32[1000000] {
  %a = f32[1000000]{0} parameter(0)
  %w = f32[1000000]{0} while(%a), condition=%until, body=%round, \
metadata={op_name="jit(step)/jvp(SPADEGenerator)/up_3/up_3.modulations/while"}
  ROOT %v = f32[1000000]{0} while(%w), condition=%until, body=%round
}
"""
COMPILED = ahead.Compiled(
    memory=ahead.Memory(
        arguments=2 * GIB,
        temporaries=6 * GIB,
        outputs=GIB + 512,
        reused=GIB,
        program=GIB // 4,
    ),
    flops=5e12,
    bytes_accessed=163.8e9,
    text=TEXT,
    seconds=187.4,
)
V5E = parse_topology("v5e:2x4")


@pytest.fixture
def make_plan(tiny_config, monkeypatch, tmp_path):
    """`make_plan(**options)` of the tiny config, with fields in `config`.

    The TPUs are the CPU's devices, and `compiled` is what the compiler says.
    """
    monkeypatch.setattr(ahead, "libtpu_version", lambda: "0.0.99")

    def make(*, config=(), compiled=COMPILED, topology=V5E, **options):
        tiny_config.update_from_flattened_dict(dict(config))

        def compile_once(_, *, chip, directory):
            assert (chip, directory) == (topology.chip, tmp_path)
            if isinstance(compiled, Exception):
                raise compiled
            return compiled

        monkeypatch.setattr(
            ahead, "devices", lambda topology: jax.devices()[: topology.num_chips]
        )
        monkeypatch.setattr(ahead, "lower", lambda recipe, devices: None)
        monkeypatch.setattr(kept, "compile_once", compile_once)
        return report.make_plan(
            describe(tiny_config), topology, cache=tmp_path, **options
        )

    return make


def test_a_plan_is_data(make_plan, tiny_config):
    plan = make_plan(
        config={"num_epochs": 3, "decay_epochs": 2, "dtype": "bfloat16"},
        num_examples=170,
    )
    count = counted.count(describe(tiny_config))
    # Two pictures a device, two operations a multiply-accumulate.
    flops = 4 * count.train_step
    assert json.loads(json.dumps(plan)) == {
        "topology": "v5e:2x4",
        "num_devices": 8,
        "device": {"peak_flops": 197e12, "bandwidth": 819e9, "memory": 16 * GIB},
        "versions": {"jax": jax.__version__, "libtpu": "0.0.99"},
        "step": {
            "batch_size": 16,
            "a_device": 2,
            "height": 32,
            "width": 32,
            "dtype": "bfloat16",
            "remat": False,
            "factored": False,
            "spatial": 1,
            "accumulate": 1,
        },
        "multiply_accumulates": count._asdict(),
        "fits": True,
        "memory": {
            "arguments": 2 * GIB,
            "temporaries": 6 * GIB,
            "outputs": GIB + 512,
            "reused": GIB,
            "program": GIB // 4,
            "total": 8 * GIB + GIB // 4 + 512,
        },
        "flops": {"counted": flops, "compiled": 5e12, "ratio": 5e12 / flops},
        "traffic": {"bytes": 81_900_000_000, "loops": 0, "unknown": 0},
        "bytes_accessed": 163.8e9,
        "compile_seconds": 187.4,
        "collectives": [
            {
                "kind": "all-reduce",
                "dtype": "f32",
                "bytes": 400_000_000,
                "arrays": 90,
                "shape": None,
                "count": 1,
            },
            {
                "kind": "all-reduce",
                "dtype": "f32",
                "bytes": 4096,
                "arrays": 1,
                "shape": [1024],
                "count": 24,
            },
        ],
        "time": {
            "arithmetic": flops / 197e12,
            "traffic": pytest.approx(0.1),
            "step": pytest.approx(0.1),
            "bound": "traffic",
            "images_per_second": pytest.approx(160),
        },
        # Ten steps an epoch.
        "recipe": {
            "num_examples": 170,
            "steps": 50,
            "days": pytest.approx(5 / 86400),
        },
    }


@pytest.mark.parametrize(
    ("fields", "num_examples"),
    [
        ({"data.source": "coco_stuff"}, 118_287),
        ({"data.source": "scenes", "data.scenes.num_train": 77}, 77),
        ({"data.source": "folder"}, None),
    ],
)
def test_published_datasets_are_as_large_as_they_are(make_plan, fields, num_examples):
    recipe = make_plan(config=fields)["recipe"]
    assert recipe["num_examples"] == num_examples
    assert (recipe["days"] is None) == (num_examples is None)


def test_a_number_of_steps_comes_before_epochs(make_plan):
    plan = make_plan(config={"num_steps": 500})
    assert plan["recipe"]["steps"] == 500
    assert plan["recipe"]["days"] == pytest.approx(50 / 86400)
    assert "The recipe: 500 steps, 0.01 hours or more" in report.describe(
        plan, title="x.py"
    )


def test_a_plan_is_text(make_plan):
    text = report.describe(
        make_plan(config={"data.source": "coco_stuff"}), title="configs/x.py"
    )
    for line in (
        "configs/x.py on v5e:2x4: 8 devices, each of 197 TFLOP/s (bf16), 819 GB/s,"
        " 16.00 GiB",
        "A step: 16 pictures 32 wide and 32 high, 2 a device; float32, remat off,"
        " dense",
        "Compiled in 187 s by libtpu 0.0.99 with jax " + jax.__version__,
        "  arguments     2.00 GiB  state, batch, perceptual network",
        "  outputs       1.00 GiB  1.00 GiB of them in the arguments' place",
        "  total         8.25 GiB  of 16.00 GiB: fits, 48% free",
        "  traffic         81.9 GB    100.00 ms at full bandwidth; compiler 164 GB, on"
        " the chip included",
        "  at best 100.00 ms a step, bound by traffic: 160.0 images/s at most",
        # 200 epochs of 7,392 steps.
        "The recipe: 1,478,400 steps (118,287 training pictures), 1.71 days or more",
        "Collectives of a step: 25, of 400 MB",
        "    1 x all-reduce of f32, 90 arrays: 400 MB",
        "   24 x all-reduce of f32[1024]: 4.1 kB",
    ):
        assert line in text.splitlines()


def test_without_a_number_of_pictures_the_text_asks_for_it(make_plan):
    text = report.describe(make_plan(), title="x.py")
    assert "Give --num_examples for the days that the recipe takes." in text


def test_a_factored_steps_loops_count_by_the_distinct_neighbourhoods(make_plan):
    plan = make_plan(
        config={"factored": True},
        distinct={32: 0.5},
        compiled=COMPILED._replace(text=LOOP),
    )
    assert plan["step"]["factored"]
    assert plan["flops"]["ratio"] is None
    # Two pictures of 32x32 share a table, whose 1,024 rows take 4 rounds of 256. The
    # other loop is one over something else.
    assert plan["traffic"] == {"bytes": 40_000_000, "loops": 40_000_000, "unknown": 1}
    text = report.describe(plan, title="x.py")
    assert "remat off, factored" in text
    assert "compiler 5 TFLOP, with loops as one round" in text
    assert "; 40 MB in loops over neighbourhoods; 1 loop(s) of unknown length" in text
    assert "  more than 0.05 ms a step, bound by traffic" in text
    more = make_plan(config={"factored": True}, distinct={32: 1.0})
    assert more["flops"]["counted"] > plan["flops"]["counted"]


def test_devices_that_share_pictures_and_parts_of_the_batch_are_told(make_plan):
    whole = make_plan()
    plan = make_plan(config={"spatial": 2, "accumulate": 2})
    assert plan["flops"]["counted"] == whole["flops"]["counted"]
    assert plan["flops"]["ratio"] is None
    text = report.describe(plan, title="x.py")
    assert "32 high, 4 for 2 devices in 2 parts; float32" in text
    assert "compiler 5 TFLOP, with loops as one round" in text


def test_a_step_that_the_compiler_gave_up_on(make_plan):
    error = ahead.DoesNotFitError("RESOURCE_EXHAUSTED: Used 20.5G of 15.75G hbm.")
    plan = make_plan(compiled=error)
    json.dumps(plan)
    assert not plan["fits"]
    assert plan["shortage"]["needed"] == 20.5 * GIB
    assert plan["flops"].keys() == {"counted"}
    text = report.describe(plan, title="x.py")
    assert "DOES NOT FIT a device: it needs 20.50 GiB of the 15.75 GiB" in text
    assert "  --config.dtype=bfloat16: halves the activations" in text
    assert "Memory of a device" not in text


def test_the_compilers_words_stand_in_for_numbers(make_plan):
    plan = make_plan(compiled=ahead.DoesNotFitError("RESOURCE_EXHAUSTED: no way"))
    text = report.describe(plan, title="x.py")
    assert "DOES NOT FIT a device.\nThe compiler: RESOURCE_EXHAUSTED: no way" in text


def test_a_step_that_compiles_and_is_still_too_large(make_plan):
    memory = COMPILED.memory._replace(arguments=12 * GIB)
    plan = make_plan(compiled=COMPILED._replace(memory=memory))
    assert not plan["fits"]
    text = report.describe(plan, title="x.py")
    assert "DOES NOT FIT a device: it needs 18.25 GiB of the 16.00 GiB" in text
    assert "  --config.dtype=bfloat16: halves the activations" in text
    assert "  total        18.25 GiB  of 16.00 GiB: too much" in text


@pytest.mark.parametrize(
    ("fields", "flags"),
    [
        (
            {"batch_size": 32},
            [
                "--config.dtype=bfloat16",
                "--config.remat=True",
                "--topology=v5e:2x8",
                "--config.accumulate=2",
            ],
        ),
        (
            {"batch_size": 32, "dtype": "bfloat16", "remat": True, "accumulate": 4},
            ["--topology=v5e:2x8"],
        ),
        (
            {"batch_size": 8, "dtype": "bfloat16", "remat": True},
            ["--topology=v5e:2x8 --config.spatial=2"],
        ),
        (
            {
                "batch_size": 8,
                "generator.name": "pix2pixhd",
                "generator.norm": "spectralsyncbatch",
                "generator.latent": "none",
                "spatial": 2,
            },
            ["--config.dtype=bfloat16", "--topology=v5e:2x8", "--config.accumulate=2"],
        ),
    ],
)
def test_remedies_are_those_that_are_left(tiny_config, fields, flags):
    tiny_config.update_from_flattened_dict(fields)
    found = report.remedies(describe(tiny_config), V5E, num_devices=8)
    assert [flag for flag, _ in found] == flags
