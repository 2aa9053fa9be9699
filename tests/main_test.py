"""What the command line refuses before it does anything."""

import pytest
from absl import flags

from spade_jax import main


def given(monkeypatch, *names):
    """As if these flags were on the command line, and no others."""
    for name in flags.FLAGS:
        monkeypatch.setattr(flags.FLAGS[name], "present", int(name in names))


@pytest.mark.parametrize(
    ("mode", "flag", "takers"),
    [
        ("eval", "style", "predict"),
        ("train", "protocol", "eval"),
        ("check_data", "workdir", "train or train_segmenter or eval or predict"),
        ("label_photos", "config", "train or check_data or train_segmenter or eval or"),
    ],
)
def test_flags_of_other_modes_are_refused(mode, flag, takers, monkeypatch):
    given(monkeypatch, flag)
    message = rf"^--{flag} is for --mode={takers}.*, not for --mode={mode}: leave it"
    with pytest.raises(ValueError, match=message):
        main._check_flags(mode)


@pytest.mark.parametrize("mode", main._MODES)
def test_a_modes_own_flags_are_taken(mode, monkeypatch):
    given(monkeypatch, *main._MODES[mode], "mode", "coordinator")
    main._check_flags(mode)


def test_every_flag_is_of_some_mode_or_of_all():
    of_main = {flag.name for flag in flags.FLAGS.get_key_flags_for_module(main)}
    of_all = {"mode", "coordinator", "num_processes", "process_id"}
    assert of_main == of_all.union(*main._MODES.values())
