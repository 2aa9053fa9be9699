"""Options of the official OASIS (boschresearch/OASIS), and the recipes that they are.

The official program writes them to `opt.txt` beside its weights, and beside that to
`opt.pkl`, which is never opened here: reading it could run code.
"""

from collections.abc import Iterator
from typing import Any

from spade_jax import recipe as recipes
from spade_jax.convert.nvlabs_options import HIDDEN, UNKNOWN_LABEL, dataset_classes
from spade_jax.convert.official_files import Options, OptionsError, in_words
from spade_jax.files.places import AnyPath
from spade_jax.nets.norm import parse_spade_norm
from spade_jax.recipe import Architecture, Recipe, library

_JUDGE_WIDTH = 64  # of the official discriminator
_BLOCKS = 6  # other numbers of them would be another decoder
# What pictures are loaded at, over the crop, but for Cityscapes.
_LOADED, _CROPPED = 286, 256

# Options that a config field holds as it is.
_FIELDS = {
    "batch_size": "batch_size",
    "num_epochs": "num_epochs",
    "crop_size": "data.crop_size",
    "aspect_ratio": "data.aspect_ratio",
    "channels_G": "generator.width",
    "z_dim": "generator.latent_size",
    "beta1": "optimizer.beta1",
    "beta2": "optimizer.beta2",
}
# A number, the option that switches it off (False) or on, which is not set officially;
# the config field of both; and the number's official default.
_SWITCHED = {
    "lambda_labelmix": ("no_labelmix", False, "loss.labelmix", 10.0),
    "lambda_vgg": ("add_vgg_loss", True, "loss.perceptual", 10.0),
    "EMA_decay": ("no_EMA", False, "ema_decay", 0.9999),
}
_TYPES: dict[type, tuple[str, ...]] = {
    bool: (
        "no_spectral_norm",
        "no_3dnoise",
        "no_balancing_inloss",
        "contain_dontcare_label",
        *(switch for switch, *_ in _SWITCHED.values()),
    ),
    int: (
        "batch_size",
        "num_epochs",
        "crop_size",
        "channels_G",
        "z_dim",
        "spade_ks",
        "label_nc",
    ),
    float: ("aspect_ratio", "beta1", "beta2", "lr_g", "lr_d", *_SWITCHED),
    str: ("param_free_norm", "dataset_mode"),
}
# Without these the networks and their input are not known.
_REQUIRED = (
    "channels_G",
    "param_free_norm",
    "spade_ks",
    "no_spectral_norm",
    "no_3dnoise",
    "z_dim",
    "label_nc",
    "contain_dontcare_label",
    "dataset_mode",
    "crop_size",
    "aspect_ratio",
)
# What the official program also expects to find, at its own defaults.
_OTHER_OPTIONS: Options = {
    "checkpoints_dir": "./checkpoints",
    "ckpt_iter": "best",
    "continue_train": False,
    "dataroot": "./datasets",
    "freq_fid": 5000,
    "freq_print": 1000,
    "freq_save_ckpt": 20000,
    "freq_save_latest": 10000,
    "freq_save_loss": 2500,
    "freq_smooth_loss": 250,
    "gpu_ids": "0",
    "no_flip": False,
    "phase": "train",
    "results_dir": "./results/",
    "seed": 42,
    "which_iter": "0",
}


def is_oasis(options: Options) -> bool:
    """Whether options are those of OASIS, and not of SPADE or CLADE."""
    return "channels_G" in options


def ids_are_moved(options: Options) -> bool:
    """Whether official networks see the ids of files plus one, and 0 for "unknown".

    That is so on COCO-Stuff. Here they see those of the files, and "unknown" last.
    """
    return options["dataset_mode"] == "coco" and options["contain_dontcare_label"]


