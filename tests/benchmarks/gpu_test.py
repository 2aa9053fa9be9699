"""The kit for GPUs, as far as it can be tried without one."""

import json
import pathlib
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from benchmarks.gpu import (
    __main__,
    camvid,
    curves,
    kernels,
    order,
    ours,
    parity,
    report,
    sections,
    tables,
)
from benchmarks.gpu.measure import Program, measure
from benchmarks.variants import Problem

SMALL = ("--width=2", "--hidden=4")


@pytest.fixture
def setting(tmp_path):
    """What `--tiny` asks for."""
    return __main__.setting(__main__.parse([f"--out={tmp_path}", "--tiny"]))


@pytest.fixture
def folder(tmp_path):
    """A directory as CamVid's: three pictures to train on, two to look at."""
    random = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 2)):
        for kind in ("img", "label"):
            (tmp_path / "data" / f"{split}_{kind}").mkdir(parents=True)
        for number in range(count):
            image = random.integers(256, size=(30, 40, 3), dtype=np.uint8)
            label = random.integers(12, size=(30, 40), dtype=np.uint8)
            data = tmp_path / "data"
            Image.fromarray(image).save(data / f"{split}_img" / f"{number}.jpg")
            Image.fromarray(label).save(data / f"{split}_label" / f"{number}.png")
    return tmp_path / "data"


# --- The command ----------------------------------------------------------------------


def test_every_section_is_there_and_others_are_refused(tmp_path, capsys):
    for name in order.SECTIONS:
        assert callable(getattr(sections, name)), name
    options = __main__.parse([f"--out={tmp_path}", "--sections=parity,wrong"])
    assert __main__.main(options) == 1
    assert "there is no wrong; there are machine" in capsys.readouterr().err


# A section that gives a row and ends well; one that fails; one that hangs.
SCRIPTS = {
    "good": """echo noise; echo 'row: {"what": "a", "variant": "b"}'""",
    "bad": """echo 'row: {"what": "c"}'; echo no memory >&2; exit 3""",
    "hanging": """echo 'row: {"what": "d"}'; exec tail -f /dev/null""",
    "late": "exit 4",
}


def gather(names, limits, out, seconds):
    return report.gather(
        lambda name: ["sh", "-c", SCRIPTS[name]],
        dict(zip(names, limits, strict=True)),
        out=out,
        seconds=seconds,
        heading={"command": "x"},
        environments={},
        least=0.0,
    )


def test_neither_failures_nor_hanging_lose_what_was_found(tmp_path, capsys):
    found = gather(("bad", "hanging", "good"), (60, 2, 60), tmp_path, 1e3)
    assert json.loads((tmp_path / "gpu.json").read_text()) == found
    ended = {name: s["ended"] for name, s in found["sections"].items()}
    assert ended == {
        "bad": "with status 3",
        "hanging": "by its limit of 2 s",
        "good": "well",
    }
    rows = {name: s["rows"] for name, s in found["sections"].items()}
    assert rows == {
        "bad": [{"what": "c"}],
        "hanging": [{"what": "d"}],
        "good": [{"what": "a", "variant": "b"}],
    }
    assert found["sections"]["bad"]["messages"] == "no memory\n"
    assert "a, b" in capsys.readouterr().out


def test_a_section_for_which_no_time_is_left_is_not_begun(tmp_path):
    found = gather(("late",), (60,), tmp_path, -1.0)
    assert found["sections"]["late"]["ended"] == "not begun"


def test_the_tables_say_what_is_faster_and_what_is_wrong():
    common = {"dtype": "bfloat16", "from_host": 1.0, "pictures_a_second": 8.0}
    common |= {"what": "training", "batch": 8, "flops": 4e12}
    rows = [
        {"what": "product", "variant": "x", "dtype": "bfloat16", "rate": 8e12},
        {**common, "variant": "PyTorch, compiled", "seconds": 2.0, "rate": 2e12},
        {**common, "variant": "PyTorch, eager", "seconds": 9.0, "rate": 4e12 / 9},
        {**common, "variant": "ours", "seconds": 0.5, "rate": 8e12, "peak_mib": 7.0},
        {**common, "variant": "broken", "error": "no memory", "where": "there"},
        {
            "what": "parity",
            "variant": "net",
            "error": 2.0,
            "allowed": 1,
            "right": False,
        },
    ]
    text = tables.text({"sections": {"all": {"rows": rows}}})
    lines = [line for line in text.splitlines() if line.startswith("| ours")]
    cells = "| ours | 8 | 500.00 | 1000.00 | 8 | 4.00 | 4000 | 100% | 7 |  |  |"
    assert lines == [cells]
    assert "broken" not in text
    assert "parity, net; error 2.0e+00; of 1e+00: WRONG" in text
    assert report.brief(rows[4]) == "  training, broken, 8, bfloat16: FAILED, no memory"


