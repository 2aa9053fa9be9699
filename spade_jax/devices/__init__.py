"""Devices: processes, meshes, and the way of arrays onto them and back.

    mesh.py         the axes `data` and `spatial`
    parallel.py     a function of one device's share, compiled for all
    batches.py      a process' batch onto the devices, ahead of its use
    gather.py       numbers of all processes back to each host
    distributed.py  how processes meet, agree and end together
    programs.py     compiled programs, kept between processes
    beside.py       a program that is compiled while others run
    memory.py       how much of it a device has, and how much was used
    gpu_memory.py   that a GPU is shared with other programs
    present.py      which devices there are, in words
    tpu_flags.py    what TPU's compiler has to be told

May import: jax, `files`, `kernels`.
"""