def recipe_from_options(
    options: Options, *, name: str, defaults: Recipe | None = None
) -> Recipe:
    """Translates official options.

    Args:
      options: see `official_files.parse_options`.
      name: of the options, for errors.
      defaults: whose fields stand where no option does; None: `configs/default.py`.

    Raises:
      OptionsError: an option is missing, has the wrong type, or is not supported.
    """
    _check(options, name=name)
    if defaults is None:
        defaults = recipes.describe(library.default_config())
    changes = {field: options[o] for o, field in _FIELDS.items() if o in options}
    for option, (switch, wanted, field, default) in _SWITCHED.items():
        on = options.get(switch, False) == wanted
        changes[field] = float(options.get(option, default)) if on else 0.0
    moved, dontcare = ids_are_moved(options), options["contain_dontcare_label"]
    spectral = not options["no_spectral_norm"]
    changes |= {
        **_data(options, num_classes=options["label_nc"] + dontcare - moved),
        "data.unknown_label": UNKNOWN_LABEL if moved else None,
        # Where ids are moved it is "unknown", which does not count anyway.
        "loss.ignored_ids": (0,) if dontcare and not moved else (),
        "loss.balance_classes": not options.get("no_balancing_inloss", False),
        "loss.feature_matching": 0.0,
        "loss.gan": "hinge",
        "generator.name": "oasis",
        "generator.norm": "spectral" * spectral + _norm(options),
        "generator.upsampling": "normal",
        "generator.latent": "none" if options["no_3dnoise"] else "noise",
        "discriminator.name": "unet",
        "discriminator.width": _JUDGE_WIDTH,
        "discriminator.norm": "spectral" if spectral else "none",
        "decay_epochs": 0,
        **_rates(options, name=name),
    }
    try:
        return recipes.with_values(defaults, changes)
    except ValueError as error:
        raise OptionsError(f"{name}: {error}") from error


def options_from_recipe(recipe: Recipe, *, directory: AnyPath) -> Options:
    """The official options of a recipe; the opposite of `recipe_from_options`.

    Where there is an unknown label the data is called `coco`, whose files have 255
    there; else Cityscapes or `ade20k`.

    Args:
      recipe: to translate.
      directory: of the checkpoint, officially `checkpoints_dir/name`.

    Raises:
      OptionsError: naming each field that the official code has no setting for.
    """
    problems = list(_not_official(recipe))
    if problems:
        raise OptionsError(
            "the official OASIS has no network like this:\n  " + "\n  ".join(problems)
        )
    generator, data = recipe.architecture.generator, recipe.data
    spec = parse_spade_norm(generator.norm)
    has_unknown = data.unknown_label is not None
    dontcare = has_unknown or 0 in recipe.loss.ignored_ids
    dataset = "cityscapes" if data.preprocess_mode == "fixed" else "ade20k"
    rate, ttur = recipe.optimizer.learning_rate, recipe.optimizer.ttur
    found = dict(_OTHER_OPTIONS)
    for option, field in _FIELDS.items():
        found[option] = recipe.field(field)
    for option, (switch, wanted, field, default) in _SWITCHED.items():
        value = recipe.field(field)
        found |= {option: value or default, switch: bool(value) == wanted}
    return found | {
        "name": directory.name,
        "checkpoints_dir": str(directory.parent),
        "dataset_mode": "coco" if has_unknown else dataset,
        "label_nc": data.num_ids - dontcare,
        "semantic_nc": data.num_ids,
        "contain_dontcare_label": dontcare,
        "num_res_blocks": _BLOCKS,
        "param_free_norm": spec.kind,
        "spade_ks": spec.kernel_size,
        "no_spectral_norm": not spec.spectral,
        "no_3dnoise": generator.latent == "none",
        "no_balancing_inloss": not recipe.loss.balance_classes,
        "lr_g": rate / 2 if ttur else rate,
        "lr_d": rate * 2 if ttur else rate,
    }


