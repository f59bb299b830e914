"""What the commands have in common: numbers that argparse checks, settings from files, results written whole or not at all."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from objective_agent.types import ConfigurationError, InputError

MOST = 1_000_000


def count(text: str) -> int:
    """A whole number from 1 on."""
    return _whole(text, 1, MOST, "must be a whole number from 1 on")


def seed(text: str) -> int:
    """A whole number from 0 on."""
    return _whole(text, 0, 2**63 - 1, "must be a whole number from 0 on")


def positive(text: str) -> float:
    """A finite number above 0."""
    value = float(text)
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0")
    return value


def refuse(args: argparse.Namespace, names: Iterable[str], why: str) -> None:
    """InputError, one line, for the first of the options `names` that was given: nothing is left out of account silently."""
    for name in names:
        if getattr(args, name) not in (None, False):
            raise InputError(f"--{name}: {why}; leave it out")


def command_line() -> str:
    """The command that was given, for the record of what it makes."""
    return "objective-agent " + shlex.join(sys.argv[1:])


def read_settings(path: str | Path, option: str = "--config") -> dict[str, Any]:
    """The table in a YAML file that came with `option`; ConfigurationError, one line, when there is none."""
    import yaml

    try:
        settings = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise ConfigurationError(f"{path}: can't be read: {error.strerror}; give an existing file with {option}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise ConfigurationError(f"{path}: is no table of settings; see those in config/")
    return settings


def write_json(path: Path, value: Any) -> None:
    """`write` of `value` as JSON."""
    write(path, json.dumps(value, indent=1))


def write(path: Path, text: str, folders: bool = False) -> None:
    """Writes `text`, ended by a newline, whole or not at all, and with `folders` the folders that it is to lie in.

    InputError, one line, when that can't be done; a file that was there then stays.
    """
    part = path.with_name(f"{path.name}.tmp")
    try:
        if folders:
            path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text.removesuffix("\n") + "\n", encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)  # half a file helps nobody
        raise InputError(f"{path}: can't be written: {error.strerror}; give another file") from None


def _whole(text: str, least: int, most: int, rule: str) -> int:
    value = int(text)
    if not least <= value <= most:
        raise argparse.ArgumentTypeError(f"{text}: {rule}")
    return value


def again(command: str, args: argparse.Namespace, names: Iterable[str]) -> str:
    """The command line that gives the arguments called `names` their present values; those that are None are left out."""
    given = ((name, getattr(args, name)) for name in names)
    words = [f"--{name} {shlex.quote(str(value))}" for name, value in given if value is not None]
    return " ".join(["objective-agent", command, *words])
