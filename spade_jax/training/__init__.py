"""Training: a recipe and a work dir in, checkpoints and curves out.

    train.py            a run, in one reading
    settle.py           fields that a recipe left open: found, or as the run has them
    place.py            where a run may be kept: not among its pictures
    prepare.py          everything that its loop works with, made before it begins
    progress.py, sheet.py, finite.py, stop.py   losses and speed; pictures; divergence;
                        signals
    utilisation.py, waiting.py, trace.py   how well the devices are used; whether steps
                        wait for data; what a profiler shows
    train_segmenter.py, prepare_segmenter.py, score_segmenter.py   the project's own
                        segmenter: its loop, what it works with, and its scores

May import: jax, optax, `assemble`, `data`, `devices`, `evaluation`, `files`,
`learning`, `metrics`, `nets`, `plan`, `progress`, `recipe`, `workdir`.
"""
