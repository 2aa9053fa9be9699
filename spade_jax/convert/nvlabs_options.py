"""Options of the official SPADE and CLADE, and the recipes that they are.

The official program writes them to `opt.txt` beside its weights.
"""

import re
from collections.abc import Iterator
from typing import Any

import ml_collections

from spade_jax import assemble
from spade_jax import recipe as recipes
from spade_jax.convert.official_files import Options, OptionsError, in_words
from spade_jax.data.classes import ade20k, cityscapes, coco_stuff
from spade_jax.files.places import AnyPath
from spade_jax.nets.norm import parse_norm, parse_spade_norm
from spade_jax.recipe import Architecture, Recipe, library

UNKNOWN_LABEL = 255  # of the official data code, with contain_dontcare_label
_ENCODER_SIZE = 256  # the official encoder takes no other picture
_ENCODER_LATENT = 256  # and gives no other latent
HIDDEN = 128  # width inside the official SPADE


# Options that a config field holds as it is.
_FIELDS = {
    "init_variance": "init_gain",
    "batchSize": "batch_size",
    "niter": "num_epochs",
    "niter_decay": "decay_epochs",
    "D_steps_per_G": "discriminator_steps",
    "preprocess_mode": "data.preprocess_mode",
    "load_size": "data.load_size",
    "crop_size": "data.crop_size",
    "aspect_ratio": "data.aspect_ratio",
    "netG": "generator.name",
    "ngf": "generator.width",
    "norm_G": "generator.norm",
    "num_upsampling_layers": "generator.upsampling",
    "z_dim": "generator.latent_size",
    "resnet_n_downsample": "generator.downsamplings",
    "resnet_n_blocks": "generator.blocks",
    "num_D": "discriminator.num_scales",
    "n_layers_D": "discriminator.num_layers",
    "ndf": "discriminator.width",
    "norm_D": "discriminator.norm",
    "norm_E": "encoder.norm",
    "gan_mode": "loss.gan",
    "lr": "optimizer.learning_rate",
    "beta1": "optimizer.beta1",
    "beta2": "optimizer.beta2",
}
# Options that a config field holds the opposite of.
_NEGATED_FIELDS = {
    "no_instance": "data.instances",
    "no_flip": "data.flip",
    "no_TTUR": "optimizer.ttur",
}
# A weight, the option that switches it off, and the config field of both.
_WEIGHTS = {
    "lambda_feat": ("no_ganFeat_loss", "loss.feature_matching"),
    "lambda_vgg": ("no_vgg_loss", "loss.perceptual"),
}
# Without these the networks and their input are not known.
_REQUIRED = (
    "netG",
    "ngf",
    "norm_G",
    "label_nc",
    "contain_dontcare_label",
    "no_instance",
    "dataset_mode",
    "use_vae",
    "preprocess_mode",
    "load_size",
    "crop_size",
    "aspect_ratio",
)
# Types of what is not copied to a field, which would check them.
_TYPES = {
    "label_nc": int,
    "lambda_kld": float,
    "norm_mode": str,
    "add_dist": bool,
    **dict.fromkeys(
        (
            "contain_dontcare_label",
            "use_vae",
            *_NEGATED_FIELDS,
            *(switch for switch, _ in _WEIGHTS.values()),
        ),
        bool,
    ),
}
_REQUIRED_FOR_SPADE = ("num_upsampling_layers",)
_REQUIRED_FOR_VAE = ("z_dim", "norm_E")
# Options whose other values nothing here corresponds to.
_FIXED: Options = {
    "netD": "multiscale",
    "netD_subarch": "n_layer",
    "output_nc": 3,
    "resnet_kernel_size": 3,
    "resnet_initial_kernel_size": 7,
}
# What the official program also expects to find, at its own defaults.
_OTHER_OPTIONS: Options = {
    "cache_filelist_read": False,
    "cache_filelist_write": False,
    "continue_train": False,
    "dataroot": "./datasets/cityscapes/",
    "debug": False,
    "display_freq": 100,
    "display_winsize": 400,
    "init_type": "xavier",
    "isTrain": True,
    "load_from_opt_file": False,
    "max_dataset_size": 9223372036854775807,
    "model": "pix2pix",
    "nThreads": 0,
    "nef": 16,
    "no_html": False,
    "no_pairing_check": False,
    "optimizer": "adam",
    "phase": "train",
    "print_freq": 100,
    "save_epoch_freq": 10,
    "save_latest_freq": 5000,
    "serial_batches": False,
    "tf_log": False,
}


