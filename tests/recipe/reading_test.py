import json
from typing import Any

import pytest

from spade_jax import recipe
from spade_jax.recipe import Best, describe, from_json, library, to_json, with_fields
from spade_jax.recipe.fields import FIELDS
from spade_jax.recipe.kinds import Open, Place, Text


@pytest.fixture(params=sorted(p.stem for p in library.directory().glob("*.py")))
def every_recipe(request):
    """Each of the recipes that come with the project."""
    return describe(library.read(library.directory() / f"{request.param}.py"))


def test_what_is_stored_comes_back(every_recipe):
    assert from_json(to_json(every_recipe), where="here") == every_recipe


def test_parts_have_every_field(every_recipe):
    """A field that no part holds could not change anything."""

    def values(fields):
        for name, value in fields.items():
            if isinstance(value, dict):
                yield from values(value)
            else:
                yield name

    told = repr(every_recipe)
    renamed = {
        "keep_checkpoints": "newest=",
        "keep_every": "every=",
        "keep_best": "best=",
    }
    for name in values(every_recipe.fields):
        assert renamed.get(name, f"{name}=") in told, name


def test_a_field_newer_than_the_stored_config_has_its_default(default_config):
    """So that a new field breaks no checkpoint that was written before it."""
    stored = json.loads(to_json(describe(default_config)))
    del stored["spatial"], stored["generator"]["blocks"], stored["segmenter"]
    assert from_json(json.dumps(stored), where="here") == describe(default_config)


def test_a_field_that_is_not_known_is_told(default_config):
    stored = json.loads(to_json(describe(default_config)))
    stored["generator"]["colour"] = 1
    message = r"config in RUN/5 has a field config\.generator\.colour, which this vers"
    with pytest.raises(ValueError, match=message):
        from_json(json.dumps(stored), where="RUN/5")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("seed", "x"), ("batch_size", 2.5), ("data", 5), ("num_steps", "a")),
        *(("dtype", "fp16"), ("num_steps", -1), ("ema_decay", float("nan"))),
    ],
)
def test_a_stored_value_of_another_type_is_told(default_config, field, value):
    stored = json.loads(to_json(describe(default_config)))
    stored[field] = value
    with pytest.raises(ValueError, match=r"The config in RUN/5 .*" + field):
        from_json(json.dumps(stored), where="RUN/5")


@pytest.mark.parametrize("path", ["/dev/zero", "colors.txt", "~/.ssh/id_rsa"])
def test_a_stored_config_names_no_file_of_colours(default_config, path):
    stored = json.loads(to_json(describe(default_config)))
    stored["data"]["label_colors"] = path
    message = r"^The config in RUN/5 names a file outside of it by config\.data\.label_"
    with pytest.raises(ValueError, match=message):
        from_json(json.dumps(stored), where="RUN/5")


@pytest.mark.parametrize("text", ["[1, 2]", "7", "{", None, "[" * 100_000])
def test_a_stored_config_that_is_none_is_told(text):
    with pytest.raises(ValueError, match=r"^The config in RUN/5 is no "):
        from_json(text, where="RUN/5")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("keep_every", 1500, r"config\.keep_every=1500 must be a multiple of config\."),
        (
            "profile_at",
            6,
            r"config\.profile_at=6 is not reached with config\.num_steps=5: choose an",
        ),
        ("eval.every", 1, r"config\.eval\.every=1 must be a multiple of config\.check"),
        (
            "generator.norm",
            "spectralinstance",
            r"^config\.generator\.norm='spectralinstance' is not understood with conf"
            r"ig\.generator\.name='spade', which takes one such as 'spectralspadesync",
        ),
    ],
)
def test_a_value_that_cannot_be_is_told(default_config, field, value, message):
    default_config.update_from_flattened_dict({"num_steps": 5, field: value})
    with pytest.raises(ValueError, match=message):
        describe(default_config)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"generator.name": "concat", "generator.latent": "vae"},
            r"latent='vae' needs config\.generator\.name='spade'; 'concat' starts from",
        ),
        (
            {"generator.name": "pix2pixhd", "factored": True},
            r"factored=True needs config\.generator\.name='spade'; 'pix2pixhd' has no",
        ),
        (
            {"generator.name": "concat"},
            r"norm='spectralspadesyncbatch3x3' is not understood with config\.generat",
        ),
        (
            {"num_epochs": 0, "decay_epochs": 0},
            r"num_epochs=0, config\.decay_epochs=0, config\.num_steps=None leave noth",
        ),
        (
            {"spatial": 2, "factored": True},
            r"factored=True needs config\.spatial=1, not 2: tables of neighbourhoods",
        ),
    ],
)
def test_fields_that_do_not_fit_together_are_told(default_config, fields, message):
    default_config.update_from_flattened_dict(fields)
    with pytest.raises(ValueError, match=message):
        describe(default_config)


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ("", None),
        ("loss/gan", Best(metric="loss/gan", highest=False)),
        ("-eval/own/mean_iou", Best(metric="eval/own/mean_iou", highest=True)),
    ],
)
def test_the_best_checkpoint_is_the_lowest_or_with_a_minus_the_highest(text, best):
    assert Best.parse(text) == best
    if best:
        assert best.text == text


def test_other_values_make_another_recipe(default_config):
    before = describe(default_config)
    after = with_fields(before, data__root="pictures", seed=7)
    assert (after.data.root, after.seed) == ("pictures", 7)
    assert (before.data.root, before.seed) == ("", 0)
    assert recipe.with_fields(after, data__root="", seed=0) == before
    with pytest.raises(KeyError, match="data__rot"):
        with_fields(before, data__rot="pictures")


def test_sizes_and_ids(default_config):
    default_config.data.update(
        crop_size=512, aspect_ratio=2.0, num_classes=12, unknown_label=0
    )
    found = describe(default_config)
    assert found.data.size == found.architecture.size == (256, 512)
    assert found.data.num_ids == found.architecture.num_ids == 13
    assert found.architecture.latent_size is None


@pytest.mark.parametrize(("examples", "per_epoch"), [(10, 2), (4, 1), (3, 1), (0, 1)])
def test_the_last_step_follows_from_the_epochs(default_config, examples, per_epoch):
    default_config.update(batch_size=4, num_epochs=3, decay_epochs=2)
    schedule = describe(default_config).schedule
    assert schedule.steps_per_epoch(examples) == per_epoch
    assert schedule.last_step(examples) == 5 * per_epoch
    default_config.num_steps = 7
    assert describe(default_config).schedule.last_step(examples) == 7


PLACES = [path for path, kind in FIELDS.items() if isinstance(kind, Place)]


@pytest.mark.parametrize("field", PLACES)
def test_every_field_that_is_a_path_is_of_this_machine(
    field, default_config, monkeypatch
):
    monkeypatch.setenv("HOME", "/home/me")
    default_config.update_from_flattened_dict({field: "~/x"})
    value: Any = describe(default_config).fields
    for name in field.split("."):
        value = value[name]
    assert value == "/home/me/x"
    default_config.update_from_flattened_dict({field: "s3://x"})
    message = rf"config\.{field}='s3://x' is no path of this machine"
    with pytest.raises(ValueError, match=message) as told:
        describe(default_config)
    assert ".." not in str(told.value)


def test_texts_that_are_no_places():
    bare = {n: k.of if isinstance(k, Open) else k for n, k in FIELDS.items()}
    texts = {name for name, kind in bare.items() if isinstance(kind, Text)}
    # Splits, norms, a metric and augmentations.
    assert {name.rpartition(".")[2] for name in texts} == {
        *("train_split", "val_split", "norm", "keep_best", "augment"),
    }
