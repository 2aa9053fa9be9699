"""Learning: a state and a batch in, the next state and the terms of its loss out.

Pure functions; what they need stands in their signatures.

    train_step.py   one iteration: the updates in their order
    updates.py      the update of generator and encoder, and that of the discriminator
    objectives/     what the updates minimise, an objective a file
    losses.py       one function a term
    batch.py, parts.py      what a step is given; worked through in parts
    forward.py      a forward in training mode, which advances statistics
    average.py      the mean over devices that share a batch
    augment.py      what the discriminator sees of little data
    state.py        what an iteration changes, and the first of it
    optimizers.py, schedule.py   Adam, and where the learning rate decays
    latents.py      random latents: of the prior, and of training
    sample.py       pictures of a batch while training
    segmenter_step.py   one step of the project's own segmenter
    perceptual.py   the pretrained network of the perceptual loss, found and read

Words: *terms* are the weighted parts of an objective by name, *statistics* what a
training forward advances (power iterations, running averages). The discriminator gives
*judgements*, of which the last layer's is its *prediction*; the perceptual network
gives *features*; what an array has last are *channels*.

May import: flax, jax, optax, `files`, `layout`, `nets`.
"""
