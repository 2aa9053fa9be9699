"""A model's networks as files of ONNX, which runtimes of many languages read."""

import json
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import jax
import numpy as np

import spade_jax
from spade_jax import assemble, nets
from spade_jax.export import onnx_networks
from spade_jax.export.onnx_graph import Graph
from spade_jax.export.onnx_layers import Layout, Part
from spade_jax.files import provenance
from spade_jax.models.opening import Model

PRECISIONS = ("float32", "float16")
"""In which kernels can be stored; it is all computed in float32."""

OPSET = 18

WEB_RUNTIME = "onnxruntime-web@1.30.0"
"""The package of npm that such files are tried with in a browser."""

_IR_VERSION = 8  # that of ONNX 1.13, which brought this opset
_MOST_BYTES = 2**31 - 1  # of a protocol buffer, which such a file is


def form(*, precision: str) -> dict[str, Any]:
    """What a card says of the form of these files."""
    return {
        "format": "onnx",
        "opset": OPSET,
        "weights": precision,
        "compute_dtype": "float32",
        "versions": provenance.versions(["onnx"]),
    }


def takes_any_size(model: Model) -> bool:
    """Whether the generator takes label maps of any size that suits its scales."""
    generator = model.networks.generator
    is_spade = isinstance(generator, nets.SPADEGenerator)
    return not (is_spade and generator.starts_from_latent)


def graphs(model: Model, *, precision: str) -> dict[str, Graph]:
    """The networks of a model: "generator" and, if it has one, "encoder".

    Inputs and outputs have the names that cards give them.

    Args:
      model: read with `portable=True`.
      precision: one of `PRECISIONS`.

    Raises:
      ValueError: see `onnx_networks.generator` and `Graph.kernel`.
    """
    networks, data = model.networks, model.recipe.data
    reads_positions = assemble.reads_positions(model.recipe.architecture)
    graph = Graph(precision=precision)
    graph.outputs["image"] = onnx_networks.generator(
        graph,
        networks.generator,
        Part(jax.device_get(model.generator)),
        Layout(
            label="label",
            size=None if takes_any_size(model) else data.size,
            edge="edge" if data.instances else None,
            positions="positions" if reads_positions else None,
        ),
        None if networks.latent_size is None else "z",
    )
    found = {"generator": graph}
    if networks.encoder is not None:
        graph = Graph(precision=precision)
        part = Part(jax.device_get(model.encoder))
        mean, logvar = onnx_networks.encoder(graph, networks.encoder, part, "photo")
        graph.outputs |= {"mean": mean, "logvar": logvar}
        found["encoder"] = graph
    return found


def contents(
    graphs: Mapping[str, Graph], described: Mapping[str, Any]
) -> dict[str, bytes]:
    """The content of a file for each graph, examined by `onnx.checker`.

    Args:
      graphs: by name.
      described: the card, which goes into the metadata of every file as "card".

    Raises:
      ImportError: onnx is not installed.
      ValueError: a graph is larger than such a file can be.
    """
    onnx = import_onnx()
    for name, graph in graphs.items():
        size = sum(array.nbytes for array in graph.constants.values())
        if size > _MOST_BYTES:
            raise ValueError(
                f"The {name} has {size / 1e9:.3g} GB of weights, and an ONNX file ends"
                f" at {_MOST_BYTES / 1e9:.3g} GB. Give --precision=float16, or another"
                " format (--out=model.jax)."
            )
    made = {}
    for name, graph in graphs.items():
        model = onnx.helper.make_model(
            _onnx_graph(onnx, name, graph, described["programs"][name]),
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="spade_jax",
            producer_version=spade_jax.__version__,
        )
        card = json.dumps(described, ensure_ascii=False)
        onnx.helper.set_model_props(model, {"card": card})
        onnx.checker.check_model(model, full_check=True)
        made[name] = model.SerializeToString()
    return made


def import_onnx() -> ModuleType:
    """The package that files are made with.

    Raises:
      ImportError: it is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            "ONNX files are made with the package onnx, which is not installed: pip"
            " install onnx, or the extra 'onnx'."
        ) from error
    return onnx


def _onnx_graph(
    onnx: ModuleType, name: str, graph: Graph, described: Mapping[str, Any]
):
    """A graph as a protocol buffer, with the inputs and outputs that a card tells."""
    names = {value: name for name, value in graph.outputs.items()}

    def infos(side):
        return [
            onnx.helper.make_tensor_value_info(
                x["name"],
                onnx.helper.np_dtype_to_tensor_dtype(np.dtype(x["dtype"])),
                x["shape"],
                x["means"],
            )
            for x in described[side]
        ]

    return onnx.helper.make_graph(
        [
            onnx.helper.make_node(
                node.operator,
                node.inputs,
                [names.get(output, output) for output in node.outputs],
                **node.attributes,
            )
            for node in graph.nodes
        ],
        name,
        infos("inputs"),
        infos("outputs"),
        [
            onnx.numpy_helper.from_array(array, name)
            for name, array in graph.constants.items()
        ],
    )
