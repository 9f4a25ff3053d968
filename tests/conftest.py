"""What all tests share: Hypothesis profiles and the folder of public data sets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# No deadline: the first call of a kernel compiles it. In CI every run draws the same examples,
# so that a red run means a changed program and not another draw.
settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "local")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of public data sets that may not be redistributed: see docs/contributing.md."""
    value = os.environ.get("MINISASREC_DATA_DIR")
    if not value:
        pytest.skip("set MINISASREC_DATA_DIR to a folder of data sets to run this test")
    folder = Path(value)
    if not folder.is_dir():
        pytest.skip(f"MINISASREC_DATA_DIR is {value}, which is not a folder")
    return folder


@pytest.fixture(autouse=True)
def _choices_of_a_test_end_with_it() -> Iterator[None]:
    """A command that a test runs in this process chooses threads and backend for the thread.

    A notebook's cell chooses how pictures look (`lecture_style`).
    """
    from minisasrec import backends
    from minisasrec.kernels import threads

    before = backends._choice.name, threads._choice.count
    yield
    backends._choice.name, threads._choice.count = before
    matplotlib = sys.modules.get("matplotlib")
    if matplotlib is not None and matplotlib.rcParams["axes.titlelocation"] != "center":
        matplotlib.rcdefaults()
