"""The table of fields: complete, kept to for every field, at one with the rest.

A value that a row lets through would end in a traceback or a hang far from the config,
so each row is walked with every kind of wrong value.
"""

import copy
import itertools
import math
import re

import pytest

from spade_jax.data import sources, transforms
from spade_jax.learning import losses
from spade_jax.metrics import protocols
from spade_jax.nets import encoder, stages
from spade_jax.nets.norm import parse_norm, parse_spade_norm
from spade_jax.recipe import (
    closed,
    describe,
    from_json,
    library,
    to_json,
    with_fields,
)
from spade_jax.recipe.fields import FIELDS, NEEDS
from spade_jax.recipe.kinds import (
    Many,
    Maybe,
    OneOf,
    Open,
    Place,
    Real,
    Switch,
    Text,
    Whole,
)

NUMBERS = (math.inf, -math.inf, math.nan, -1, 0, 10**9, 2**31, 10**400, 0.5, 1e300)
OTHERS = (None, True, "", "fp16", "\0", (), (1,), ("a",), {}, {"a": 1}, object(), 1j)


DEFAULTS = library.default_config().to_dict()


def default(path):
    value = DEFAULTS
    for name in path.split("."):
        value = value[name]
    return value


def changed(**fields):
    """The defaults, as nested dicts that would take any value, with others."""
    values = copy.deepcopy(DEFAULTS)
    for path, value in fields.items():
        *groups, name = path.split(".")
        node = values
        for group in groups:
            node = node[group]
        node[name] = value
    return values


def wrong(kind):
    """Values that are none of a kind, of those that people and machines give."""
    match kind:
        case Maybe(of=of) | Open(of=of):
            return [value for value in wrong(of) if value is not None]
        case Whole(low=low, high=high):
            numbers = [n for n in NUMBERS if not (n == int_of(n) and low <= n <= high)]
            return [*numbers, low - 1, high + 1, *OTHERS]
        case Real(low=low, high=high):
            ends = [low] * kind.without_low + [high] * kind.without_high
            numbers = [n for n in NUMBERS if not low <= n <= high]
            beyond = [math.nextafter(low, -math.inf), math.nextafter(high, math.inf)]
            return [*numbers, *ends, *beyond, *OTHERS]
        case Switch():
            return [*NUMBERS, *(value for value in OTHERS if value is not True)]
        case OneOf(choices=choices):
            near = [str(c) + "x" for c in choices] + [f" {c}" for c in choices]
            given = (*NUMBERS, *near, *OTHERS)
            return [value for value in given if value not in choices]
        case Place(buckets=buckets):
            texts = ["s3://a", "file:///etc/passwd", "gs://", "gs:///x", "a" * 5000]
            texts += [] if buckets else ["gs://bucket/run"]
            others = [value for value in OTHERS if value not in ("", "fp16")]
            return [*NUMBERS, *texts, *others]
        case Text(form=form):
            given = (*NUMBERS, "a" * 5000, " ", *OTHERS)
            return [
                value
                for value in given
                if not isinstance(value, str)
                or len(value) > 4096
                or not re.fullmatch(form, value)
            ]
        case Many(of=of, least=least, most=most):
            inner = [(value,) * max(least, 1) for value in wrong(of)]
            others = [value for value in OTHERS if not isinstance(value, tuple)]
            too_many = (default_of(of),) * (most + 1)
            too_few = [()] if least else []
            return [*NUMBERS, *inner, *others, *too_few, too_many]
    raise TypeError(kind)


def bare(kind):
    """A kind without what a field that may be left open takes besides."""
    return kind.of if isinstance(kind, Open) else kind


def int_of(number):
    return int(number) if isinstance(number, int) or math.isfinite(number) else None


def default_of(kind):
    match kind:
        case Whole(low=low):
            return low
        case Text():
            return "a"
        case Many(of=of, least=least):
            return (default_of(of),) * least
    raise TypeError(kind)