# --- Measuring ------------------------------------------------------------------------


def test_times_are_of_calls_in_a_row_and_of_calls_alone():
    made, run, waited = [], [], []
    program = Program(
        lambda: made.append(0) or len(made),
        lambda x: run.append(x) or x,
        waited.append,
        {},
    )
    found = measure(program, seconds=0.001)
    alone = sum(x > 1 for x in run)
    assert len(run) == 3 + found["rounds"] * found["calls"] + alone
    assert len(waited) == 3 + found["rounds"] + alone
    assert len(made) == 1 + alone
    assert found["calls"] == 100
    assert 0 < found["from"] <= found["seconds"] <= found["to"]


def test_a_batch_repeats_drawn_layouts_in_other_classes():
    problem = Problem(num_classes=30, size=32, batch=9)
    found = sections.batch_of_layouts(problem, None)
    assert found.label.shape == found.edge.shape == (9, 32, 32)
    np.testing.assert_array_equal(found.label[8], (found.label[0] + 11) % 30)
    np.testing.assert_array_equal(found.edge[8], found.edge[0])
    assert (found.label[0] != found.label[1]).any()


def test_what_fails_is_a_row_and_the_rest_goes_on(setting, monkeypatch):
    def fail(*args, **kwargs):
        raise MemoryError("RESOURCE_EXHAUSTED")

    monkeypatch.setattr(ours, "synthesis", fail)
    rows = list(sections.synthesis_1(setting))
    assert [row["variant"] for row in rows] == [
        "spade_jax, dense",
        "spade_jax, factored",
        "spade_jax, restyling",
    ]
    assert {row["error"] for row in rows} == {"MemoryError: RESOURCE_EXHAUSTED"}
    assert all("in fail" in row["where"] for row in rows)


def test_kernels_of_a_gpu_are_told_once_and_by_operation():
    def event(name, ns, **stats):
        return SimpleNamespace(name=name, duration_ns=ns, stats=list(stats.items()))

    def line(name, *events):
        return SimpleNamespace(name=name, events=events)

    stream = line(
        "Stream #13(Compute)",
        event("sm90_xmma_fprop", 3e6, hlo_op="cudnn-conv.1"),
        event("sm90_xmma_fprop", 1e6, hlo_op="cudnn-conv.2"),
        event("loop_add_fusion", 2e6, hlo_op="fusion.3"),
        event("MemcpyD2D", 2e6),
    )
    again = line("XLA Modules", event("jit_step", 9e6, hlo_op="all"))
    planes = [
        SimpleNamespace(name="/host:CPU", lines=[line("x", event("y", 5, hlo_op="z"))]),
        SimpleNamespace(name="/device:GPU:0", lines=[stream, again]),
    ]
    events = list(kernels.events_of(SimpleNamespace(planes=planes)))
    assert len(events) == 4
    text = '  %fusion.3 = f32[2] fusion(x), metadata={op_name="jit(f)/up_3/add"}\n'
    found = kernels.summary(events, calls=2, top=1, paths=kernels.paths(text))
    assert found["busy_ms"] == 4.0
    assert found["kinds"] == {
        "convolutions and products": 2.0,
        "elementwise": 1.0,
        "copies and transposes": 1.0,
    }
    assert found["kernels"] == [
        {"kernel": "sm90_xmma_fprop", "ms": 2.0, "share": 0.5, "calls": 1.0}
    ]
    assert [(row["operation"], row["path"]) for row in found["operations"]] == [
        ("cudnn-conv.1", ""),
        ("fusion.3", "jit(f)/up_3/add"),
    ]
    on_cpu = list(kernels.events_of(SimpleNamespace(planes=planes[:1])))
    assert on_cpu == [kernels.Event("y", "z", 5)]


