"""Evaluation: a checkpoint, or a state in training, in; its scores out.

    evaluate.py     one checkpoint, from its path to the file of its result
    follow.py       each new checkpoint of a running job
    in_training.py  a state, while it is trained
    measure.py      what to measure with
    job.py          what the evaluations of a model's checkpoints share
    prepare.py      protocol, observers, reference and batches: an `Evaluator`
    sources.py      which data a model is evaluated on, and which it was trained on
    examples.py     batches of it
    reference.py    the real pictures, in statistics
    sampling.py     the synthesised ones
    scoring.py      a model's scores
    evaluator.py    the scores of any generator by a protocol
    nearness.py, diversity.py   distances between pictures
    result.py       what was found, as a file and as a table

The scores themselves are in `spade_jax.metrics`.

May import: jax, `assemble`, `data`, `devices`, `files`, `learning`, `metrics`,
`models`, `progress`, `recipe`, `workdir`.
"""
