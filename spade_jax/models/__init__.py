"""Models: a path in, a function from label maps to pictures out.

May import: everything but `training`, `evaluation`, `plan` and `commands`.
"""
