"""The gallery: a page in HTML that shows layouts beside their pictures."""

import html
import os
import urllib.parse
from collections.abc import Sequence

from spade_jax.files.pictures import Palette


def page(
    rows: Sequence[tuple[str, Sequence[str]]],
    *,
    classes: Sequence[str],
    palette: Palette,
    step: int,
) -> str:
    """Writes the page.

    Args:
      rows: of each layout its name and its pictures' files; `layouts/NAME.png` shows
        the layout itself. Paths are relative to the page.
      classes: names of the class ids, for the legend.
      palette: the colours that the layouts are shown in, of each id one.
      step: iterations that the model was trained for.
    """
    body = "\n".join(
        "<section>"
        + _figure(f"layouts/{name}.png", name)
        + "".join(_figure(file, file) for file in files)
        + "</section>"
        for name, files in rows
    )
    legend = "".join(
        f'<li style="border-color: rgb{tuple(colour)}">{html.escape(name)}</li>'
        for name, colour in zip(classes, palette, strict=False)
    )
    return _PAGE.format(body=body, legend=legend, step=step)


def _figure(file: str, caption: str) -> str:
    # A name may hold what means something in an address, such as # and %, and bytes
    # that are no text.
    file = urllib.parse.quote(os.fsencode(file))
    caption = html.escape(os.fsencode(caption).decode(errors="replace"))
    return (
        f'<figure><img src="{file}" alt="{caption}" loading="lazy">'
        f"<figcaption>{caption}</figcaption></figure>"
    )


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
