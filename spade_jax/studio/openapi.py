"""The HTTP interface as OpenAPI describes interfaces."""

from collections.abc import Mapping
from typing import Any

import spade_jax
from spade_jax.studio.limits import Limits
from spade_jax.studio.uploads import FORMATS

_PNG = {"image/png": {"schema": {"type": "string", "format": "binary"}}}


def described(model: Mapping[str, Any], limits: Limits) -> dict[str, Any]:
    """An OpenAPI 3.1 document.

    Args:
      model: what `Engine.describe` says.
      limits: of the server.
    """
    height, width, size = model["height"], model["width"], model["style_size"]
    numbers = {"type": "array", "items": {"type": "number"}}
    style = {**numbers, "minItems": size, "maxItems": size}
    upload = {
        "required": True,
        "description": f"{', '.join(FORMATS)}, at most {limits.upload_bytes} bytes and"
        f" {limits.upload_pixels} pixels",
        "content": {
            f"image/{name.lower()}": {"schema": {"type": "string", "format": "binary"}}
            for name in FORMATS
        },
    }
    runs = {
        "type": "string",
        "contentEncoding": "base64",
        "description": f"runs of (u16 id, u16 length), little-endian, row by row, of"
        f" {height}x{width} pixels",
    }
    sized = {"width": {"const": width}, "height": {"const": height}}
    seed = _query("seed", {"type": "integer", "minimum": 0, "maximum": 2**32 - 1})
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"spade_jax studio: {model['name']}",
            "version": spade_jax.__version__,
            "description": "Layouts of class ids in, pictures out. Errors are JSON"
            " {error: text}. Where the server has a token, each request shows it, as"
            " ?token= or Authorization: Bearer. Painting goes over the WebSocket"
            " /api/live; see spade_jax.studio.protocol.",
        },
        "paths": {
            "/api/model": {
                "get": _operation(
                    "What there is to know of the model: classes, palette, sizes",
                    {"type": "object", "required": sorted(model)},
                )
            },
            "/api/landscape": {
                "get": _operation(
                    "A random layout",
                    _object({**sized, "runs": runs}),
                    parameters=[seed],
                )
            },
            "/api/synthesise": {
                "post": {
                    **_operation(
                        "The picture of a label map: ids, or the classes' colours",
                        parameters=[
                            seed,
                            _query("style", style, explode=False),
                        ],
                        body=upload,
                    ),
                    "responses": {
                        "200": {"description": "the picture", "content": _PNG},
                        **_ERRORS,
                    },
                }
            },
            "/api/encode": {
                "post": _operation(
                    "The style of a photograph", _object({"style": style}), body=upload
                )
            },
            "/api/read_layout": {
                "post": _operation(
                    "A label map, as the page's layout; two readings where nothing says"
                    " whether a palette's indices or its colours are the classes",
                    _object(
                        {
                            **sized,
                            "readings": {
                                "type": "array",
                                "items": _object(
                                    {
                                        "how": {"enum": ["ids", "palette", "colours"]},
                                        "runs": runs,
                                    }
                                ),
                            },
                        }
                    ),
                    body=upload,
                )
            },
        },
    }


_ERRORS = {
    status: {
        "description": words,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}},
                    "required": ["error"],
                }
            }
        },
    }
    for status, words in {
        "400": "the request ended early",
        "401": "the token is missing",
        "403": "the request is another site's",
        "404": "the model has no encoder",
        "408": "the request took too long",
        "413": "the picture is too large",
        "415": "it is no picture",
        "421": "the studio is called by another name",
        "422": "it, or a parameter, cannot be used",
        "500": "the server failed; its log says how",
        "503": "too many requests wait already",
    }.items()
}


def _operation(
    summary: str,
    schema: Mapping[str, Any] | None = None,
    *,
    parameters: list[dict[str, Any]] | None = None,
    body: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    content = {"application/json": {"schema": schema or {}}}
    made: dict[str, Any] = {
        "summary": summary,
        "responses": {"200": {"description": "done", "content": content}, **_ERRORS},
    }
    if parameters:
        made["parameters"] = parameters
    if body:
        made["requestBody"] = body
    return made


def _query(name: str, schema: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "schema": schema, **more}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
    }
