"""Layouts in, pictures out: a folder of label maps, synthesised by a checkpoint.

Letters: B batch, H height, W width, N latent size.
"""

import html
import logging
import os
import pathlib
import re

import jax
import numpy as np

from spade_jax import build, data
from spade_jax.files import pictures, video
from spade_jax.learning.batch import layout_of
from spade_jax.models.predictor import Predictor, load
from spade_jax.models.restore import Model
from spade_jax.nets.encoder import sample_latent

_log = logging.getLogger(__name__)

# Layouts at a time; more would only take memory.
_BATCH = 4
# The contact sheet shows this many layouts at most; the gallery shows all.
_SHEET_ROWS = 16


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
    `OUT/index.html`.

    Args:
      workdir: of the model; see `spade_jax.models.predictor.load`.
      labels: directory of label pictures, every pixel a class id, or a colour for a
        model that was trained with `config.data.label_colors`.
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
      ValueError: options that do not suit the model, or see `video.check`.
    """
    if film is not None:
        video.check(film, fps=fps)
    predictor = load(workdir)
    model = predictor.trained
    _check_options(
        model,
        instances=instances,
        style=style,
        num_samples=num_samples,
        is_film=film is not None,
    )
    source = data.LayoutSource(
        labels,
        instances,
        num_classes=model.config.data.num_classes,
        unknown_label=model.config.data.unknown_label,
        colors=build.label_colors(model.config),
    )
    transform = build.preprocess(model.config, training=False)
    data.check(source, transform=transform)
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    latents = _Latents(
        predictor,
        style=style,
        seed=seed,
        num_samples=num_samples,
        one_for_all=film is not None,
    )
    palette = pictures.full_palette(
        model.config.data.palette, build.num_class_ids(model.config)
    )
    _log.info("Synthesising %d layouts at step %d.", len(source), model.step)

    rows, sheet, first = [], [], 0
    for batch in data.batches(
        source,
        batch_size=min(_BATCH, len(source)),
        seed=seed,
        shuffle=False,
        transform=transform,
        num_epochs=1,
        names=True,
        finish=build.tabulator(
            model.config, shards=1, platform=jax.default_backend(), tight=True
        ),
    ):
        layout = layout_of(batch)
        # With several samples what depends on the layout alone is computed once.
        known = predictor.modulate(layout) if num_samples > 1 else None
        columns = [pictures.paint(batch["label"], palette)]
        for sample in range(num_samples):
            z = latents.draw(first, len(batch["label"]), sample)
            made = predictor.generate(layout, known, z)
            columns.append(pictures.to_uint8(jax.device_get(made)))
        for i in np.flatnonzero(batch["mask"]):
            name = str(batch["name"][i])
            files = _file_names(name, num_samples)
            for column, file in zip(columns[1:], files, strict=True):
                pictures.save_png(out / file, column[i])
            pictures.save_png(out / "layouts" / f"{name}.png", columns[0][i])
            rows.append((name, files))
            if len(sheet) < _SHEET_ROWS:
                sheet.append([column[i] for column in columns])
        first += len(batch["label"])
    pictures.save_png(
        out / "contact_sheet.png",
        pictures.grid(
            [np.stack(column) for column in zip(*sheet, strict=True)], at_least=128
        ),
    )
    (out / "index.html").write_text(_gallery(rows, model), encoding="utf-8")
    _log.info("%d pictures are in %s; open index.html.", len(rows) * num_samples, out)
    paths = [out / file for _, files in rows for file in files]
    if film is not None:
        frames = sorted(paths, key=lambda path: _with_numbers(path.stem))
        video.write(film, frames, fps=fps)
        _log.info("%s shows them at %g a second.", film, fps)
    return paths


class _Latents:
    """Draws what a model with a latent starts from; nothing for one without."""

    def __init__(
        self,
        predictor: Predictor,
        *,
        style: str | os.PathLike[str] | None,
        seed: int,
        num_samples: int,
        one_for_all: bool,
    ):
        self._predictor, self._seed, self._one_for_all = predictor, seed, one_for_all
        self._posterior = None if style is None else predictor.posterior(style)
        # One picture in a style is that of the mean, as it is without chance.
        self._mean_only = num_samples == 1

    def draw(self, first: int, count: int, sample: int) -> np.ndarray | None:
        """Latents `[count, N]` of examples `first ..`, or None."""
        if self._predictor.latent_size is None:
            return None
        if self._posterior is not None and self._mean_only:
            return np.repeat(self._posterior[0], count, axis=0)
        numbers = [0] * count if self._one_for_all else range(first, first + count)
        draws = np.concatenate(
            [self._predictor.prior(self._seed, number, sample) for number in numbers]
        )
        if self._posterior is None:
            return draws
        return np.asarray(sample_latent(*self._posterior, draws))


def _check_options(
    model: Model,
    *,
    instances: str | os.PathLike[str] | None,
    style: str | os.PathLike[str] | None,
    num_samples: int,
    is_film: bool,
) -> None:
    wants_instances = model.config.data.instances
    if wants_instances and instances is None:
        raise ValueError(
            "This model was trained with instance maps: give their directory with"
            " --instances=DIR."
        )
    if instances is not None and not wants_instances:
        raise ValueError(
            "This model was trained without instance maps: leave --instances out."
        )
    if style is not None and model.encoder is None:
        raise ValueError(
            "--style needs a model with an encoder"
            " (config.generator.latent='vae'); this one has none."
        )
    if num_samples < 1:
        raise ValueError(f"--num_samples={num_samples} must be at least 1.")
    if num_samples > 1 and model.networks.latent_size is None:
        raise ValueError(
            f"--num_samples={num_samples}: this model starts from the layout alone"
            " (config.generator.latent='none'), so all its samples are the same."
        )

    if num_samples > 1 and is_film:
        raise ValueError(
            f"--num_samples={num_samples} with --film: a film has one style. Leave one"
            " of them out; --seed gives another style."
        )


def _with_numbers(name: str) -> list[tuple[int, str]]:
    """Sorts names: frame_10 after frame_9."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), part) if part.isdigit() else (-1, part) for part in parts]