def test_kernels_of_pytorch_are_those_of_the_gpu():
    def event(name, device, us, named=False):
        return SimpleNamespace(
            name=name,
            device_type=f"DeviceType.{device}",
            is_user_annotation=named,
            time_range=SimpleNamespace(elapsed_us=lambda: us),
        )

    events = [
        event("aten::conv2d", "CPU", 9),
        event("sm90_xmma_fprop", "CUDA", 2),
        event("Torch-Compiled Region", "CUDA", 5, named=True),
    ]
    found = kernels.pytorch_events_of(events)
    assert found == [kernels.Event("sm90_xmma_fprop", "", 2000)]


# --- The programs ---------------------------------------------------------------------


@pytest.fixture
def lowered(monkeypatch):
    """The programs that would be compiled, lowered for a GPU in their place."""
    texts = []

    def lower(function, *inputs):
        text = function.trace(*inputs).lower(lowering_platforms=("cuda",)).as_text()
        texts.append(text)
        return None, {}, text

    monkeypatch.setattr(ours, "_compiled", lower)
    return texts


@pytest.mark.parametrize(
    ("way", "norm"),
    [
        ("dense", None),
        pytest.param("factored", None, marks=pytest.mark.long),
        pytest.param("dense", sections.CLADE, marks=pytest.mark.long),
    ],
)
def test_synthesis_is_lowered_for_a_gpu(way, norm, setting, lowered):
    problem, layout = setting.of(2, **({"norm": norm} if norm else {}))
    # Of one class, as on details at this size no tables would be made.
    layout = layout._replace(label=0 * layout.label, edge=layout.edge & False)
    ours.synthesis(problem, layout, factored=way == "factored")
    (text,) = lowered
    assert "bf16" in text
    assert "stablehlo.convolution" in text
    assert ("stablehlo.while" in text) == (way == "factored")
    assert "tensor<2x32x32x3xf32>" in text


@pytest.mark.long
@pytest.mark.parametrize("way", ["dense", "factored"])
def test_training_is_lowered_for_a_gpu(way, setting, lowered):
    problem, layout = setting.of(2)
    program = ours.training(problem, layout, factored=way == "factored")
    (text,) = lowered
    assert "bf16" in text
    assert ("stablehlo.while" in text) == (way == "factored")
    assert ("tables" in program.inputs()) == (way == "factored")


@pytest.mark.long
def test_the_programs_run_and_are_traced(setting):
    rows = list(sections.training_dense_8(setting))
    assert [row["what"] for row in rows] == ["training", "kernels of training"]
    assert not [row["error"] for row in rows if "error" in row]
    assert rows[0]["flops"] > 0
    assert rows[0]["compile_seconds"] > 0
    assert rows[1]["operations"]
    assert any("conv" in row["path"] for row in rows[1]["operations"])
    assert (setting.out / "training_dense_8.hlo.txt.gz").stat().st_size > 1000
    assert json.loads(json.dumps(rows)) == rows

    rows = list(sections.synthesis_1(setting))
    assert not [row["error"] for row in rows if "error" in row]
    assert len(rows) == 5
    dense, _, factored, _, restyling = rows
    assert dense["flops"] > factored["flops"] > restyling["flops"]


@pytest.mark.long
def test_pytorchs_programs_run(setting):
    for section in (sections.training_pytorch, sections.synthesis_pytorch):
        row = next(section(setting))
        assert row["variant"] == "PyTorch, channels_last"
        assert "error" not in row
        assert row["seconds"] > 0


def test_the_machines_peak(setting, monkeypatch):
    monkeypatch.setattr(sections, "measure", lambda program, seconds: {"seconds": 0.5})
    monkeypatch.setattr(sections.shutil, "which", lambda name: None)
    rows = list(sections.machine(setting))
    assert [row["what"] for row in rows] == ["machine", *["product"] * 4, "copy"]
    assert [row.get("rate") for row in rows] == [None, *[4 * 64**3] * 4, 4 * 2**20]


# --- Parity ---------------------------------------------------------------------------