# By dataset_mode, as far as ids mean the same there as here.
_CLASSES = {
    "ade20k": ade20k.CLASSES,
    "cityscapes": cityscapes.CLASSES,
    "coco": coco_stuff.CLASSES,
}
# Those whose dataroot is a directory as of source "folder".
_FOLDER_MODES = ("coco", "facades")


def dataset_classes(dataset_mode: str) -> dict[str, tuple[int, int, int]]:
    """Names and colours of a dataset's classes; none where they are not known."""
    return _CLASSES.get(dataset_mode, {})


def recipe_from_options(
    options: Options, *, name: str, defaults: Recipe | None = None
) -> Recipe:
    """Translates official options.

    Args:
      options: see `parse_options`.
      name: of the options, for errors.
      defaults: whose fields stand where no option does; None: `configs/default.py`.

    Raises:
      OptionsError: an option is missing, has the wrong type, or is not supported.
    """
    _check(options, name=name)
    if defaults is None:
        defaults = recipes.describe(library.default_config())
    # A config, which knows the fields' types.
    config = ml_collections.ConfigDict(dict(defaults.fields))

    def assign(field: str, value: Any, *of: str) -> None:
        # A field may be open before training; of what was trained it is known.
        if value is None:
            raise OptionsError(
                f"{name}: config.{field}=None must be a value: it is of a network that"
                " was trained."
            )
        try:
            config.update_from_flattened_dict({field: value})
        except (TypeError, ValueError) as error:
            raise OptionsError(
                f"{name}: {in_words(options, of)} cannot be config.{field} ({error})."
            ) from error

    for option, field in _FIELDS.items():
        if option in options:
            assign(field, options[option], option)
    for option, field in _NEGATED_FIELDS.items():
        if option in options:
            assign(field, not options[option], option)
    for option, (switch, field) in _WEIGHTS.items():
        if option in options:
            off = options.get(switch, False)
            assign(field, 0.0 if off else options[option], option)
    if "lambda_kld" in options and type(options.get("batchSize")) is int:
        # The official KLD is a sum over the pictures of one GPU; ours is a mean.
        ids = re.findall(r"-?\d+", str(options.get("gpu_ids")))
        gpus = sum(int(i) >= 0 for i in ids)  # -1 is the CPU
        pictures = options["batchSize"] / max(gpus, 1)
        assign("loss.kld", options["lambda_kld"] * pictures, "lambda_kld", "batchSize")

    if options.get("norm_mode", "spade") == "clade":
        assign("generator.norm", _clade_norm(options, name=name), "norm_G")
    num_classes, has_unknown = options["label_nc"], options["contain_dontcare_label"]
    if options["dataset_mode"] == "ade20k" and has_unknown:
        # The official ADE20K code means to make 0, "unknown", the last id, but never
        # writes that back: its networks see the ids as they are in the files.
        num_classes, has_unknown = num_classes + 1, False
    assign("data.num_classes", num_classes, "label_nc")
    config.data.unknown_label = UNKNOWN_LABEL if has_unknown else None
    classes = dataset_classes(options["dataset_mode"])
    if len(classes) == num_classes:
        config.data.classes = tuple(classes)
        config.data.palette = tuple(classes.values())
    if options["dataset_mode"] in _FOLDER_MODES:
        config.data.root = str(options.get("dataroot", ""))
    config.generator.latent = "vae" if options["use_vae"] else "none"
    assign("encoder.width", options["ngf"], "ngf")
    config.encoder.image_size = _ENCODER_SIZE
    try:
        recipe = recipes.describe(config)
        assemble.networks(recipe.architecture, recipe.compute)
    except ValueError as error:
        raise OptionsError(f"{name}: {error}") from error
    for field in recipe.open:
        raise OptionsError(
            f"{name}: config.{field}=None must be a value: it is of a network that was"
            " trained."
        )
    return recipe


def _check(options: Options, *, name: str) -> None:
    required = _REQUIRED
    if options.get("netG") == "spade":
        required += _REQUIRED_FOR_SPADE
    if options.get("use_vae"):
        required += _REQUIRED_FOR_VAE
    missing = [option for option in required if option not in options]
    if missing:
        raise OptionsError(f"{name} does not say {', '.join(missing)}.")
    for option, value in _FIXED.items():
        if options.get(option, value) != value:
            raise OptionsError(
                f"{name}: {option}={options[option]!r} is not supported, only"
                f" {value!r}."
            )
    if options.get("norm_mode", "spade") not in ("spade", "clade"):
        found = in_words(options, ("norm_mode",))
        raise OptionsError(f"{name}: {found} is not supported, only spade and clade.")
    if options.get("add_dist") and options.get("norm_mode") != "clade":
        found = in_words(options, ("add_dist", "norm_mode"))
        raise OptionsError(f"{name}: {found}: only CLADE sees positions.")
    for option, kind in _TYPES.items():
        if option in options and type(options[option]) is not kind:
            found = in_words(options, (option,))
            raise OptionsError(f"{name}: {found} is not of type {kind.__name__}.")