def test_every_field_of_every_config_has_its_row():
    def paths(fields, within=""):
        for name, value in fields.items():
            if isinstance(value, dict):
                yield from paths(value, f"{within}{name}.")
            else:
                yield f"{within}{name}"

    assert set(paths(DEFAULTS)) == set(FIELDS)
    assert {need.field for need in NEEDS} <= set(FIELDS)


@pytest.mark.parametrize("path", FIELDS)
def test_a_wrong_value_is_refused_by_the_name_of_its_field(path):
    values = wrong(FIELDS[path])
    assert len(values) > 8
    for value in values:
        with pytest.raises(ValueError, match=rf"^config\.{re.escape(path)}=") as told:
            describe(changed(**{path: value}))
        (message,) = str(told.value).splitlines()
        assert message.endswith(f" The default is {default(path)!r}."), message
        assert len(message) < 500, message


@pytest.mark.parametrize("path", FIELDS)
def test_the_ends_of_a_range_belong_to_it(path):
    """What is refused all the same does not fit to other fields, which are named."""
    match bare(FIELDS[path]):
        case Whole(low=low, high=high) | Maybe(of=Whole(low=low, high=high)):
            ends = [low, high]
        case Real(low=low, high=high) as kind:
            ends = [
                math.nextafter(low, high) if kind.without_low else low,
                math.nextafter(high, low) if kind.without_high else high,
            ]
        case OneOf(choices=choices):
            ends = choices
        case _:
            ends = [default(path)]
    for value in ends:
        read = FIELDS[path].read(value)
        assert read == value
        assert type(read) is type(default(path)) or default(path) is None
        values = {**{p: default(p) for p in FIELDS}, path: read}
        if faults := [need.fault(values) for need in NEEDS if need.fault(values)]:
            assert f"config.{path}=" in faults[0]
        else:
            describe(changed(**{path: value}))


OPEN = [path for path, kind in FIELDS.items() if isinstance(kind, Open)]


@pytest.mark.parametrize("path", OPEN)
def test_what_is_left_open_is_kept_so_and_has_its_default_for_the_time(path):
    found = describe(changed(**{path: None, "data.classes": ("a", "b")}))
    described = ("data.unknown_label", "data.palette", "data.label_colors")
    assert set(found.open) == {path, *described}
    assert from_json(to_json(found), where="here") == found
    assert with_fields(found, **{path.replace(".", "__"): default(path)}).open == ()
    group, _, name = path.rpartition(".")
    parts = {"data": found.data, "loss": found.loss, "": found.schedule}
    assert getattr(parts[group], name) == default(path)
    message = rf"config\.{path}=None is found by looking at .*source='scenes' needs a v"
    with pytest.raises(ValueError, match=message):
        describe(changed(**{path: None, "data.source": "scenes"}))


def test_where_no_pictures_are_looked_at_nothing_may_be_open():
    found = describe(changed(batch_size=None))
    message = r"^config\.batch_size: left open, .* which a plan does not\. Give them"
    with pytest.raises(ValueError, match=message):
        closed(found, looks="a plan")
    assert closed(describe(changed()), looks="a plan") == describe(changed())


def test_what_needs_an_open_field_is_asked_once_it_is_known():
    found = describe(changed(batch_size=None, accumulate=3))
    with pytest.raises(ValueError, match=r"accumulate=3 must divide .*batch_size=4"):
        with_fields(found, batch_size=4)
    with pytest.raises(ValueError, match=r"generator\.latent='vae' needs config"):
        describe(
            changed(
                batch_size=None,
                **{"generator.latent": "vae", "generator.name": "pix2pixhd"},
            )
        )


def test_a_batch_is_worked_through_in_equal_parts():
    describe(changed(batch_size=6, accumulate=3))
    with pytest.raises(ValueError, match=r"accumulate=4 must divide .*batch_size=6"):
        describe(changed(batch_size=6, accumulate=4))


