import importlib
import json

import numpy as np
import pytest
from PIL import Image

from spade_jax.data import DataError
from spade_jax.files import outputs
from spade_jax.learning.segmenter_step import IGNORED
from spade_jax.metrics import own_segmenter
from spade_jax.recipe import describe
from spade_jax.training.prepare_segmenter import true_classes
from spade_jax.training.train_segmenter import _means, train_segmenter
from spade_jax.workdir import report

SIZE = 8
COLOURS = np.array([(200, 40, 40), (40, 40, 200), (40, 200, 40)])


def make_pictures(root, split, count):
    """Patches of three classes in their colours, and a row of "unknown"."""
    random = np.random.default_rng(len(split))
    for folder in ("img", "label"):
        (root / f"{split}_{folder}").mkdir(parents=True)
    for i in range(count):
        label = random.integers(0, 3, (2, 2)).repeat(4, 0).repeat(4, 1)
        image = COLOURS[label] + random.integers(-30, 30, (SIZE, SIZE, 3))
        label[i % SIZE] = 255
        for folder, array in (("label", label), ("img", image)):
            path = root / f"{split}_{folder}" / f"{i}.png"
            Image.fromarray(array.astype(np.uint8)).save(path)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    make_pictures(root, "train", 8)
    make_pictures(root, "val", 10)
    return root


@pytest.fixture
def config(default_config, root):
    """Classes 0 and 2 are to be learned, from the folder at `root`."""
    default_config.update_from_flattened_dict(
        {
            "data.root": str(root),
            "data.num_classes": 3,
            "data.unknown_label": 255,
            "data.classes": ("red", "blue", "green"),
            "data.load_size": SIZE,
            "data.crop_size": SIZE,
            "segmenter.batch_size": 8,
            "segmenter.num_steps": 30,
            "segmenter.learning_rate": 0.03,
            "segmenter.log_every": 10,
            "segmenter.evaluate_every": 20,
            "segmenter.widths": (4,),
            "segmenter.ignored_ids": (1,),
        }
    )
    return default_config


def test_two_colours_are_learned(tmp_path, config, root, caplog, monkeypatch):
    caplog.set_level("INFO", "spade_jax")
    monkeypatch.setattr(report, "_tensorboard_writer", lambda workdir: None)
    segmenter = train_segmenter(describe(config), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("segmenter.npz", "segmenter.png", "segmenter", outputs.RECORD)
    }
    of_file = own_segmenter.load(
        tmp_path / own_segmenter.FILE, num_ids=4, names=("red", "blue", "green")
    )
    assert of_file.sha256 == segmenter.sha256
    assert of_file.description == segmenter.description
    told = segmenter.description
    assert told.truth == (0, IGNORED, 1, IGNORED)
    assert told.class_names == ("red", "green")
    assert (told.size, told.steps, told.dataset) == ((SIZE, SIZE), 30, "folder")
    assert told.recipe["segmenter"]["learning_rate"] == 0.03
    assert str(root) not in json.dumps(told.recipe)

    def read(folder, i):
        return np.asarray(Image.open(root / folder / f"{i}.png"))

    seen = segmenter.classes(np.stack([read("val_img", i) for i in range(10)]))
    label = np.stack([read("val_label", i) for i in range(10)])
    right = (np.array(told.ids)[seen] == label)[(label == 0) | (label == 2)].mean()
    assert right > 0.95
    assert told.scores["accuracy"] == pytest.approx(right, abs=1e-3)
    assert told.scores["pictures"] == 10

    lines = (tmp_path / "segmenter" / "metrics.jsonl").read_text().splitlines()
    lines = [json.loads(line) for line in lines]
    assert [x["step"] for x in lines if "loss/cross_entropy" in x] == [10, 20, 30]
    assert [x["step"] for x in lines if "real/mean_iou" in x] == [20, 30]
    assert lines[-1]["real/accuracy"] == told.scores["accuracy"]
    assert "step 30/30" in caplog.text
    assert "real validation pictures: mean_iou" in caplog.text
    # A row of a class, and none of the ignored one.
    table = caplog.messages[-1]
    assert "green" in table
    assert "blue" not in table
    assert f"The segmenter is in {tmp_path / own_segmenter.FILE}" in table
    # Each silence is announced: opening, weights, training, looking.
    phases = [r.told["phase"] for r in caplog.records if is_beginning(r)]
    looking = "Looking at the real validation pictures"
    assert phases == [
        *("Opening the data", "Drawing the first weights", "Training the segmenter"),
        *(looking, looking),
    ]