def test_a_block_is_right_in_all_precisions():
    rows = list(parity.block())
    assert [row["precision"] for row in rows[::2]] == list(parity.PRECISIONS)
    for row in rows:
        assert row["right"], row
    # What is allowed of bfloat16 does not hide that it is one.
    assert rows[4]["error"] > 1e-4


def test_what_is_no_number_is_not_right():
    assert not parity._row("x", "float32", float("nan"), 1.0)["right"]


# --- Training -------------------------------------------------------------------------


def test_each_epoch_has_an_order_of_its_own_and_tables(folder):
    examples = camvid.source(folder, "train")
    change = camvid.transform(32, training=True)
    batches = camvid.feed(examples, change, batch=3, seed=0, sizes=[(32, 32)])
    first, second = next(batches), next(batches)
    batches.close()
    assert first["image"].shape == (3, 32, 32, 3)
    assert first["label"].shape == (3, 32, 32)
    assert list(first["tables"]) == ["32x32"]
    assert (first["label"] != second["label"]).any()
    again = next(camvid.feed(examples, change, batch=3, seed=0))
    np.testing.assert_array_equal(again["image"], first["image"])
    assert "tables" not in again


def test_what_is_packed_is_read(folder, tmp_path, monkeypatch):
    layer = {"kernel": np.ones((1, 1, 2, 2), np.float32) / 3}
    network = camvid.PerceptualNetwork("vgg16", {"conv1_1": layer})
    monkeypatch.setattr(camvid.perceptual, "load", lambda name: network)
    camvid.pack(folder, tmp_path / "packed")
    read = camvid.read_vgg16(tmp_path / "packed" / "vgg16.npz")
    np.testing.assert_allclose(
        read.params["conv1_1"]["kernel"], layer["kernel"], rtol=1e-3
    )
    packed, before = (
        camvid.source(root, "val") for root in (tmp_path / "packed", folder)
    )
    assert len(packed) == 2
    change = camvid.transform(256, training=True)
    ours, theirs = (
        change(examples[1], np.random.default_rng(3)) for examples in (packed, before)
    )
    np.testing.assert_array_equal(ours.label, theirs.label)
    assert np.abs(ours.image.astype(int) - theirs.image).mean() < 8


def test_curves_show_every_loss():
    rows = [{"step": n, "seconds": 1.0, "a": 1 / n, "b": n, "c": 0} for n in (1, 2, 9)]
    picture = curves.draw(rows, x="step")
    assert picture.dtype == np.uint8
    assert picture.shape == (2 * 222 + 2, 2 * 422 + 2, 3)
    blue = (picture == (31, 95, 191)).all(-1)
    for place in (blue[:222, :422], blue[:222, 422:], blue[222:, :422]):
        assert place.sum() > 100
    assert not blue[222:, 422:].any()
    assert curves.draw(rows[:1], x="step").shape == picture.shape


@pytest.mark.long
def test_it_trains(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(camvid, "_LOG_EVERY", 2)
    out = tmp_path / "out"
    options = [f"--root={folder}", f"--out={out}", "--steps=4", "--minutes=60"]
    options += ["--size=32", "--batch=2", "--factored", *SMALL]
    result = camvid.train(camvid.parse(options))
    assert result["steps"] == 4
    assert result["finite"]
    assert json.loads((out / "result.json").read_text()) == result
    rows = [json.loads(x) for x in (out / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 4]
    assert {"gan", "feature_matching", "d_fake", "d_real"} < set(rows[0])
    assert "perceptual" not in rows[0]
    assert {file.name for file in pathlib.Path(out).glob("*.png")} == {
        "curves.png",
        "sheet_000004.png",
    }


@pytest.mark.long
def test_the_train_step_of_camvid_is_lowered_for_a_gpu(folder, tmp_path):
    options = camvid.parse(
        [f"--root={folder}", f"--out={tmp_path}", "--size=32", *SMALL]
    )
    _, held, step, constants = camvid.model(options)
    batch = {
        "image": np.zeros((2, 32, 32, 3), np.float32),
        "label": np.zeros((2, 32, 32), np.int32),
    }
    traced = jax.jit(step, donate_argnums=0).trace(held, batch, constants)
    text = traced.lower(lowering_platforms=("cuda",)).as_text()
    assert "bf16" in text
    assert held.ema is not None
