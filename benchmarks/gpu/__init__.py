"""The kit for a CUDA GPU: what has to be measured on one, in eight minutes.

    python -m benchmarks.gpu --out=DIR

`order` says what is measured, in the order of its worth, and how long each section may
take, `sections` does it. Each section is a process of its own, so that neither a crash
nor a want of memory ends the others, and `report` keeps what they find in
`DIR/gpu.json` from row to row, so that a time-out loses nothing.
`python -m benchmarks.gpu.camvid` trains a model.

Needed are jax, flax, optax and PyTorch, with CUDA each, and Pillow: neither a network
nor what reads configs and builds datasets. Without a GPU it runs on the CPU, to try it:
`--tiny` makes everything small.
"""
