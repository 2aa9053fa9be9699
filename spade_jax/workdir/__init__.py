"""Work dirs: everything that a run leaves on disk, written and read.

    checkpoint.py  checkpoints, to read
    saving.py      checkpoints, to write: whole or not there
    described.py   what a checkpoint says of itself
    reading.py     how both are read, so that an interruption harms nothing
    integrity.py   whether a checkpoint is damaged
    lock.py        one program at a time writes, and in a bucket
    lease.py       so; who does is said by
    holder.py      the text of both
    paths.py       where things are
    report.py      numbers and pictures of a run: metrics.jsonl, TensorBoard

May import: clu, jax, orbax, tensorflow, `data`, `files`, `progress`,
`recipe`.
"""
