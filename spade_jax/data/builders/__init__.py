"""TFDS builders of the datasets that are built once and then read at random.

One module a dataset; its builder's name is the module's. The published datasets are
made from files that the user downloads, because their licences want it so; `scenes`
draws itself. A module is imported only when its dataset is asked for: TensorFlow
Datasets takes seconds to import and may not be installed.

The first training builds its dataset. `tfds build` does so ahead of time (the `tfds`
command of TFDS 4.9.10 needs `pip install apache-beam`):

    tfds build spade_jax/data/builders/coco_stuff.py --manual_dir=DIR \
        --file_format=array_record
"""
