"""Progress: what a program does, told before it begins and while it lasts.

    telling.py  phases, signs of life, numbers and results
    words.py    the line of a training step, and durations

All of it goes through Python's logging, at level INFO below "spade_jax.progress": who
has asked for nothing hears nothing. `spade_jax.commands.console` shows it to those who
give commands.

May import: nothing.
"""

from spade_jax.progress.telling import Phase, phase, result, tell
from spade_jax.progress.words import clock, progress_line

__all__ = ["Phase", "clock", "phase", "progress_line", "result", "tell"]
