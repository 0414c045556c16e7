"""Settings of all tests, and the command line in this process."""

import os
import signal
import sys

# Before anything large is imported, here and in every process that a test starts:
# what Python compiles is kept, also where the environment says otherwise; dozens of processes import the same,
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# and workers that share the cores compute on one thread each: threads of torch that wait for each other's
# turn on a core burn more than they compute. Alone (`-n 0`) a test has all cores.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell that starts the tests in the background has Ctrl-C ignored in all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

# ruff: noqa: E402
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
def few_draws(monkeypatch):
    """Dimma's stages take the range of descriptors from few photos: making thousands costs seconds."""
    from lowlight.methods.dimma.training import Dimmed, Paired

    monkeypatch.setattr(Paired, "descriptor_draws", 16)
    monkeypatch.setattr(Dimmed, "descriptor_draws", 16)


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
