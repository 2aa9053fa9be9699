"""An interruption while a program imports, and the words of its libraries."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

PROGRAM = """
    import os, signal
    # A shell starts what runs in its background without it.
    signal.signal(signal.SIGINT, signal.{handler})
    from spade_jax.commands import beginning

    beginning.importing()
    {between}
    os.kill(os.getpid(), signal.SIGINT)
    print(os.environ["TF_CPP_MIN_LOG_LEVEL"])
"""


@pytest.mark.parametrize(
    ("handler", "between", "status", "out", "err"),
    [
        ("default_int_handler", "", -signal.SIGINT, "", ""),
        ("default_int_handler", "beginning.imported()", None, "", "KeyboardInterrupt"),
        ("SIG_IGN", "beginning.imported()", 0, "3\n", ""),
    ],
)
def test_an_interruption_leaves_no_traceback(handler, between, status, out, err):
    program = textwrap.dedent(PROGRAM).format(handler=handler, between=between)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("TF_")}
    found = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=kept,
        timeout=60,
        check=False,
    )
    assert found.stdout == out
    assert (err in found.stderr) if err else (found.stderr == "")
    if status is not None:
        assert found.returncode == status


def test_the_packages_of_commands_import_without_jax():
    """Python imports a command's package first, when an interruption is not met yet."""
    packages = ", ".join(
        f"spade_jax.{name}" for name in ("convert", "export", "plan", "studio")
    )
    program = f"import sys, {packages}; sys.exit('jax' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
