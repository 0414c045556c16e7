"""Settings of all tests, and the command line in this process."""

import os
import sys
from functools import lru_cache

import pytest
from hypothesis import settings

from lowlight import cli, enhancer

# CI draws the same examples every time, so that it judges the change and not the draw; elsewhere they vary.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

_load = lru_cache(enhancer.load)


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
