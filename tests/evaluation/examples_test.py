import numpy as np
import pytest
from PIL import Image

from spade_jax import data
from spade_jax.data import DataError
from spade_jax.evaluation import examples
from spade_jax.recipe import with_fields


def test_other_real_pictures_are_of_the_training_split(recipe, root, one_device):
    batches = list(examples.training_pictures(recipe, 3, one_device))
    assert [batch["mask"].tolist() for batch in batches] == [[True] * 2, [True, False]]
    found = {image.tobytes() for batch in batches for image in batch["image"]}
    files = (np.asarray(Image.open(p)) for p in (root / "train_img").iterdir())
    stored = {data.to_float(file).tobytes() for file in files}
    assert len(found) == 4
    assert found < stored
    without = with_fields(recipe, data__train_split="nowhere")
    with pytest.raises(DataError, match="nowhere"):
        next(examples.training_pictures(without, 3, one_device))