def _clade_norm(options: Options, *, name: str) -> str:
    """CLADE's norm, which officially has SPADE's name beside `norm_mode`."""
    try:
        spec = parse_spade_norm(options["norm_G"])
    except ValueError as error:
        raise OptionsError(f"{name}: {error}") from error
    spectral, icpe = "spectral" * spec.spectral, "icpe" * bool(options.get("add_dist"))
    return f"{spectral}clade{icpe}{spec.kind}"


def options_from_recipe(recipe: Recipe, *, directory: AnyPath) -> Options:
    """The official options of a recipe; the opposite of `recipe_from_options`.

    Args:
      recipe: to translate.
      directory: of the checkpoint, officially `checkpoints_dir/name`.

    Raises:
      OptionsError: naming each field that the official code has no setting for.
    """
    problems = list(_not_official(recipe.architecture))
    if problems:
        raise OptionsError(
            "the official code has no network like this:\n  " + "\n  ".join(problems)
        )
    options = _FIXED | _OTHER_OPTIONS
    options |= {option: recipe.field(field) for option, field in _FIELDS.items()}
    options |= {o: not recipe.field(field) for o, field in _NEGATED_FIELDS.items()}
    for option, (switch, field) in _WEIGHTS.items():
        weight = recipe.field(field)
        options |= {switch: not weight, option: weight or 10.0}
    for option in ("norm_G", "norm_D", "norm_E"):
        # SPADE's norms are officially spelt one way, all others the other way.
        norm = str(options[option]).replace("sync_batch", "syncbatch")
        if "spade" not in norm and "clade" not in norm:
            norm = norm.replace("syncbatch", "sync_batch")
        options[option] = norm
    if is_clade(recipe.architecture):
        spec = parse_spade_norm(options["norm_G"])
        options["norm_G"] = f"{'spectral' * spec.spectral}spade{spec.kind}3x3"
        options |= {"norm_mode": "clade", "add_dist": spec.positions}
    return options | {
        "name": directory.name,
        "checkpoints_dir": str(directory.parent),
        "dataset_mode": "custom",
        "label_nc": recipe.data.num_classes,
        "contain_dontcare_label": recipe.data.unknown_label is not None,
        "use_vae": recipe.architecture.generator.latent == "vae",
        # For training on one GPU, which then holds the whole batch.
        "gpu_ids": "0",
        "lambda_kld": recipe.loss.kld / recipe.schedule.batch_size,
    }


def is_clade(of: Architecture) -> bool:
    """Whether it is CLADE's, and not SPADE's."""
    g = of.generator
    return g.name == "spade" and parse_spade_norm(g.norm).by_class


def _not_official(of: Architecture) -> Iterator[str]:
    """What the official code has no setting for, in words."""
    g, e = of.generator, of.encoder
    norms = {"discriminator.norm": of.discriminator.norm}
    if g.name in ("concat", "oasis"):
        yield f"config.generator.name={g.name!r}: it has spade and pix2pixhd."
    if of.discriminator.name != "multiscale":
        norms = {}
        yield (
            f"config.discriminator.name={of.discriminator.name!r}: it has 'multiscale'."
        )
    if g.name == "pix2pixhd":
        norms["generator.norm"] = g.norm
    if g.name == "spade" and not is_clade(of) and g.hidden != HIDDEN:
        yield f"config.generator.hidden={g.hidden}: it has {HIDDEN}."
    if g.latent == "noise":
        yield "config.generator.latent='noise': it has 'none' and 'vae'."
    if g.latent == "vae":
        norms["encoder.norm"] = e.norm
        if e.width != g.width:
            yield (
                f"config.encoder.width={e.width}: it has the generator's, {g.width}."
            )
        if e.image_size != _ENCODER_SIZE:
            yield f"config.encoder.image_size={e.image_size}: it has {_ENCODER_SIZE}."
        if g.latent_size != _ENCODER_LATENT:
            yield (
                f"config.generator.latent_size={g.latent_size}: it has"
                f" {_ENCODER_LATENT} with an encoder."
            )
    for field, norm in norms.items():
        if not parse_norm(norm).spectral:
            yield f"config.{field}={norm!r}: it needs the prefix 'spectral'."
