"""A graph of ONNX's operators, which grows node by node.

It is plain data until `spade_jax.export.onnx_file` makes a file of it, so that what
makes graphs needs no package.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

Value = str
"""A tensor of a graph, by its name."""

FLOAT = 1
"""float32, as the `to` of a Cast has it (`onnx.TensorProto.FLOAT`)."""


class Node(NamedTuple):
    """One call of an operator."""

    operator: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    attributes: dict[str, Any]


class Graph:
    """Nodes and constants, in the order in which they were added.

    Args:
      precision: in which kernels are stored: "float32" or "float16". It is all computed
        in float32; biases and statistics, of which there are few, stay in it too.

    Attributes:
      nodes: each after those that make its inputs.
      constants: by name.
      outputs: what comes out of it, by the name under which it does.
    """

    def __init__(self, *, precision: str = "float32"):
        self.nodes: list[Node] = []
        self.constants: dict[Value, np.ndarray] = {}
        self.outputs: dict[str, Value] = {}
        self._precision = np.dtype(precision)

    def add(self, operator: str, *inputs: Value, **attributes: Any) -> Value:
        """Adds a node with one output, which is returned."""
        (output,) = self.add_several(1, operator, *inputs, **attributes)
        return output

    def add_several(
        self, count: int, operator: str, *inputs: Value, **attributes: Any
    ) -> tuple[Value, ...]:
        """Adds a node with `count` outputs, which are returned."""
        stem = f"{operator}_{len(self.nodes)}"
        outputs = tuple(f"{stem}_{i}" for i in range(count)) if count > 1 else (stem,)
        self.nodes.append(Node(operator, inputs, outputs, attributes))
        return outputs

    def constant(self, array: Any) -> Value:
        """Adds a constant as it is."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = np.asarray(array)
        return name

    def integers(self, numbers: Sequence[int]) -> Value:
        """Adds a constant int64, as shapes, axes and steps are."""
        return self.constant(np.array(numbers, np.int64))

    def kernel(self, array: np.ndarray) -> Value:
        """Adds a constant that is stored in the graph's precision.

        Raises:
          ValueError: a number of it is beyond that.
        """
        array = np.asarray(array, np.float32)
        if self._precision == np.float32:
            return self.constant(array)
        largest, most = np.abs(array).max(), np.finfo(self._precision).max
        if largest > most:
            raise ValueError(
                f"precision={self._precision.name!r} ends at {most:g}, and a weight of"
                f" this model is {largest:g}. Give --precision=float32."
            )
        # Runtimes do it once, when they read the graph.
        return self.add("Cast", self.constant(array.astype(self._precision)), to=FLOAT)
