"""Layouts in, pictures out: a folder of label maps, synthesised by a checkpoint.

Letters: B batch, H height, W width, N latent size.
"""

import functools
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from spade_jax import assemble, data
from spade_jax.commands.predict import film as films
from spade_jax.commands.predict import folders, gallery, options
from spade_jax.files import pictures
from spade_jax.layout import Layout
from spade_jax.models import styles
from spade_jax.models.maps import LabelFormat, Maps, PreparedMaps, Resize
from spade_jax.models.predictor import Predictor, load

_log = logging.getLogger(__name__)

# Layouts at a time; more would only take memory.
_BATCH = 4
# The contact sheet shows this many layouts at most; the gallery shows all.
_SHEET_ROWS = 16

Latents = Callable[[Sequence[int], int], np.ndarray | None]
"""Makes of the numbers of B examples and of the sample latents `[B, N]`, or None."""


def predict(
    workdir: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str],
    out: str | os.PathLike[str],
    instances: str | os.PathLike[str] | None = None,
    style: str | os.PathLike[str] | None = None,
    seed: int = 0,
    num_samples: int = 1,
    film: str | os.PathLike[str] | None = None,
    fps: float = 12.0,
) -> list[pathlib.Path]:
    """Synthesises a picture for each label map in a folder.

    Writes `OUT/NAME.png` (`OUT/NAME_K.png` for sample K of several), the layouts in
    their colours under `OUT/layouts/`, `OUT/contact_sheet.png` and a gallery,
    `OUT/index.html`. Label maps are resized as evaluation does it.

    Args:
      workdir: of the model; see `spade_jax.models.predictor.load`.
      labels: directory of label pictures, every pixel a class id, or a colour of the
        model's palette.
      out: created where missing.
      instances: directory of instance maps of the same names; needed by a model that
        was trained with them, refused by one that was not.
      style: a photograph whose style a VAE model takes: the mean of the encoder, or,
        with several samples, draws from its distribution. Without one a VAE model
        draws its style from the prior.
      seed: of the latent draws, which also depend on the example's and the sample's
        number and on nothing else.
      num_samples: pictures a layout, for a model with a latent.
      film: .mp4 or .gif, in which the label maps are frames, in the order of their
        names with numbers counted as numbers. All have one style then: that of
        `style`, or of the seed. None: no film.
      fps: its frames a second.

    Returns:
      The pictures' paths.

    Raises:
      CheckpointError: there is no model.
      DataError: a label map is missing or wrong.
      ValueError: options that do not suit the model or one another, see `options`.
    """
    if film is not None:
        options.check_film(film, fps=fps)
    predictor = load(workdir)
    model = predictor.trained
    options.check_model(
        model,
        instances=instances,
        style=style,
        num_samples=num_samples,
        is_film=film is not None,
    )
    maps = folders.maps_of(labels, instances, format=LabelFormat(model.recipe.data))
    resize = assemble.preprocess(model.recipe.data, training=False)
    data.check(maps, transform=resize)
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    latents = _latents(
        predictor,
        style=style,
        seed=seed,
        num_samples=num_samples,
        one_for_all=film is not None,
    )
    _log.info("Synthesising %d layouts at step %d.", len(maps), model.step)

    rows, sheet = [], []
    for name, layout, samples in _synthesised(
        predictor, maps, latents, resize=resize, seed=seed, num_samples=num_samples
    ):
        files = _file_names(name, num_samples)
        for image, file in zip(samples, files, strict=True):
            pictures.save_png(out / file, image)
        pictures.save_png(out / "layouts" / f"{name}.png", layout)
        rows.append((name, files))
        if len(sheet) < _SHEET_ROWS:
            sheet.append([layout, *samples])
    columns = [np.stack(column) for column in zip(*sheet, strict=True)]
    pictures.save_png(out / "contact_sheet.png", pictures.grid(columns, at_least=128))
    page = gallery.page(
        rows,
        classes=model.recipe.data.classes,
        palette=predictor.palette.tolist(),
        step=model.step,
    )
    (out / "index.html").write_text(page, encoding="utf-8")
    _log.info("%d pictures are in %s; open index.html.", len(rows) * num_samples, out)
    paths = [out / file for _, files in rows for file in files]
    if film is not None:
        films.write(film, paths, fps=fps)
        _log.info("%s shows them at %g a second.", film, fps)
    return paths


def _synthesised(
    predictor: Predictor,
    maps: Maps,
    latents: Latents,
    *,
    resize: Resize,
    seed: int,
    num_samples: int,
) -> Iterator[tuple[str, np.ndarray, list[np.ndarray]]]:
    """Synthesises label maps, several in one program.

    Args:
      predictor: of the model.
      maps: in their order.
      latents: of the pictures.
      resize: what becomes of maps of any size.
      seed: of what `resize` draws.
      num_samples: pictures of each.

    Yields:
      For each its name, the layout in its colours and the samples, uint8 `[H, W, 3]`.
    """
    first = 0
    for batch in data.batches(
        maps,
        batch_size=min(_BATCH, len(maps)),
        seed=seed,
        shuffle=False,
        transform=resize,
        num_epochs=1,
        names=True,
        finish=functools.partial(_with_layout, predictor),
    ):
        layout, count = batch["layout"], len(batch["label"])
        prepared = PreparedMaps([layout], layout.size)
        # With several samples what depends on the layout alone is computed once.
        again = num_samples > 1 and predictor.has_modulations
        values = [predictor.modulate(layout)] if again else None
        numbers = range(first, first + count)
        samples = [
            predictor.synthesise(prepared, [latents(numbers, sample)], values=values)
            for sample in range(num_samples)
        ]
        painted = pictures.paint(batch["label"], predictor.palette)
        for i in np.flatnonzero(batch["mask"]):
            yield str(batch["name"][i]), painted[i], [sample[i] for sample in samples]
        first += count


def _with_layout(predictor: Predictor, batch: dict[str, Any]) -> dict[str, Any]:
    """Adds the batch's `layout`, in the threads that read."""
    layout = Layout(batch["label"], batch.get("edge"))
    layout = predictor.with_tables(layout, size=predictor.size, tight=True)
    return {**batch, "layout": layout}


def _latents(
    predictor: Predictor,
    *,
    style: str | os.PathLike[str] | None,
    seed: int,
    num_samples: int,
    one_for_all: bool,
) -> Latents:
    """What the pictures of a model start from; see `predict`.

    Args:
      predictor: of the model.
      style, seed, num_samples: see `predict`.
      one_for_all: whether all examples have the style of the first.
    """
    posterior = None if style is None else predictor.posterior(style)

    def latents(numbers, sample):
        if predictor.latent_size is None:
            return None
        if posterior is not None and num_samples == 1:
            # One picture in a style is that of the mean, as it is without chance.
            return np.repeat(posterior[0], len(numbers), axis=0)
        return styles.drawn(
            [0] * len(numbers) if one_for_all else numbers,
            seed=seed,
            sample=sample,
            latent_size=predictor.latent_size,
            posterior=posterior,
        )

    return latents


def _file_names(name: str, num_samples: int) -> list[str]:
    if num_samples == 1:
        return [f"{name}.png"]
    return [f"{name}_{sample}.png" for sample in range(num_samples)]
