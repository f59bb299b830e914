"""A toy data set, made once for all tests of learning."""

from __future__ import annotations

from pathlib import Path

import pytest
from toy_data import write_toy_data


@pytest.fixture(scope="session")
def toy_data(tmp_path_factory) -> Path:
    return write_toy_data(tmp_path_factory.mktemp("toy") / "data", episodes=40, steps=40)
