"""`objective-agent bench WHAT`: runs one of the measurements in benchmarks/.

A benchmark is a file with `HELP`, `add_arguments(parser)` and `main(args)`, as a command is.  `main` returns an exit code, or
the figures as a dictionary or a list of records, which are then shown and written with `--json`.  Benchmarks come with a clone
of the repository, not with an installed package.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import objective_agent
from objective_agent.cli import arguments
from objective_agent.cli.discovery import help_line

HELP = "measure: planning, gate and what else benchmarks/ holds"
EXAMPLE = "objective-agent bench planning --json planning.json"


def benchmarks() -> dict[str, tuple[Path, str]]:
    """Name -> (file, its one line of help), from benchmarks/ beside the package's source."""
    folder = Path(objective_agent.__file__).resolve().parent.parent / "benchmarks"
    files = sorted(folder.glob("*.py")) if folder.is_dir() else []
    return {path.stem: (path, text) for path in files if (text := help_line(path)) is not None}


def add_arguments(parser) -> None:
    found = benchmarks()
    if not found:
        parser.exit(1, f"{parser.prog}: error: benchmarks come with a clone, not with the installed package\n")
    subparsers = parser.add_subparsers(dest="what", metavar="WHAT", required=True)
    for name, (path, text) in found.items():
        subparsers.add_parser(name, help=text, description=text, fill=filler(path))


def filler(path: Path):
    def fill(parser) -> None:
        module = load(path)
        parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures to this file")
        module.add_arguments(parser)
        parser.epilog = f"example: {getattr(module, 'EXAMPLE', f'objective-agent bench {path.stem} --json {path.stem}.json')}"
        parser.set_defaults(benchmark=module)

    return fill


def load(path: Path) -> ModuleType:
    name = f"objective_agent_benchmarks_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up there
    spec.loader.exec_module(module)
    return module


def main(args) -> int:
    result = args.benchmark.main(args)
    if not isinstance(result, (dict, list)):
        return int(result or 0)
    text = json.dumps(result, indent=2)
    print(text)
    if args.json is not None:
        arguments.write(args.json, text)
    return 0
