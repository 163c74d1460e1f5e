"""What holds for all tests: a property may take as long as a busy machine needs, and draws the same examples each time.

`make search` draws new ones, many more of them: what it finds becomes a test of its own.
"""

from __future__ import annotations

import re

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("search", settings.get_profile("same"), derandomize=False, print_blob=True)
settings.load_profile("same")

COMPILED = re.compile("test_(cli_)?simulate")
"""Files that compile the simulator where that was never done: one worker does, in half a minute, not each of them."""


def pytest_itemcollected(item: pytest.Item) -> None:
    if COMPILED.match(item.path.name):
        item.add_marker(pytest.mark.xdist_group("simulate"))
