"""Layouts in, pictures out: a folder of label maps, synthesised by a checkpoint.

    folders.py  which files there are, and which belong together
    options.py  what does not suit a model, refused before anything is made
    sheet.py, gallery.py, film.py  what shows the pictures

Letters: B batch, H height, W width, N latent size.
"""

import concurrent.futures
import functools
import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from spade_jax import assemble, data
from spade_jax.commands.predict import film as films
from spade_jax.commands.predict import folders, gallery, options, sheet
from spade_jax.files import outputs, pictures
from spade_jax.files.places import AnyPath, place
from spade_jax.files.staging import staged
from spade_jax.layout import Layout
from spade_jax.models import inputs, opening, styles
from spade_jax.models.maps import LabelFormat, Maps, PreparedMaps
from spade_jax.models.predictor import Predictor
from spade_jax.models.sizes import Fitted, SizeRule, size_rule
from spade_jax.models.styles import Posterior
from spade_jax.progress import phase, result
from spade_jax.workdir import paths

_log = logging.getLogger(__name__)

# Layouts at a time; more would only take memory.
_BATCH = 4
# The contact sheet shows this many layouts at most; the gallery shows all.
_SHEET_ROWS = 16
_SHEET, _GALLERY = "contact_sheet.png", "index.html"

Latents = Callable[[Sequence[int], int], np.ndarray | None]
"""Makes of the numbers of B examples and of the sample latents `[B, N]`, or None."""


def predict(
    workdir: str | os.PathLike[str],
    *,
    labels: str | os.PathLike[str],
    out: str | os.PathLike[str],
    instances: str | os.PathLike[str] | None = None,
    style: str | os.PathLike[str] | None = None,
    size: str = "trained",
    seed: int = 0,
    num_samples: int = 1,
    film: str | os.PathLike[str] | None = None,
    fps: float = 12.0,
) -> list[AnyPath]:
    """Synthesises a picture for each label map in a folder and in those below it.

    Writes `OUT/NAME.png` (`OUT/NAME_K.png` for sample K of several), the layouts in
    their colours under `OUT/layouts/`, `OUT/contact_sheet.png` and a gallery,
    `OUT/index.html`. NAME has the folders that a label map is in. What is there is
    replaced if this command wrote it; see `spade_jax.files.outputs`. All files are
    looked for before the model, and read once before its weights.

    Args:
      workdir: of the model; see `spade_jax.models.predictor.load`.
      labels: directory of label pictures, every pixel a class id, or a colour of the
        model's palette; or one such picture.
      out: created where missing.
      instances: directory of instance maps of the same names, or that of the one label
        map; needed by a model that was trained with them, refused by one that was not.
      style: a photograph whose style a VAE model takes, or a directory of photographs
        of the label maps' names: the mean of the encoder, or, with several samples,
        draws from its distribution. Without one a VAE model draws its style from the
        prior.
      size: what becomes of label maps of other sizes than the model's; see
        `spade_jax.models.sizes`. They may differ among one another.
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
      ValueError: options that do not suit the model or one another, see `options`; or
        something would be lost, see `spade_jax.files.outputs.claim`.
    """
    out = place(out)
    if film is not None:
        options.check_film(film, fps=fps)
    style_here = None if style is None else staged(style)
    found = folders.find(
        staged(labels),
        instances=None if instances is None else staged(instances),
        style=style_here,
    )
    opened = opening.open_model(workdir)
    of = opened.recipe
    options.check_model(
        of,
        instances=instances,
        style=style_here,
        seed=seed,
        num_samples=num_samples,
        is_film=film is not None,
    )
    rule = size_rule(of, size)
    maps = found.maps(format=LabelFormat(of.data))
    groups = _by_size(found, maps, rule=rule)
    if film is not None:
        options.check_frames(film, {fitted.picture for fitted in groups})
    _check_all(maps, found.styles, rule=rule, photos_to=assemble.resize(of.data.size))
    read = {
        "--labels": labels,
        "--instances": instances,
        "--style": style,
        "--workdir": paths.checkpoints(opened.directory),
    }
    read = {flag: path for flag, path in read.items() if path is not None}
    written = outputs.claim(
        out,
        _files(found.names, num_samples),
        command="predict",
        flag="--out",
        inputs=read,
    )
    film_written = None
    if film is not None:
        film_written = outputs.claim_file(
            film, command="predict", flag="--film", inputs=read
        )
    with phase("Reading the model", usually="seconds", then="the pictures"):
        predictor = Predictor(opened.read())
    latents = _latents(
        predictor,
        photos=found.styles,
        seed=seed,
        num_samples=num_samples,
        one_for_all=film is not None,
    )
    step = predictor.trained.step
    rows: dict[int, list[str]] = {}
    shown: dict[int, list[np.ndarray]] = {}
    with phase(
        f"Synthesising {len(maps)} layouts at step {step}",
        usually="half a minute for the first, which is compiled; seconds where the"
        " program is kept",
        then=f"the gallery, {out / _GALLERY}",
        total=len(maps),
        unit="layouts",
    ) as synthesising:
        for number, layout, samples in _synthesised(
            predictor, maps, latents, groups=groups, rule=rule, num_samples=num_samples
        ):
            name = found.names[number]
            files = _file_names(name, num_samples)
            for image, file in zip(samples, files, strict=True):
                pictures.save_png(out / file, image, replacing=written.replacing)
            pictures.save_png(
                out / _layout_file(name), layout, replacing=written.replacing
            )
            rows[number] = files
            if number < _SHEET_ROWS:
                shown[number] = [layout, *samples]
            synthesising.at(len(rows))
    # Those of one size were made one after another.
    in_order = [(found.names[number], rows[number]) for number in sorted(rows)]
    pictures.save_png(
        out / _SHEET,
        sheet.contact_sheet([shown[number] for number in sorted(shown)]),
        replacing=written.replacing,
    )
    page = gallery.page(
        in_order,
        classes=predictor.classes,
        palette=predictor.palette.tolist(),
        step=step,
    )
    with written.replacing(out / _GALLERY) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    made = [out / file for _, files in in_order for file in files]
    shows = ""
    if film_written is not None and film is not None:
        with phase(f"Writing {film}", usually="seconds"):
            films.write(film, made, fps=fps, replacing=film_written.replacing)
        shows = f" {film} shows them at {fps:g} a second."
    result(
        f"{len(made)} pictures are in {out}; open {out / _GALLERY}.{shows}",
        pictures=[str(path) for path in made],
        gallery=str(out / _GALLERY),
    )
    return made


