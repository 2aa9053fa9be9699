"""Every field of a config: what it takes, and what it needs of other fields.

One row a field, by its path in `configs/default.py`, where it has its default and is
explained; the page of all fields is made of both. Whatever reads a config has it
checked by these rows. The largest sizes are far beyond what anybody trains, and near
enough that a slip of the hand is refused before it fills the memory.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from spade_jax.recipe.kinds import (
    Kind,
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
from spade_jax.recipe.parts import picture_size

_SWITCH, _PLACE = Switch(), Place()
# Iterations are counted in 32 bits, with a sign.
_ITERATIONS = 2**31 - 1
_WIDTH = Whole(1, 8192)
_WEIGHT = Real(0, 1e6)
_SPLIT = Text("the name of a split, without slashes", r"[^/\\\0]+")
# Without whatever ends a line for `str.splitlines`, as classes.txt has one a line.
_LINE = Text("a text of one line", r"[^\0\n\r\v\f\x1c-\x1e\x85\u2028\u2029]*")
_SPADE_NORM = r"(spectral)?spade(batch|sync_?batch|instance)([13579])x\3"
_NORM = Text(
    "[spectral](none|batch|syncbatch|instance)",
    r"(spectral)?(none|batch|sync_?batch|instance)?",
)
_CLADE_NORM = r"(spectral)?clade(icpe)?(batch|sync_?batch|instance)"
_GENERATOR_NORM = Text(
    "[spectral]spade(batch|syncbatch|instance)KxK with K odd, below 10;"
    f" [spectral]clade[icpe](batch|syncbatch|instance); or {_NORM.says}",
    rf"{_SPADE_NORM}|{_CLADE_NORM}|{_NORM.form}",
)
_AUGMENTS = Text(
    "color, translation, cutout: some of them, once, with commas between; or nothing",
    r"(?!.*\b(\w+)\b.*\b\1\b)"
    r"((color|translation|cutout)(,(color|translation|cutout))*)?",
)
# Generators that read the layout in their norms, and the U-Net's halvings and norms.
_MODULATED = ("spade", "oasis")
_UNET_HALVINGS = 6
# What metrics.jsonl has beside terms of the objective and scores.
_OTHER_METRICS = ("learning_rate/generator", "images_per_second")
_UNET_NORMS = ("spectral", "spectralnone", "none", "")

FIELDS: Mapping[str, Kind] = {
    "seed": Whole(0, 2**32 - 1),
    "init_gain": Real(0, 100, without_low=True),
    "batch_size": Open(Whole(1, 65_536)),
    "num_epochs": Whole(0, 1_000_000),
    "decay_epochs": Whole(0, 1_000_000),
    "num_steps": Maybe(Whole(1, _ITERATIONS)),
    "dtype": OneOf(("float32", "bfloat16")),
    "spatial": Whole(1, 65_536),
    "accumulate": Whole(1, 65_536),
    "remat": _SWITCH,
    "factored": Maybe(_SWITCH),
    "data.source": OneOf(
        (
            *("folder", "scenes", "coco_stuff", "ade20k", "ade20k_outdoor"),
            *("cityscapes", "facades", "camvid", "landscapes"),
        )
    ),
    "data.root": Place("a path, gs://BUCKET/PATH, or nothing", buckets=True),
    "data.manual_dir": _PLACE,
    "data.train_split": _SPLIT,
    "data.val_split": _SPLIT,
    "data.num_classes": Open(Whole(1, 65_536)),
    "data.unknown_label": Maybe(Whole(0, 2**31 - 1)),
    "data.instances": Open(_SWITCH),
    "data.classes": Many(_LINE, 0, 65_537),
    "data.palette": Many(Many(Whole(0, 255), 3, 3), 0, 65_537),
    "data.label_colors": _PLACE,
    "data.color_tolerance": Real(0, 442),
    "data.preprocess_mode": Open(
        OneOf(
            (
                *("resize_and_crop", "crop", "scale_width", "scale_width_and_crop"),
                *("scale_shortside", "scale_shortside_and_crop", "fixed", "none"),
            )
        )
    ),
    "data.load_size": Open(Whole(1, 65_536)),
    "data.crop_size": Open(Whole(1, 16_384)),
    "data.aspect_ratio": Open(Real(1 / 64, 64)),
    "data.most_pixels": Whole(1024, 2**28),
    "data.pad_crop": _SWITCH,
    "data.flip": _SWITCH,
    "data.scenes.size": Whole(16, 4096),
    "data.scenes.num_train": Whole(1, 1_000_000),
    "data.scenes.num_val": Whole(1, 1_000_000),
    "data.workers": Whole(0, 256),
    "generator.name": OneOf(("spade", "pix2pixhd", "concat", "oasis")),
    "generator.width": _WIDTH,
    "generator.norm": _GENERATOR_NORM,
    "generator.upsampling": OneOf(("normal", "more", "most")),
    "generator.hidden": _WIDTH,
    "generator.latent": OneOf(("none", "vae", "noise")),
    "generator.latent_size": Whole(1, 65_536),
    "generator.downsamplings": Whole(0, 10),
    "generator.blocks": Whole(0, 100),
    "discriminator.name": OneOf(("multiscale", "unet")),
    "discriminator.num_scales": Whole(1, 8),
    "discriminator.num_layers": Whole(1, 16),
    "discriminator.width": _WIDTH,
    "discriminator.norm": _NORM,
    "encoder.width": _WIDTH,
    "encoder.image_size": OneOf((8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096)),
    "encoder.norm": _NORM,
    "loss.gan": OneOf(("hinge", "ls", "original", "w")),
    "loss.feature_matching": _WEIGHT,
    "loss.balance_classes": _SWITCH,
    "loss.ignored_ids": Many(Whole(0, 65_536), 0, 65_537),
    "loss.labelmix": _WEIGHT,
    "loss.augment": Open(_AUGMENTS),
    "loss.perceptual": _WEIGHT,
    "loss.kld": _WEIGHT,
    "loss.perceptual_network": OneOf(("auto", "vgg19", "vgg16", "none")),
    "loss.vgg_file": _PLACE,
    "optimizer.learning_rate": Real(0, 1, without_low=True),
    "optimizer.ttur": _SWITCH,
    "optimizer.beta1": Real(0, 1, without_high=True),
    "optimizer.beta2": Real(0, 1, without_high=True),
    "optimizer.epsilon": Real(0, 1, without_low=True),
    "discriminator_steps": Whole(1, 1000),
    "reuse_fake": _SWITCH,
    "ema_decay": Real(0, 1, without_high=True),
    "log_every": Whole(1, _ITERATIONS),
    "profile_at": Whole(0, _ITERATIONS),
    "sample_every": Whole(1, _ITERATIONS),
    "num_samples": Whole(1, 1024),
    "checkpoint_every": Whole(1, _ITERATIONS),
    "keep_checkpoints": Whole(1, _ITERATIONS),
    "keep_every": Whole(0, _ITERATIONS),
    "keep_best": Text("NAME, -NAME or nothing", r"(-?[^-\s]\S*)?"),
    "segmenter.batch_size": Whole(1, 65_536),
    "segmenter.num_steps": Whole(1, _ITERATIONS),
    "segmenter.learning_rate": Real(0, 1, without_low=True),
    "segmenter.log_every": Whole(1, _ITERATIONS),
    "segmenter.evaluate_every": Whole(1, _ITERATIONS),
    "segmenter.widths": Many(_WIDTH, 1, 10),
    "segmenter.norm": _NORM,
    "segmenter.ignored_ids": Many(Whole(0, 65_536), 0, 65_537),
    "eval.every": Whole(0, _ITERATIONS),
    "eval.protocol": OneOf(("", "paper", "oasis", "clade", "own")),
    "eval.weights_dir": _PLACE,
    "eval.segmenter": _PLACE,
    "eval.reference": _PLACE,
}
"""What each field takes."""

DESCRIBED = ("data.unknown_label", "data.classes", "data.palette", "data.label_colors")
"""Fields that describe the classes: found, if not given, with those left open."""
MAY_CHANGE = frozenset(
    {
        # How long.
        *("num_epochs", "decay_epochs", "num_steps"),
        # What is told and kept.
        *("log_every", "profile_at", "sample_every", "num_samples"),
        "checkpoint_every",
        *("keep_checkpoints", "keep_every", "keep_best"),
        *(path for path in FIELDS if path.startswith("eval.")),
        # How it is computed, and by what.
        *("dtype", "spatial", "accumulate", "remat", "factored", "data.workers"),
        # Where things are on this machine.
        *("data.root", "data.manual_dir", "loss.vgg_file"),
        # Another training, that runs beside.
        *(path for path in FIELDS if path.startswith("segmenter.")),
    }
)
"""Fields that may change when a run goes on by the config that it keeps; with the
others it would be another run."""

Values = Mapping[str, Any]
"""Of all fields that are not left open, by their paths."""


class Need(NamedTuple):
    """What a field needs of others.

    Attributes:
      field: its path.
      says: the need, in words that follow "needs", for the page of all fields.
      fault: what is wrong with values, a whole sentence that names fields, or None.
    """

    field: str
    says: str
    fault: Callable[[Values], str | None]


def told(values: Values, *paths: str) -> str:
    """Fields with their values, for messages."""
    return ", ".join(f"config.{path}={values[path]!r}" for path in paths)


def _saved(field: str) -> Need:
    def fault(values: Values) -> str | None:
        if values[field] % values["checkpoint_every"] == 0:
            return None
        return (
            f"{told(values, field)} must be a multiple of"
            f" {told(values, 'checkpoint_every')}, or 0: other iterations are not"
            " saved."
        )

    return Need(field, "a multiple of `checkpoint_every`, or 0", fault)


def _is_reached(values: Values) -> str | None:
    if not values["num_steps"] or values["profile_at"] <= values["num_steps"]:
        return None
    return (
        f"{told(values, 'profile_at')} is not reached with {told(values, 'num_steps')}:"
        " choose an iteration of the run, or 0 for no trace."
    )


def _in_parts(values: Values) -> str | None:
    if values["batch_size"] % values["accumulate"] == 0:
        return None
    return (
        f"{told(values, 'accumulate')} must divide {told(values, 'batch_size')}: the"
        " batch is worked through in so many parts of one size."
    )


def _some_step(values: Values) -> str | None:
    if values["num_steps"] or values["num_epochs"] + values["decay_epochs"]:
        return None
    return (
        f"{told(values, 'num_epochs', 'decay_epochs', 'num_steps')} leave nothing to"
        " train: set one of them to 1 or more."
    )


def _latent_fits(values: Values) -> str | None:
    name, latent = values["generator.name"], values["generator.latent"]
    if latent == "none" or name == "spade" or (name, latent) == ("oasis", "noise"):
        return None
    return (
        f"{told(values, 'generator.latent')} needs config.generator.name='spade';"
        f" {name!r} starts from the layout ('none'"
        f"{', or with a noise' if name == 'oasis' else ''})."
    )


def _can_be_factored(values: Values) -> str | None:
    name, spatial = values["generator.name"], values["spatial"]
    if values["factored"] and re.fullmatch(_CLADE_NORM, values["generator.norm"]):
        return (
            "config.factored=True needs a SPADE norm;"
            f" {values['generator.norm']!r} looks its modulations up by class anyway:"
            " leave config.factored out."
        )
    if values["factored"] and name not in _MODULATED:
        return (
            f"config.factored=True needs config.generator.name='spade'; {name!r} has no"
            " modulations."
        )
    if values["factored"] and spatial > 1:
        return (
            f"config.factored=True needs config.spatial=1, not {spatial}:"
            " tables of neighbourhoods are not shared by devices."
        )
    return None


def _norm_fits(values: Values) -> str | None:
    norm, name = values["generator.norm"], values["generator.name"]
    reads_layout = re.fullmatch(rf"{_SPADE_NORM}|{_CLADE_NORM}", norm)
    if bool(reads_layout) == (name in _MODULATED):
        return None
    of_layout = name in _MODULATED
    example = "spectralspadesyncbatch3x3" if of_layout else "spectralsyncbatch"
    return (
        f"{told(values, 'generator.norm')} is not understood with"
        f" config.generator.name={name!r}, which takes one such as {example!r}."
    )


def _has_upsampling(values: Values) -> str | None:
    if (
        values["generator.name"] != "oasis"
        or values["generator.upsampling"] == "normal"
    ):
        return None
    return (
        f"{told(values, 'generator.upsampling')} is of generators 'spade' and 'concat';"
        " 'oasis' has one decoder: leave it 'normal'."
    )


def _of_unet(field: str, off: Any) -> Need:
    def fault(values: Values) -> str | None:
        if not values[field] or values["discriminator.name"] == "unet":
            return None
        return (
            f"{told(values, field)} needs config.discriminator.name='unet'; with"
            f" 'multiscale' leave it {off!r}."
        )

    return Need(field, f"{off!r} unless `discriminator.name` is unet", fault)


def _of_multiscale(field: str, only: tuple[Any, ...], says: str) -> Need:
    def fault(values: Values) -> str | None:
        if values["discriminator.name"] != "unet" or values[field] in only:
            return None
        return (
            f"{told(values, field)} needs config.discriminator.name='multiscale'; with"
            f" 'unet' {says}."
        )

    shown = " or ".join(repr(x) for x in only if x not in ("", "spectralnone"))
    return Need(field, f"{shown} where `discriminator.name` is unet", fault)


def _ignored_are_ids(values: Values) -> str | None:
    num_ids = values["data.num_classes"] + (values["data.unknown_label"] is not None)
    strangers = [i for i in values["loss.ignored_ids"] if i >= num_ids]
    if not strangers:
        return None
    return (
        f"{told(values, 'loss.ignored_ids')} has {strangers[0]}, but ids are 0 to"
        f" {num_ids - 1}."
    )


def _can_be_halved(values: Values) -> str | None:
    if values["discriminator.name"] != "unet":
        return None
    height, width = picture_size(values["data.crop_size"], values["data.aspect_ratio"])
    multiple = 2**_UNET_HALVINGS
    if height and height % multiple == width % multiple == 0:
        return None
    return (
        f"{told(values, 'data.crop_size', 'data.aspect_ratio')} make pictures {width}"
        f" wide and {height} high, which the discriminator 'unet' cannot halve"
        f" {_UNET_HALVINGS} times. Choose them so that both sides are multiples of"
        f" {multiple}."
    )


def _only_of_folders(field: str) -> Need:
    def fault(values: Values) -> str | None:
        if values["data.source"] == "folder" or values.get(field) is not None:
            return None
        return (
            f"config.{field}=None is found by looking at pictures in folders;"
            f" {told(values, 'data.source')} needs a value."
        )

    return Need(field, "a value unless `data.source` is folder", fault)


def _best_is_measured(values: Values) -> str | None:
    metric = values["keep_best"].removeprefix("-")
    if not metric or metric in _OTHER_METRICS:
        return None
    kind, _, name = metric.partition("/")
    if kind == "eval" and name.count("/") == 1:
        if values["eval.every"]:
            return None
        return (
            f"{told(values, 'keep_best')} is a score, of which this run has none:"
            " config.eval.every=N makes it have them, every N iterations."
        )
    terms = _loss_terms(values)
    if kind == "loss" and name in terms:
        return None
    return (
        f"{told(values, 'keep_best')} is no number of this run. It has"
        f" {', '.join(f'loss/{term}' for term in terms)},"
        f" {', '.join(_OTHER_METRICS)}, and with config.eval.every scores as"
        " eval/own/fd_own."
    )


def _loss_terms(values: Values) -> tuple[str, ...]:
    """Names of the terms of the objective; a perceptual one needs its network, too."""
    weighted = ["perceptual"]
    if values["discriminator.name"] == "multiscale":
        weighted.append("feature_matching")
    terms = ["gan", *(name for name in weighted if values[f"loss.{name}"])]
    if values["generator.latent"] == "vae":
        terms.append("kld")
    terms += ["d_fake", "d_real"]
    if values["loss.labelmix"]:
        terms.append("d_labelmix")
    return tuple(terms)


NEEDS: tuple[Need, ...] = (
    Need("accumulate", "a divisor of `batch_size`", _in_parts),
    Need("num_epochs", "1 or more in one of the three that say how long", _some_step),
    Need(
        "factored", "where True, `generator.name` spade, `spatial` 1", _can_be_factored
    ),
    Need(
        "generator.latent",
        "where not none, `generator.name` spade; noise is of oasis, too",
        _latent_fits,
    ),
    Need(
        "generator.norm",
        "a SPADE or CLADE norm for `generator.name` spade or oasis",
        _norm_fits,
    ),
    Need(
        "generator.upsampling",
        "normal where `generator.name` is oasis",
        _has_upsampling,
    ),
    Need(
        "data.crop_size",
        "pictures of multiples of 64 where `discriminator.name` is unet",
        _can_be_halved,
    ),
    _of_multiscale("discriminator.norm", _UNET_NORMS, "it is 'spectral' or 'none'"),
    _of_multiscale("loss.feature_matching", (0,), "set it to 0"),
    _of_multiscale(
        "loss.gan", ("hinge",), "there is a cross entropy: leave it 'hinge'"
    ),
    _of_multiscale(
        "generator.latent",
        ("none", "noise"),
        "no term keeps styles near the prior: choose 'none' or 'noise'",
    ),
    _of_unet("loss.balance_classes", False),
    _of_unet("loss.ignored_ids", ()),
    _of_unet("loss.labelmix", 0.0),
    Need("loss.ignored_ids", "ids of the data", _ignored_are_ids),
    *(
        _only_of_folders(path)
        for path, kind in FIELDS.items()
        if isinstance(kind, Open)
    ),
    Need("profile_at", "no more than `num_steps`, where that is given", _is_reached),
    _saved("keep_every"),
    Need("keep_best", "a number that the run has", _best_is_measured),
    _saved("eval.every"),
)
"""What fields need of each other, beyond what each takes."""
