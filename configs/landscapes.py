"""Landscapes of your own at 256x256, with a style: GauGAN's recipe.

Paper: SPADE (CVPR 2019), section 4: 41,000 photographs from Flickr, 1,000 of them for
validation, with layouts by a DeepLabV2 for want of annotations; 50 epochs at a constant
rate with a batch of 32. 40,000 training pictures make 1,250 iterations an epoch. The
paper has pictures and no scores for them, and the photographs were not published. An
encoder reads the style from a photograph, as for the paper's figures 1 and 9.

Data: photographs, layouts and classes.txt in one directory, see
`spade_jax/data/builders/landscapes.py`; the first run builds from it. N is the number
of classes in classes.txt.

    python -m spade_jax.main --config=configs/landscapes.py \
        --config.data.manual_dir=DIR --config.data.num_classes=N \
        --config.loss.vgg_file=vgg19.npz

If classes.txt has a line "unknown ID", add `--config.data.unknown_label=ID`; with
instance maps `--config.data.instances=True`.
"""

from ml_collections import ConfigDict

from configs import default


def get_config() -> ConfigDict:
    """See the module."""
    config = default.get_config()
    config.num_epochs = 50
    config.decay_epochs = 0
    config.data.source = "landscapes"
    config.generator.latent = "vae"
    return config
