"""Names and colours of the published datasets' classes.

One module a dataset, each with `CLASSES`: from the name of class 0, 1, ... to its
(red, green, blue) in 0..255. They import nothing, so that recipes can read them.
"""
