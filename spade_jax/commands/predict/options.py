"""Options that do not suit a model or one another, refused before anything is made."""

import os
from collections.abc import Collection

from spade_jax.files import video
from spade_jax.models.styles import whole
from spade_jax.recipe import Recipe

# Each is a file, whose name is looked at before the first is made.
_MOST_SAMPLES = 10_000
# Frames a second of a film.
_SLOWEST = 0.01


def check_film(film: str | os.PathLike[str], *, fps: float) -> None:
    """Refuses a film that could not be written.

    Raises:
      ValueError: the path has another ending, `fps` is one that players do not take,
        or PyAV is not installed, which writes .mp4.
    """
    if video.ending(film) not in video.ENDINGS:
        raise ValueError(f"--film={film}: a film ends in {' or '.join(video.ENDINGS)}.")
    # A .gif has hundredths of a second a frame, at most 65,535 of them.
    fastest = 100 if video.ending(film) == ".gif" else 1000
    if not _SLOWEST <= fps <= fastest:
        raise ValueError(
            f"--fps={fps:g} must be positive: a {video.ending(film)} plays {_SLOWEST:g}"
            f" to {fastest:g} frames a second."
        )
    video.check_encoder(film)


def check_model(
    recipe: Recipe,
    *,
    instances: str | os.PathLike[str] | None,
    style: str | os.PathLike[str] | None,
    seed: int,
    num_samples: int,
    is_film: bool,
) -> None:
    """Refuses what a model cannot do.

    Args:
      recipe: of the model that is to synthesise.
      instances, style, seed, num_samples: see `spade_jax.commands.predict.predict`.
      is_film: whether a film is wanted.

    Raises:
      ValueError: naming the option and the remedy.
    """
    whole(seed)
    wants_instances = recipe.data.instances
    if wants_instances and instances is None:
        raise ValueError(
            "This model was trained with instance maps: give their directory with"
            " --instances=DIR."
        )
    if instances is not None and not wants_instances:
        raise ValueError(
            "This model was trained without instance maps: leave --instances out."
        )
    if style is not None and recipe.architecture.generator.latent != "vae":
        raise ValueError(
            "--style needs a model with an encoder"
            " (config.generator.latent='vae'); this one has none."
        )
    if not 1 <= num_samples <= _MOST_SAMPLES:
        raise ValueError(
            f"--num_samples={num_samples} must be at least 1, and at most"
            f" {_MOST_SAMPLES}."
        )
    if num_samples > 1 and recipe.architecture.latent_size is None:
        raise ValueError(
            f"--num_samples={num_samples}: this model starts from the layout alone"
            " (config.generator.latent='none'), so all its samples are the same."
        )
    if num_samples > 1 and is_film:
        raise ValueError(
            f"--num_samples={num_samples} with --film: a film has one style. Leave one"
            " of them out; --seed gives another style."
        )
    if is_film and style is not None and os.path.isdir(os.path.expanduser(style)):
        raise ValueError(
            f"--style={os.fspath(style)} is a directory, and a film has one style: give"
            " one photograph."
        )


def check_frames(
    film: str | os.PathLike[str], sizes: Collection[tuple[int, int]]
) -> None:
    """Refuses pictures that are no frames of one film.

    Args:
      film: .mp4 or .gif.
      sizes: the pictures' (height, width), each once.

    Raises:
      ValueError: there are several, or the sides of an .mp4 are odd.
    """
    (height, width), *others = sizes
    if others:
        raise ValueError(
            f"--film={os.fspath(film)}: the pictures would be of {len(sizes)} sizes,"
            " and frames have one. Give label maps of one size, or leave --film out."
        )
    if video.ending(film) == ".mp4" and (height % 2 or width % 2):
        raise ValueError(
            f"--film={os.fspath(film)}: the pictures would be {width}x{height} (width"
            " x height), and the sides of an .mp4 are even. Give a .gif, or other"
            " label maps."
        )