def _file_names(name: str, num_samples: int) -> list[str]:
    if num_samples == 1:
        return [f"{name}.png"]
    return [f"{name}_{sample}.png" for sample in range(num_samples)]


def _gallery(rows: list[tuple[str, list[str]]], model: Model) -> str:
    """An HTML page of layouts and pictures, with the classes' names."""

    def figure(file: str, caption: str) -> str:
        file, caption = html.escape(file, quote=True), html.escape(caption)
        return (
            f'<figure><img src="{file}" alt="{caption}" loading="lazy">'
            f"<figcaption>{caption}</figcaption></figure>"
        )

    body = "\n".join(
        "<section>"
        + figure(f"layouts/{name}.png", name)
        + "".join(figure(file, file) for file in files)
        + "</section>"
        for name, files in rows
    )
    names = model.config.data.classes
    colours = pictures.full_palette(model.config.data.palette, len(names))
    legend = "".join(
        f'<li style="border-color: rgb{colour}">{html.escape(name)}</li>'
        for name, colour in zip(names, colours, strict=False)
    )
    return _PAGE.format(body=body, legend=legend, step=model.step)


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>spade_jax</title>
<style>
body {{ font: 14px sans-serif; margin: 1rem; background: #fff; color: #222 }}
section {{ display: flex; flex-wrap: wrap; gap: .5rem }}
figure {{ margin: 0 0 1rem }}
figcaption {{ color: #666 }}
ul {{ list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .3rem 1rem }}
li {{ border-left: 1rem solid; padding-left: .3rem }}
</style>
<h1>Synthesised from layouts</h1>
<p>spade_jax, model of step {step}.</p>
<ul>{legend}</ul>
{body}
</html>
"""