def _check_all(
    maps: Maps, photos: Sequence[str], *, rule: SizeRule, photos_to: data.Preprocess
) -> None:
    """Reads everything once, so that what is wrong shows before any work is done.

    Raises:
      DataError: the first thing found wrong.
    """
    with (
        phase(
            "Reading the label maps",
            usually="a second for some hundred",
            then="the model",
            total=len(maps) + len(photos),
            unit="pictures",
        ) as reading,
        # Threads, since decoding leaves Python free.
        concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        of_maps = pool.map(lambda number: rule(maps[number]), range(len(maps)))
        of_photos = pool.map(lambda p: inputs.read_photo(p, photos_to), photos)
        for done, _ in enumerate(itertools.chain(of_maps, of_photos), 1):
            reading.at(done)


def _by_size(
    found: folders.Found, maps: Maps, *, rule: SizeRule
) -> dict[Fitted, list[int]]:
    """Label maps by what becomes of their sizes, and tells what does."""
    sizes = Counter[tuple[int, int]]()
    groups: dict[Fitted, list[int]] = {}
    for number, size in enumerate(folders.sizes(found.labels, maps)):
        sizes[size] += 1
        groups.setdefault(rule.fit(size), []).append(number)
    told = {words: n for size, n in sizes.items() if (words := rule.words(size))}
    if told:
        # Of as many sizes as photographs have, one stands for the others.
        most = max(told, key=lambda words: told[words])
        others = sum(told.values()) - told[most]
        more = f"; {others} are of other sizes, likewise" if others else ""
        _log.warning(
            "%s (%d of %d label maps%s.)", most, told[most], sizes.total(), more
        )
    return groups


def _synthesised(
    predictor: Predictor,
    maps: Maps,
    latents: Latents,
    *,
    groups: dict[Fitted, list[int]],
    rule: SizeRule,
    num_samples: int,
) -> Iterator[tuple[int, np.ndarray, list[np.ndarray]]]:
    """Synthesises label maps, several in one program.

    Args:
      predictor: of the model.
      maps: in their order.
      latents: of the pictures.
      groups: the maps' numbers, by what becomes of their sizes.
      rule: that says so.
      num_samples: pictures of each.

    Yields:
      For each its number, the layout in its colours and the samples, uint8
      `[H, W, 3]`.
    """
    for fitted, numbers in groups.items():
        height, width = fitted.picture
        first = 0
        for batch in data.batches(
            _Some(maps, numbers),
            batch_size=min(_BATCH, len(numbers)),
            # Nothing is drawn.
            seed=0,
            shuffle=False,
            transform=rule,
            num_epochs=1,
            finish=functools.partial(_with_layout, predictor),
        ):
            layout, count = batch["layout"], len(batch["label"])
            prepared = PreparedMaps([layout], fitted.picture)
            # With several samples what depends on the layout alone is computed once.
            again = num_samples > 1 and predictor.has_modulations
            values = [predictor.modulate(layout)] if again else None
            # The last batch is filled up with the first examples.
            of_batch = [numbers[(first + i) % len(numbers)] for i in range(count)]
            samples = [
                predictor.synthesise(
                    prepared, [latents(of_batch, sample)], values=values
                )
                for sample in range(num_samples)
            ]
            painted = pictures.paint(batch["label"], predictor.palette)
            for i in np.flatnonzero(batch["mask"]):
                layout_shown = painted[i, :height, :width]
                yield of_batch[i], layout_shown, [sample[i] for sample in samples]
            first += count


class _Some:
    """Some examples of a source, as a source."""

    def __init__(self, source: data.Source, numbers: Sequence[int]):
        self._source, self._numbers = source, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: int) -> data.Example:
        return self._source[self._numbers[index]]


