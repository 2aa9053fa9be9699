"""The studio inside a notebook."""

import contextlib
import html
import os
import sys

from spade_jax.models.predictor import Predictor, load


class Shown:
    """A studio that is served for a notebook; the notebook shows its page.

    Attributes:
      address: of the page, with its token.
      height: of the frame, in pixels.
    """

    def __init__(self, address: str, height: int, serving: contextlib.ExitStack):
        self.address, self.height = address, height
        self._serving = serving

    def __repr__(self) -> str:
        return f"Studio at {self.address}"

    def _repr_html_(self) -> str:
        address = html.escape(self.address, quote=True)
        return (
            f'<iframe src="{address}" width="100%" height="{self.height}"'
            ' title="spade_jax studio" style="border: 0; border-radius: 12px"'
            ' allow="fullscreen"></iframe>'
        )

    def close(self) -> None:
        """Ends the server."""
        self._serving.close()


def show(
    model: Predictor | str | os.PathLike[str] = "scenes", *, height: int = 820
) -> Shown:
    """Opens the studio inside the notebook that calls this.

    In Colab, or in Jupyter where the kernel is on the browser's machine. The model is
    computed with on the studio's thread from then on; do not call it beside.

    Args:
      model: as `spade_jax.load` gives it, or takes it.
      height: of the frame, in pixels.

    Returns:
      What the notebook shows, if it is the last thing in its cell.

    Raises:
      ImportError: starlette or uvicorn are missing, which the extra 'studio' has.
      Exception: see `spade_jax.load`.
    """
    from spade_jax.studio import serving
    from spade_jax.studio.engine import Engine, name_of
    from spade_jax.studio.worker import Worker

    name = "model" if isinstance(model, Predictor) else name_of(os.fspath(model))
    predictor = model if isinstance(model, Predictor) else load(model)
    # Frames of other sites show the page, and Colab calls it by a name of its own.
    token, worker = serving.new_token(), Worker()
    app = serving.gated(Engine(predictor, name=name), worker, token=token, framed=True)
    listening = serving.listen("127.0.0.1", 0)
    stack = contextlib.ExitStack()
    stack.callback(worker.close, timeout=1)
    stack.enter_context(serving.served(app, listening))
    address = serving.address(listening, host="127.0.0.1", token=token)
    shown = Shown(address, height, stack)
    if "google.colab" in sys.modules:
        output = sys.modules["google.colab"].output  # pyright: ignore
        port = listening.getsockname()[1]
        output.serve_kernel_port_as_iframe(
            port, path=f"/?token={token}", height=str(height)
        )
    return shown
