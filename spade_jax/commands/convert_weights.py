"""Converting published weights: of the perceptual loss, and of networks that score."""

import pathlib
from collections.abc import Sequence

from spade_jax import nets
from spade_jax.convert import mapping, metric_networks, torch_file
from spade_jax.learning import perceptual
from spade_jax.metrics import weights


def from_vgg19(file: pathlib.Path, out: pathlib.Path) -> None:
    """Writes torchvision's VGG19 weights for the perceptual loss.

    Args:
      file: `vgg19-dcbb9e9d.pth`.
      out: `.npz` file to write.

    Raises:
      ValueError: the file is damaged, refused, or of another network.
      ImportError: PyTorch is not installed.
    """
    module = nets.VGG("vgg19")
    variables = mapping.from_official(
        module,
        mapping.abstract_variables(module),
        torch_file.read(file),
        name=str(file),
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    perceptual.save_vgg19(out, variables["params"])
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
        `metric_networks.read_files`.
      ImportError: PyTorch is not installed.
    """
    found, contents = metric_networks.read_files(network, files)
    out.parent.mkdir(parents=True, exist_ok=True)
    weights.save(out, found)
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
