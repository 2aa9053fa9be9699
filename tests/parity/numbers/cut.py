"""Cuts the numbers beside it from the goldens; the README there says what they are.

python tests/parity/numbers/cut.py ../shared/goldens
"""

import json
import pathlib
import sys

import numpy as np

HERE = pathlib.Path(__file__).parent
BLOCK = "up_3"


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


CUTS = {"losses": losses, "vgg19_random": vgg19, "generator_block": block}


def main(goldens):
    for name, cut in CUTS.items():
        np.savez_compressed(HERE / f"{name}.npz", **cut(goldens))
    schedules = json.loads((goldens / "lr_schedule.json").read_text())
    (HERE / "lr_schedule.json").write_text(json.dumps(schedules, indent=1) + "\n")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]))
