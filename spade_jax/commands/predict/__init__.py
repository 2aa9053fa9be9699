"""Layouts in, pictures out: a folder of label maps, synthesised by a checkpoint.

folders.py  which files there are, and which belong together
options.py  what does not suit a model, refused before anything is made
samples.py  the pictures, several in one program
sheet.py, gallery.py, film.py  what shows them
"""

import concurrent.futures
import itertools
import logging
import os
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from spade_jax import assemble, data
from spade_jax.commands.predict import film as films
from spade_jax.commands.predict import folders, gallery, options, samples, sheet
from spade_jax.files import outputs, pictures
from spade_jax.files.places import AnyPath, place
from spade_jax.files.staging import staged
from spade_jax.models import inputs, opening
from spade_jax.models.maps import LabelFormat, Maps
from spade_jax.models.predictor import Predictor
from spade_jax.models.sizes import Fitted, SizeRule, size_rule
from spade_jax.progress import phase, result
from spade_jax.workdir import paths

_log = logging.getLogger(__name__)

# The contact sheet shows this many layouts at most; the gallery shows all.
_SHEET_ROWS = 16
_SHEET, _GALLERY = "contact_sheet.png", "index.html"


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
    latents = samples.latents(
        predictor,
        photos=found.styles,
        seed=seed,
        num_samples=num_samples,
        one_for_all=film is not None,
    )
    made = _write(
        found.names,
        samples.synthesised(
            predictor, maps, latents, groups=groups, rule=rule, num_samples=num_samples
        ),
        predictor,
        num_samples=num_samples,
        out=out,
        written=written,
    )
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


def _write(
    names: Sequence[str],
    synthesised: Iterator[samples.Sampled],
    predictor: Predictor,
    *,
    num_samples: int,
    out: AnyPath,
    written: outputs.Outputs,
) -> list[AnyPath]:
    """Writes pictures as they come, and what shows them all.

    Args:
      names: of the label maps.
      synthesised: what is made of each, in any order.
      predictor: that makes it.
      num_samples: pictures of each.
      out: where to.
      written: what was claimed there.

    Returns:
      The pictures' paths, in the order of their names.
    """
    step = predictor.trained.step
    rows: dict[int, list[str]] = {}
    shown: dict[int, list[np.ndarray]] = {}
    with phase(
        f"Synthesising {len(names)} layouts at step {step}",
        usually="half a minute for the first, which is compiled; seconds where the"
        " program is kept",
        then=f"the gallery, {out / _GALLERY}",
        total=len(names),
        unit="layouts",
    ) as synthesising:
        for number, layout, images in synthesised:
            name = names[number]
            files = _file_names(name, num_samples)
            for image, file in zip(images, files, strict=True):
                pictures.save_png(out / file, image, replacing=written.replacing)
            pictures.save_png(
                out / _layout_file(name), layout, replacing=written.replacing
            )
            rows[number] = files
            if number < _SHEET_ROWS:
                shown[number] = [layout, *images]
            synthesising.at(len(rows))
    # Those of one size were made one after another.
    in_order = [(names[number], rows[number]) for number in sorted(rows)]
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
    return [out / file for _, files in in_order for file in files]


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
