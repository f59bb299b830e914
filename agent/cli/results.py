"""`objective-agent results`: makes docs/results.md from the result files in results/, and result files small enough to keep.

A page that is made by a command can't say anything that no file says; `--check` tells whether page and files still agree.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from objective_agent.cli import arguments
from objective_agent.types import InputError, ObjectiveAgentError

HELP = "write the results page from result files; or make a result file small"
EXAMPLE = """objective-agent results
         objective-agent results --compact evaluation.json results/apartment.json
         objective-agent results --compact models/apartment results/model.json"""
MOST_BYTES = 150_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--from", dest="source", type=Path, default=Path("results"), metavar="DIR", help="result files (default: results)"
    )
    parser.add_argument("--out", type=Path, default=Path("docs/results.md"), metavar="FILE", help="default: docs/results.md")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="write nothing; fail when the page is not what the files say")
    what.add_argument(
        "--compact", nargs=2, type=Path, metavar=("IN", "OUT"), help="make a small file of evaluate's, or of a model's folder"
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        metavar="ROW=NAME",
        help="with --compact: call a row otherwise; repeatable",
    )
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the page's figures here too")


def main(args: argparse.Namespace) -> int:
    if args.rename and not args.compact:
        raise InputError("--rename needs --compact IN OUT")
    if args.compact:
        return shrink(*args.compact, dict(_pair(text) for text in args.rename))
    from objective_agent.results.render import as_numbers, page

    material = gather(args.source)
    text = page(material)
    if args.json is not None:
        arguments.write(args.json, json.dumps(as_numbers(material), indent=1), folders=True)
    if args.check:
        if not args.out.is_file() or args.out.read_text(encoding="utf-8") != text:
            raise ObjectiveAgentError(f"{args.out}: is not what {args.source} says; write it anew with objective-agent results")
        print(f"{args.out} says what {args.source} says")
        return 0
    arguments.write(args.out, text, folders=True)
    print(
        f"wrote {args.out}: {len(material.conditions)} conditions, {len(material.ablations)} sets of ablations, "
        f"{len(material.benchmarks)} benchmark results"
    )
    return 0


def gather(folder: Path):
    """The Material of a folder: its *.json, bars.yaml and notes.yaml.  InputError for what can't be used."""
    from objective_agent.results import ablations, benchmarks, cards, evaluations, expectations, habits
    from objective_agent.results.bars import load_bars
    from objective_agent.results.render import Material

    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of the result files with --from")
    material, found = Material(bars=load_bars(folder / "bars.yaml"), notes=_yaml(folder / "notes.yaml")), []
    material.about_benchmarks = benchmarks.load_about(folder / "benchmarks.yaml")
    for path in sorted(folder.glob("*.json")):
        content, name = load(path), f"{folder.name}/{path.name}"
        if ablations.is_ablations(content):
            material.ablations.append(ablations.parse(content, name))
        elif benchmarks.is_benchmark(content):
            material.benchmarks.append(benchmarks.parse(content, name))
        elif expectations.is_expectation(content):
            material.expectations.append(expectations.parse(content, name))
        elif cards.is_card(content):
            material.models.append(cards.parse(content, name))
        else:
            evaluation = evaluations.parse(content, name)
            if habits.has_habits(content := evaluations.compact(content)):
                material.habits.append(content | {"source": name})
            else:
                found.append(evaluation)
    material.conditions = evaluations.merge(found)
    return material


def shrink(source: Path, out: Path, names: dict[str, str]) -> int:
    """Writes the compact form of `source` to `out`."""
    from objective_agent.results import ablations, benchmarks, cards, evaluations

    if source.is_dir():
        source = source / "card.yaml"
    content = _yaml(source, must=True) if source.suffix in (".yaml", ".yml") else load(source)
    if ablations.is_ablations(content):
        small = content
        ablations.parse(content, str(source))
    elif benchmarks.is_benchmark(content):
        benchmarks.parse(content, str(source))
        small = benchmarks.compact(content)
    elif cards.is_card(content):
        cards.parse(content, str(source))
        small = cards.compact(content)
    else:
        evaluations.parse(content, str(source))
        small = evaluations.renamed(evaluations.compact(content), names)
    text = tidy(small) + "\n"
    if len(text.encode()) > MOST_BYTES:
        raise InputError(f"{out}: would have {len(text.encode())} bytes, {MOST_BYTES} are allowed; evaluate fewer rows at once")
    arguments.write(out, text, folders=True)
    print(f"wrote {out}: {len(text.encode())} bytes")
    return 0


def tidy(content: dict) -> str:
    """JSON with a line per table and row, not per number."""

    def lines(value, depth: int) -> str:
        if depth and isinstance(value, dict) and value:
            inside = (f"{' ' * (3 - depth)}{json.dumps(key)}: {lines(part, depth - 1)}" for key, part in value.items())
            return "{\n" + ",\n".join(inside) + "\n" + " " * (2 - depth) + "}"
        return json.dumps(value)

    return lines(content, 2)


def load(path: Path) -> dict:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}; give a file that evaluate --json wrote") from None
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); evaluate again, or remove the file") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no result file; remove it")
    return content


def _yaml(path: Path, must: bool = False) -> dict:
    import yaml

    if not must and not path.exists():
        return {}
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise InputError(f"{path}: can't be read: {error.strerror}; give a model's folder or a result file") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: is no table")
    return content


def _pair(text: str) -> tuple[str, str]:
    old, separator, new = text.partition("=")
    if not (old and separator and new):
        raise InputError(f"--rename {text}: give ROW=NAME")
    return old, new
