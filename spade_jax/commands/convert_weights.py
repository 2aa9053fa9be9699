"""Converting published weights: of the perceptual loss, and of networks that score."""

import pathlib
from collections.abc import Sequence

from spade_jax import nets
from spade_jax.convert import mapping, metric_networks, torch_file
from spade_jax.files import outputs
from spade_jax.files.outputs import Outputs
from spade_jax.learning import perceptual
from spade_jax.metrics import weights


def from_vgg19(file: pathlib.Path, out: pathlib.Path) -> None:
    """Writes torchvision's VGG19 weights for the perceptual loss.

    Args:
      file: `vgg19-dcbb9e9d.pth`.
      out: `.npz` file to write.

    Raises:
      ValueError: the file is damaged, refused, or of another network; or see `_claim`.
      ImportError: PyTorch is not installed.
    """
    written = _claim(out, [file])
    module = nets.VGG("vgg19")
    variables = mapping.from_official(
        module,
        mapping.abstract_variables(module),
        torch_file.read(file),
        name=str(file),
    )
    with written.replacing(out) as unfinished:
        perceptual.save_vgg19(unfinished, variables["params"])
    print(f"Wrote {out}. Use it with --config.loss.vgg_file={out}")


def from_metric_network(
    network: str, files: Sequence[pathlib.Path], out: pathlib.Path
) -> None:
    """Writes the weights of a network that scores syntheses.

    Args:
      network: a key of `spade_jax.metrics.weights.PUBLISHED`.
      files: `.pth` files, in any order.
      out: `.npz` file to write.

    Raises:
      ValueError: a file is missing, damaged or refused; or see
        `metric_networks.read_files` and `_claim`.
      ImportError: PyTorch is not installed.
    """
    written = _claim(out, files)
    found, contents = metric_networks.read_files(network, files)
    with written.replacing(out) as unfinished:
        weights.save(unfinished, found)
    print(
        f"Wrote {out}: {network}, {mapping.num_parameters(found.variables):,} numbers"
    )
    for (name, digest), content in zip(found.sources, contents, strict=True):
        off = f"; took off {' and '.join(content.wrappers)}" if content.wrappers else ""
        print(f"  {name}: SHA-256 {digest}{off}")
    match found.published:
        case True:
            print("  the published weights, by the hash in their names")
        case False:
            begins = " and ".join(weights.PUBLISHED[network].sha256)
            print(f"  NOT the published weights, whose SHA-256 begins with {begins}")
        case None:
            print("  the published names have no hash to tell whether it is those")


def _claim(out: pathlib.Path, files: Sequence[pathlib.Path]) -> Outputs:
    """Claims the file to write.

    Raises:
      ValueError: something would be lost, see `spade_jax.files.outputs.claim`.
    """
    return outputs.claim_file(
        out,
        command="convert",
        flag="--out",
        inputs={f"FILE {i}": file for i, file in enumerate(files, 1)},
    )
