"""Settings of all tests, and the command line in this process."""

import os
import sys
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, settings

from lowlight import cli, enhancer

# CI draws the same examples every time, so that it judges the change and not the draw; elsewhere they vary.
# Time is no fault: on a busy machine any draw may take seconds.
settings.register_profile(
    "lowlight",
    derandomize=bool(os.environ.get("CI")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("lowlight")

_load = lru_cache(enhancer.load)


@pytest.fixture(scope="module")
def one_thread():
    """torch computes on one thread: the same digits everywhere, and no waiting for other tests."""
    import torch  # here, so that tests of the core alone do not wait for it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def lowlight(monkeypatch, capfd):
    """Run the command; gives status, standard output, standard error. The network is loaded once."""
    monkeypatch.setattr(enhancer, "load", lambda model, **options: _load(model, **{**options, "threads": 1}))

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["lowlight", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        out, err = capfd.readouterr()
        return end.value.code, out, err

    return call
