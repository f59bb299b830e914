"""Pages that a benchmark puts its table into, between two marks, and the results of earlier runs that it is made of.

Below a table stands what it was measured on: the `hardware` of the results, or, where nobody says, the machine that writes it.
"""

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

    def put(self, text: str, found: dict | None = None) -> None:
        """Writes `text`, made of the result `found`, between the marks, and what it was measured on; None: here and now.

        The rest of the page stays, and all of it where it can't be written.
        """
        from objective_agent.cli.arguments import write

        said = measured_on([machine()] if found is None else machines(found))
        write(self.path, f"{self._before}\n\n{text.strip()}\n\n{said}\n\n{self._after}")


def machine(threads: int | None = None) -> dict:
    """`hardware` of a result that is measured on this machine, with so many threads."""
    from objective_agent.cli.evaluate import hardware

    return hardware() | ({} if threads is None else {"threads": threads})


def machines(*results: dict) -> list[dict]:
    """What `results` were measured on, each machine once: the `hardware` of one made of several; {} where one doesn't say."""
    said = [result.get("hardware") or {} for result in results]
    every = [each for one in said for each in (one if isinstance(one, list) else [one])]
    return [each for index, each in enumerate(every) if each not in every[:index]]


def measured_on(hardware: list[dict]) -> str:
    """One line that names the machines."""
    return (
        f"Measured on: {'; '.join(_named(each) if each else 'a machine that the result does not name' for each in hardware)}."
    )


def _named(hardware: dict) -> str:
    counts = [(hardware.get(what), what) for what in ("cores", "threads")]
    words = [f"{count} {what if count != 1 else what[:-1]}" for count, what in counts if count is not None]
    words += [f"{name} {hardware[key]}" for name, key in (("Python", "python"), ("torch", "torch")) if key in hardware]
    return ", ".join([str(hardware.get("cpu", "unknown processor")), *words])


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
