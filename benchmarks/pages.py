"""Pages that a benchmark puts its table into, between two marks, and the results of earlier runs that it is made of."""

from __future__ import annotations

import json
from pathlib import Path

END = "<!-- end of table -->"


def begin(benchmark: str) -> str:
    """The mark after which the table of `objective-agent bench BENCHMARK` stands."""
    return f"<!-- table: objective-agent bench {benchmark} -->"


class Page:
    """The page at `path`, read at once: InputError where it can't be, or lacks the marks.  `put` writes between them."""

    def __init__(self, path: Path, benchmark: str):
        from objective_agent.types import InputError

        mark = begin(benchmark)
        try:
            text = path.read_text(encoding="utf-8")
            first = text.index(mark) + len(mark)
            last = text.index(END, first)
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: can't be read: {error}; give a page of text with --write") from None
        except ValueError:
            raise InputError(f"{path}: has no line {mark!r} followed by {END!r}; put them where the table shall be") from None
        self.path, self._before, self._after = path, text[:first], text[last:]

    def put(self, text: str) -> None:
        """Writes `text` between the marks; the rest of the page stays, and all of it where it can't be written."""
        from objective_agent.cli.arguments import write

        write(self.path, f"{self._before}\n\n{text.strip()}\n\n{self._after}")


def read_result(path: Path) -> dict:
    """What an earlier run wrote with --json; InputError when that can't be read."""
    from objective_agent.types import InputError

    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: can't be read: {error}; give an existing file with --from") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: is no result of a benchmark")
    return found
