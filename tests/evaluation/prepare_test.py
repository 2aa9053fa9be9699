import importlib.util
import types

import numpy as np
import pytest

from spade_jax.data import DataError
from spade_jax.evaluation.in_training import TrainingEvaluation
from spade_jax.evaluation.measure import Measure
from spade_jax.evaluation.prepare import about_middles, about_sizes, prepare_evaluator
from spade_jax.metrics import frechet
from spade_jax.metrics.weights import WeightsError
from spade_jax.recipe import with_fields


def altered(recipe, fields):
    """The recipe with fields by their names with dots."""
    changes = {name.replace(".", "__"): value for name, value in fields.items()}
    return with_fields(recipe, **changes)


@pytest.mark.parametrize(
    ("fields", "measure", "error", "message"),
    [
        ({}, {"protocol": "papre"}, ValueError, "--protocol=papre is not one of paper"),
        ({}, {"protocol": "paper"}, ValueError, "for which there is --protocol=own"),
        (
            {"data.source": "cityscapes"},
            {},
            ValueError,
            "more than one way: give --protocol=paper or oasis or clade or own",
        ),
        (
            {"data.source": "coco_stuff"},
            {"protocol": "paper"},
            ValueError,
            "pictures 256 wide and 256 high, but the model makes them 32 wide",
        ),
        (
            {
                "data.source": "coco_stuff",
                "data.crop_size": 256,
                "data.preprocess_mode": "crop",
            },
            {"protocol": "paper"},
            ValueError,
            "--protocol=paper is of whole pictures, but the model sees the middle",
        ),
        (
            {"data.source": "coco_stuff", "data.crop_size": 256},
            {"protocol": "paper"},
            WeightsError,
            r"(?s)deeplabv2\.npz and inception\.npz with --weights_dir=DIR.*convert",
        ),
        (
            {},
            {"segmenter": "nowhere.npz"},
            WeightsError,
            r"nowhere\.npz does not exist.*--mode=train_segmenter",
        ),
        (
            {},
            {"weights_dir": "networks"},
            ValueError,
            "--weights_dir=networks would count for nothing: --protocol=own measures"
            " with the project's own segmenter alone. Leave it out",
        ),
        (
            {"data.source": "coco_stuff", "data.crop_size": 256},
            {"protocol": "paper", "segmenter": "mine.npz"},
            ValueError,
            "--segmenter=mine.npz would count for nothing: --protocol=paper measures"
            " with deeplabv2 and inception. Leave it out",
        ),
        ({"data.num_classes": 4}, {}, WeightsError, "4 ids, not the 5"),
        ({"data.val_split": "one"}, {}, ValueError, "'one' has 1 picture"),
        ({"data.val_split": "empty"}, {}, DataError, "holds no picture"),
        ({}, {"num_samples": 0}, ValueError, "--num_samples=0 must be at least 1"),
        (
            {},
            {"num_samples": 10**12},
            ValueError,
            "must be at least 1, and at most 1024",
        ),
        ({}, {"num_samples": 2}, ValueError, "layout alone .* have no diversity"),
        (
            {
                "generator.name": "spade",
                "generator.norm": "spadesyncbatch3x3",
                "generator.latent": "vae",
            },
            {"num_samples": 2},
            ValueError,
            r"pip install 'spade-jax\[perceptual\]'",
        ),
        ({}, {"reference": "nowhere.npz"}, ValueError, r"nowhere\.npz.*does not exist"),
    ],
)
def test_what_is_missing_or_wrong_is_told(
    fields, measure, error, message, run, recipe, one_device, monkeypatch
):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(error, match=message):
        prepare_evaluator(
            altered(recipe, fields),
            Measure(**measure),
            workdir=run,
            devices=one_device,
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"eval.protocol": "paper"},
            r"^--config\.eval\.protocol=paper says nothing of"
            r" config\.data\.source='folder', for which there is"
            r" --config\.eval\.protocol=own\.",
        ),
        (
            {"data.source": "cityscapes"},
            r"give --config\.eval\.protocol=paper or oasis or clade or own\.",
        ),
        (
            {"data.source": "coco_stuff", "eval.protocol": "paper"},
            r"^--config\.eval\.protocol=paper is of pictures 256 wide.* Use"
            r" --config\.eval\.protocol=own, or a model of that size",
        ),
        (
            {
                "data.source": "coco_stuff",
                "data.crop_size": 256,
                "eval.protocol": "paper",
            },
            r"^--config\.eval\.protocol=paper needs the weights of .* with"
            r" --config\.eval\.weights_dir=DIR\.",
        ),
        (
            {"eval.reference": "wide.npz"},
            r"^--config\.eval\.reference=wide\.npz has 3 features a picture, but",
        ),
    ],
)
def test_in_training_errors_name_the_fields(
    run, recipe, one_device, tmp_path, monkeypatch, fields, message
):
    monkeypatch.chdir(tmp_path)
    wide = frechet.Statistics(np.zeros(3), np.eye(3), 5)
    frechet.write_statistics("wide.npz", wide)
    with pytest.raises(ValueError, match=message):
        TrainingEvaluation(
            altered(recipe, fields), None, workdir=run, devices=one_device
        )


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        *[("resize_and_crop", 0), ("fixed", 0), ("none", 0), ("scale_width", 0)],
        *[("crop", 1), ("scale_width_and_crop", 1), ("scale_shortside_and_crop", 1)],
    ],
)
def test_it_is_told_where_the_middle_of_pictures_is_scored(recipe, mode, told):
    found = about_middles(with_fields(recipe, data__preprocess_mode=mode).data)
    assert len(found) == told
    assert all("by their middle, 32x32 (width" in message for message in found)


def test_a_segmenter_of_pictures_of_another_size_is_told(recipe):
    observers = types.SimpleNamespace(description={"own": {"size": (32, 32)}})
    assert about_sizes(recipe.data, observers) == ()
    wide = with_fields(recipe, data__aspect_ratio=2.0)
    (told,) = about_sizes(wide.data, observers)
    assert "on pictures 32 wide and 32 high, and those of the model are 32 wide" in told