def _with_layout(predictor: Predictor, batch: dict[str, Any]) -> dict[str, Any]:
    """Adds the batch's `layout`, in the threads that read."""
    layout = Layout(batch["label"], batch.get("edge"))
    layout = predictor.with_tables(layout, size=layout.size, tight=True)
    return {**batch, "layout": layout}


def _latents(
    predictor: Predictor,
    *,
    photos: list[str],
    seed: int,
    num_samples: int,
    one_for_all: bool,
) -> Latents:
    """What the pictures of a model start from; see `predict`.

    Args:
      predictor: of the model.
      photos: of whose styles they are: of each example one, one of all, or none.
      seed, num_samples: see `predict`.
      one_for_all: whether all examples have the style of the first.
    """
    of_all = predictor.posterior(photos[0]) if len(photos) == 1 else None

    def posterior(numbers: Sequence[int]) -> Posterior | None:
        if of_all is not None or not photos:
            return of_all
        found = [predictor.posterior(photos[number]) for number in numbers]
        means, logvars = zip(*found, strict=True)
        return jnp.concatenate(means), jnp.concatenate(logvars)

    def latents(numbers, sample):
        if predictor.latent_size is None:
            return None
        of_photos = posterior(numbers)
        if of_photos is not None and num_samples == 1:
            # One picture in a style is that of the mean, as it is without chance.
            mean = np.asarray(of_photos[0])
            return np.broadcast_to(mean, (len(numbers), mean.shape[1]))
        return styles.drawn(
            [0] * len(numbers) if one_for_all else numbers,
            seed=seed,
            sample=sample,
            latent_size=predictor.latent_size,
            posterior=of_photos,
            aggregate=predictor.trained.aggregate,
        )

    return latents


def _files(names: Sequence[str], num_samples: int) -> Iterator[tuple[str, str]]:
    """The files that come of label maps, each with what it is."""
    for name in names:
        for file in _file_names(name, num_samples):
            yield file, f"the picture of label map {name!r}"
        yield _layout_file(name), f"the layout of label map {name!r}"
    yield _SHEET, "the contact sheet"
    yield _GALLERY, "the gallery"


def _layout_file(name: str) -> str:
    return f"layouts/{name}.png"


def _file_names(name: str, num_samples: int) -> list[str]:
    if num_samples == 1:
        return [f"{name}.png"]
    return [f"{name}_{sample}.png" for sample in range(num_samples)]