def _data(options: Options, *, num_classes: int) -> dict[str, Any]:
    """Fields of the data but for its unknown label."""
    crop_size, whole = options["crop_size"], options["dataset_mode"] == "cityscapes"
    found = {
        "data.num_classes": num_classes,
        "data.instances": False,
        "data.preprocess_mode": "fixed" if whole else "resize_and_crop",
        "data.load_size": crop_size if whole else crop_size * _LOADED // _CROPPED,
    }
    classes = dataset_classes(options["dataset_mode"])
    if len(classes) == num_classes:
        found["data.classes"] = tuple(classes)
        found["data.palette"] = tuple(classes.values())
    return found


def _norm(options: Options) -> str:
    size = options["spade_ks"]
    return f"spade{options['param_free_norm']}{size}x{size}"


def _rates(options: Options, *, name: str) -> dict[str, Any]:
    """Fields of the learning rates."""
    if "lr_g" not in options or "lr_d" not in options:
        return {}
    of_generator, of_discriminator = options["lr_g"], options["lr_d"]
    if of_generator == of_discriminator:
        rate, ttur = of_generator, False
    elif abs(of_discriminator - 4 * of_generator) < 1e-9 * of_discriminator:
        rate, ttur = 2 * of_generator, True
    else:
        raise OptionsError(
            f"{name}: {in_words(options, ('lr_g', 'lr_d'))} is not supported: the"
            " discriminator's rate is the generator's, or four times that."
        )
    return {"optimizer.learning_rate": float(rate), "optimizer.ttur": ttur}


def _check(options: Options, *, name: str) -> None:
    missing = [option for option in _REQUIRED if option not in options]
    if missing:
        raise OptionsError(f"{name} does not say {', '.join(missing)}.")
    for kind, among in _TYPES.items():
        kinds = (float, int) if kind is float else (kind,)
        for option in among:
            if option in options and type(options[option]) not in kinds:
                found = in_words(options, (option,))
                raise OptionsError(f"{name}: {found} is not of type {kind.__name__}.")
    if options.get("num_res_blocks", _BLOCKS) != _BLOCKS:
        raise OptionsError(
            f"{name}: num_res_blocks={options['num_res_blocks']!r} is not supported,"
            f" only {_BLOCKS}."
        )
    planes = options["label_nc"] + options["contain_dontcare_label"]
    if options.get("semantic_nc", planes) != planes:
        raise OptionsError(
            f"{name}: semantic_nc={options['semantic_nc']!r} contradicts"
            f" {in_words(options, ('label_nc', 'contain_dontcare_label'))}."
        )


def _not_official(recipe: Recipe) -> Iterator[str]:
    """What the official code has no setting for, in words."""
    of: Architecture = recipe.architecture
    g, d = of.generator, of.discriminator
    if g.name != "oasis":
        yield f"config.generator.name={g.name!r}: it has 'oasis'."
        return
    spec = parse_spade_norm(g.norm)
    if spec.by_class:
        yield f"config.generator.norm={g.norm!r}: it has SPADE norms."
    elif g.hidden != HIDDEN:
        yield f"config.generator.hidden={g.hidden}: it has {HIDDEN}."
    if d.name != "unet":
        yield f"config.discriminator.name={d.name!r}: it has 'unet'."
    elif d.width != _JUDGE_WIDTH:
        yield f"config.discriminator.width={d.width}: it has {_JUDGE_WIDTH}."
    elif (d.norm == "spectral") != spec.spectral:
        yield (
            f"config.discriminator.norm={d.norm!r} with"
            f" config.generator.norm={g.norm!r}: both have spectral norm, or none."
        )
    if of.edges:
        yield "config.data.instances=True: it sees no instances."
    ignored = recipe.loss.ignored_ids
    if ignored not in ((), (0,)) or (ignored and recipe.data.unknown_label is not None):
        yield (
            f"config.loss.ignored_ids={ignored}: it has (0,), or () where there is an"
            " unknown label."
        )