def is_beginning(record):
    return getattr(record, "told", {}).get("event") == "begin"


@pytest.mark.parametrize(
    ("fields", "error", "message"),
    [
        ({"segmenter.num_steps": 0}, ValueError, r"num_steps=0 must be 1 or more"),
        ({"segmenter.log_every": 0}, ValueError, r"log_every=0 must be 1 or more"),
        ({"segmenter.batch_size": 6}, ValueError, "by 8 devices: use a multiple of 8"),
        ({"segmenter.widths": ()}, ValueError, r"segmenter\.widths=\(\) must be"),
        ({"segmenter.widths": (4, 0)}, ValueError, r"widths=\(4, 0\) must be"),
        ({"segmenter.widths": (2,) * 5}, ValueError, "multiples of 16, not 8 wide"),
        ({"segmenter.norm": "layer"}, ValueError, "norm='layer' is not understood"),
        (
            {"segmenter.ignored_ids": (4,)},
            ValueError,
            r"4 is not one of the ids 0\.\.3",
        ),
        ({"segmenter.ignored_ids": (0, 1)}, ValueError, "leaves 1 of the config"),
        ({"data.root": "nowhere"}, DataError, "nowhere"),
    ],
)
def test_what_cannot_be_trained_is_told_before(
    fields, error, message, config, tmp_path
):
    config.update_from_flattened_dict(fields)
    with pytest.raises(error, match=message):
        train_segmenter(describe(config), tmp_path)
    assert not (tmp_path / own_segmenter.FILE).exists()


def test_every_picture_to_be_scored_is_looked_at_before(config, tmp_path, caplog):
    caplog.set_level("INFO", logger="spade_jax")
    make_pictures(tmp_path, "train", 8)
    make_pictures(tmp_path, "val", 40)
    config.data.root = str(tmp_path)
    # A look at 32 of them would miss it.
    assert 4 not in np.linspace(0, 39, 32, dtype=int)
    Image.new("L", (SIZE, SIZE), 7).save(tmp_path / "val_label" / "12.png")
    names = sorted(f"{i}.png" for i in range(40))
    assert names[4] == "12.png"
    with pytest.raises(DataError, match=r"val_label/12\.png.* 7"):
        train_segmenter(describe(config), tmp_path / "out")
    phases = [r.told["phase"] for r in caplog.records if is_beginning(r)]
    assert phases == ["Opening the data"]


def test_divergence_is_told():
    terms = [{"cross_entropy": np.float32(x), "accuracy": 0.5} for x in (1, np.nan)]
    with pytest.raises(
        ValueError, match=r"is nan at step 7\. A lower config\.segmenter"
    ):
        _means(terms, 7)


def test_what_is_not_scored_is_not_learned():
    def of_recipe(name):
        config = importlib.import_module(f"configs.{name}").get_config()
        recipe = describe(config)
        classes = true_classes(recipe.data, recipe.segmenter.ignored_ids)
        return config.data.num_classes, classes

    count, classes = of_recipe("camvid")
    assert classes == (*range(count - 1), IGNORED)
    count, classes = of_recipe("coco")
    assert classes == (*range(count), IGNORED)
    _, classes = of_recipe("ade20k")
    assert classes == (IGNORED, *range(150))
    _, classes = of_recipe("cityscapes")
    assert [i for i, x in enumerate(classes) if x != IGNORED][:3] == [7, 8, 11]
    assert max(classes) == 18


def test_a_segmenter_of_somebody_elses_is_left_alone(tmp_path, config):
    (tmp_path / "segmenter.npz").write_text("mine")
    message = (
        r"--workdir: .*segmenter\.npz is there already, and train_segmenter did not"
    )
    with pytest.raises(ValueError, match=message):
        train_segmenter(describe(config), tmp_path)
    assert (tmp_path / "segmenter.npz").read_text() == "mine"
    assert not (tmp_path / "segmenter").exists()
