"""Training: a recipe and a work dir in, checkpoints and curves out.

May import: everything but `plan` and `commands`.
"""
