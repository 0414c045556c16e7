"""Settings of all tests."""

import os

from hypothesis import settings

# CI draws the same examples every time, so that it judges the change and not the draw; elsewhere they vary.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
