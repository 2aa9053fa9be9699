import types

import jax

from spade_jax.devices.memory import most_used


def device(stats, process=0):
    return types.SimpleNamespace(memory_stats=lambda: stats, process_index=process)


def test_the_fullest_device_of_this_process():
    some = [{"peak_bytes_in_use": 3}, {"peak_bytes_in_use": 7}, None]
    assert most_used([*map(device, some), device({"peak_bytes_in_use": 9}, 1)]) == 7


def test_cpus_do_not_tell():
    assert most_used(jax.devices()) is None
