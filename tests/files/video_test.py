import sys

import numpy as np
import pytest
from PIL import Image

from spade_jax.files import video


def test_without_pyav_there_are_only_gifs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    video.check_encoder("film.gif")
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(tmp_path / "a.png")
    for call in (
        lambda: video.check_encoder("film.MP4"),
        lambda: video.write(tmp_path / "film.mp4", [tmp_path / "a.png"], fps=1),
    ):
        with pytest.raises(ValueError, match=r"\.mp4 needs PyAV.* A \.gif needs"):
            call()
    video.write(tmp_path / "film.gif", [tmp_path / "a.png"], fps=1)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["a.png", "film.gif"]
