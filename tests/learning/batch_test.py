import numpy as np

from spade_jax.layout import Layout
from spade_jax.learning.batch import layout_of


def test_layout_of_a_batch():
    label, edge, tables = np.zeros((1, 2, 2), int), np.ones((1, 2, 2), bool), {}
    assert layout_of({"label": label, "image": None}) == Layout(label, None, None)
    found = layout_of({"label": label, "edge": edge, "tables": tables})
    assert found.label is label
    assert found.edge is edge
    assert found.tables is tables
