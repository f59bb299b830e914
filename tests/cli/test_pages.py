"""The pages that benchmarks put their tables into: nothing of a page is lost where it can't be written."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import pytest

from objective_agent.types import InputError

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from benchmarks.pages import END, Page, begin


@pytest.fixture
def page(tmp_path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(f"before\n{begin('risk')}\nold\n{END}\n{'after ' * 2000}\n")
    return path


def test_a_page_that_can_not_be_written_stays_as_it_was(page):
    was, limits = page.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))  # a disk that is full before the page's end
    try:
        with pytest.raises(InputError, match="can't be written: File too large"):
            Page(page, "risk").put("new")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert page.read_bytes() == was and list(page.parent.iterdir()) == [page]


def test_a_new_table_takes_the_place_of_the_old_one(page):
    was = page.read_text()
    Page(page, "risk").put("new\n")
    Page(page, "risk").put("newer\n")
    text = page.read_text()
    assert "newer" in text and "old" not in text and text.count("new") == 1
    before, after = was.split("old")
    assert text.startswith(before.strip()) and text.endswith(after) and list(page.parent.iterdir()) == [page]