@pytest.mark.parametrize(
    ("fields", "has", "has_not"),
    [
        (
            {"generator.latent": "vae"},
            ["", "loss/gan", "-loss/kld", "loss/perceptual", "images_per_second"],
            ["nope", "loss/nope", "loss/d_labelmix", "gan", "eval/own/fid"],
        ),
        (
            {"loss.perceptual": 0.0, "loss.feature_matching": 0.0},
            ["loss/d_real", "learning_rate/generator"],
            ["loss/perceptual", "loss/feature_matching", "loss/kld"],
        ),
        (
            {"eval.every": 1000},
            ["eval/own/fd_own", "-eval/own/mean_iou"],
            ["eval/fd_own", "own/fd_own"],
        ),
    ],
)
def test_the_best_is_chosen_by_a_number_that_the_run_has(fields, has, has_not):
    for name in has:
        describe(changed(**fields, keep_best=name))
    for name in has_not:
        with pytest.raises(
            ValueError, match=rf"^config\.keep_best='{name}' is "
        ) as told:
            describe(changed(**fields, keep_best=name))
        assert "eval.every" in str(told.value)


def test_what_is_no_field_is_told_with_the_nearest_that_is():
    fields = changed()
    fields["generator"]["widht"] = 3
    message = (
        r"^There is no field config\.generator\.widht: .* Did you mean config\.gen"
    )
    with pytest.raises(ValueError, match=message):
        describe(fields)
    fields = changed()
    del fields["generator"]["width"]
    with pytest.raises(ValueError, match=r"^config\.generator\.width is missing"):
        describe(fields)
    with pytest.raises(ValueError, match=r"^config\.loss=3 must be a group of fields"):
        describe(changed(loss=3))


def test_a_whole_number_will_do_where_a_number_is_asked_for():
    found = describe(changed(**{"loss.kld": 1, "data.palette": [[1, 2, 3]]}))
    assert isinstance(found.loss.kld, float)
    assert found.data.palette == ((1, 2, 3),)


# ---- Choices are those of the code that they choose from -----------------------------


@pytest.mark.parametrize(
    ("path", "choices"),
    [
        ("data.source", sources.SOURCES),
        ("data.preprocess_mode", transforms.MODES),
        # That of generator "oasis" has no other.
        ("generator.upsampling", stages.STAGES.keys() - {"oasis"}),
        ("loss.gan", tuple(losses.GAN_LOSSES)),
        ("eval.protocol", ("", *protocols.names())),
    ],
)
def test_choices_are_what_there_is(path, choices):
    assert set(bare(FIELDS[path]).choices) == set(choices)


def test_norms_are_those_that_networks_understand():
    kinds = [
        "",
        "none",
        "batch",
        "syncbatch",
        "sync_batch",
        "instance",
        "layer",
        "spad",
    ]
    sizes = ["", "1x1", "3x3", "3x5", "4x4", "9x9", "11x11"]
    taken = 0
    for spectral, spade, kind, size in itertools.product(
        ["", "spectral"], ["", "spade"], kinds, sizes
    ):
        norm = spectral + spade + kind + size
        for path, parse in (
            ("generator.norm", parse_spade_norm),
            ("discriminator.norm", parse_norm),
        ):
            fields = changed(**{path: norm})
            if understood(parse, norm) and not norm.endswith("11x11"):
                describe(fields)
                taken += 1
            else:
                with pytest.raises(
                    ValueError, match=rf"config\.{path}='{norm}' is not"
                ):
                    describe(fields)
    assert taken == 24 + 12


def understood(parse, norm):
    try:
        parse(norm)
    except ValueError:
        return False
    return True


def test_the_encoder_takes_the_sizes_of_its_choices():
    for size in FIELDS["encoder.image_size"].choices:
        layers = (size // encoder._GRID).bit_length() - 1
        assert encoder._GRID * 2**layers == size
