import numpy as np
import pytest
from PIL import Image

from benchmarks import layouts
from spade_jax.data import edges


@pytest.fixture
def root(tmp_path):
    """Two layouts of ids 0, 1 and "unknown", each with two instances."""
    for name in ("val_label", "val_inst"):
        (tmp_path / name).mkdir()
    label = np.array([[0, 0, 1, 255]] * 3, np.uint8)
    instance = np.array([[7, 7, 8, 8]] * 3, np.uint8)
    for name in ("b", "a"):
        Image.fromarray(label).save(tmp_path / "val_label" / f"{name}.png")
        Image.fromarray(instance).save(tmp_path / "val_inst" / f"{name}.png")
    return tmp_path


def test_files_are_read_at_the_size_asked_for(root):
    found = layouts.read(root, size=8, num_classes=5, limit=9)
    assert list(found) == ["a", "b"]
    label, edge = found["a"].label, found["a"].edge
    np.testing.assert_array_equal(label, np.tile([0, 0, 0, 0, 1, 1, 4, 4], (1, 8, 1)))
    np.testing.assert_array_equal(edge, np.tile([0, 0, 0, 1, 1, 0, 0, 0], (1, 8, 1)))
    assert (label.dtype, edge.dtype) == (np.int32, bool)
    assert found["a"].tables is None


def test_ids_fit_into_fewer_classes_and_the_limit_holds(root):
    (layout,) = layouts.read(root, size=8, num_classes=1, limit=1).values()
    assert not layout.label.any()


def test_no_files_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="val_label"):
        layouts.read(tmp_path, size=8, num_classes=5, limit=1)


def test_edges_are_those_of_the_data():
    layout = layouts.blocks(4, size=18, num_classes=3)
    np.testing.assert_array_equal(layout.edge[0], edges(layout.label[0]))
    assert layout.label.shape == (1, 18, 18)
    assert (layout.label[0, 4:8, 8:12] == layout.label[0, 4, 8]).all()


def test_one_block_is_one_class_and_small_ones_are_noise():
    one = layouts.blocks(16, size=16, num_classes=100)
    assert len(np.unique(one.label)) == 1
    assert not one.edge.any()
    assert len(np.unique(layouts.blocks(1, size=16, num_classes=100).label)) > 50


def test_drawn_layouts_have_the_classes_asked_for():
    found = layouts.draw(size=32, num_classes=183, limit=2)
    assert len(found) == 2
    for layout in found.values():
        assert layout.label.shape == (1, 32, 32)
        assert 0 <= layout.label.min() < layout.label.max() < 183
        assert layout.edge.any()
