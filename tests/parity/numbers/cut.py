"""Cuts the numbers beside it from the goldens; the README there says what they are.

python tests/parity/numbers/cut.py ../shared/goldens
"""

import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
BLOCK = "up_3"
LOSS_CASE = "case5"
DRAWN = ("map4/", "map5/", "map6/")


def load(path):
    with np.load(path) as file:
        return dict(file)


def losses(goldens):
    """All but VGG's, whose pictures are large."""
    arrays = load(goldens / "losses.npz")
    return {key: x for key, x in arrays.items() if not key.startswith("vgg_")}


def vgg19(goldens):
    """Every fourth or second row and column of the large features."""
    arrays = load(goldens / "vgg19_random.npz")
    for stage, step in ((1, 4), (2, 4), (3, 2)):
        key = f"relu{stage}_1"
        arrays[key] = arrays[key][..., ::step, ::step]
    return arrays


def block(goldens):
    """The last block of the generator that starts from a latent, in training mode."""
    arrays = load(goldens / "generator_vae_z.npz")
    found = {
        key: x
        for key, x in arrays.items()
        if key.startswith((f"G/{BLOCK}.", f"G_after/{BLOCK}."))
    }
    return found | {
        "label": arrays["label"].astype(np.uint8),
        "input": arrays["act_train/up_2"],
        "output": arrays[f"act_train/{BLOCK}"][..., ::2, ::2],
        "meta": arrays["meta"],
    }


def oasis_losses(goldens):
    """Of the case with the fewest classes the sides that see logits."""
    arrays = load(goldens / "oasis" / "oasis_losses.npz")
    keys = ("label", "logits", "real", "real_grad", "fake", "fake_grad", "weight_map")
    found = {f"{LOSS_CASE}/{key}": arrays[f"{LOSS_CASE}/{key}"] for key in keys}
    return found | {"meta": arrays["meta"]}


def oasis_labelmix(goldens):
    """All of it."""
    return load(goldens / "oasis" / "oasis_labelmix.npz")


def clade_positions(goldens):
    """Of the drawn maps; the others are of a dataset."""
    arrays = load(goldens / "clade" / "clade_positions.npz")
    return {k: x for k, x in arrays.items() if k == "meta" or k.startswith(DRAWN)}


CUTS = {
    "losses": losses,
    "vgg19_random": vgg19,
    "generator_block": block,
    "oasis/oasis_losses": oasis_losses,
    "oasis/oasis_labelmix": oasis_labelmix,
    "clade/clade_positions": clade_positions,
}
COPIES = (
    "lr_schedule.json",
    "oasis/oasis_state_dict_shapes.json",
    "clade/clade_state_dict_shapes.json",
)


def main(goldens):
    for name, cut in CUTS.items():
        (HERE / name).parent.mkdir(exist_ok=True)
        np.savez_compressed(HERE / f"{name}.npz", **cut(goldens))
    for name in COPIES:
        content = json.loads((goldens / name).read_text())
        (HERE / name).write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
