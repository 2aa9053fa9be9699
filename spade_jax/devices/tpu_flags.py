"""What libtpu is told before it compiles anything."""

import os

# libtpu's pass that moves rows of pictures into the batch. Version 0.0.42 ends the
# process in it on the train steps of these networks ("Check failed:
# PropagateOnBackpropFilterConv" in space_to_batch_converter.cc), and where it does not,
# the step of `configs/coco.py` takes twice the memory traffic. The flags are read from
# the environment; options of a compilation do not reach the pass.
_FLAGS = (
    "--xla_tpu_run_space_to_batch",
    "--xla_tpu_run_space_to_batch_on_new_platforms",
)


def configure() -> None:
    """Sets libtpu's flags; it reads them once, when JAX first looks for devices."""
    given = os.environ.get("LIBTPU_INIT_ARGS", "").split()
    names = {argument.partition("=")[0] for argument in given}
    given += [f"{flag}=false" for flag in _FLAGS if flag not in names]
    os.environ["LIBTPU_INIT_ARGS"] = " ".join(given)
