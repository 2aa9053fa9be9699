"""What `benchmarks/versus_pytorch.py` is made of: its ways to compute, its sections.

`kinds` says what is computed and how it is compared, `timing` runs it; a section is a
file: `table` (inference and training), `memory`, `growth`, `family`. `report` writes
them down. Nothing here needs TensorFlow, nor what reads data and configs.
"""
