"""Kernels: an operation and its shapes in, the quickest way to compute it out.

`choose` holds every choice by platform or shape, each with the measurement that it
comes from; `onednn` what the library of that name can do on this CPU. The other modules
hold one operation each: `convolution`, `winograd`, `product`.

May import: jax.
"""
