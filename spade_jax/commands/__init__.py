"""Commands: one file for each thing that the command line can be asked to do.

Each is a function of plain arguments. May import everything but `main`.
"""
