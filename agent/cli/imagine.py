"""`objective-agent imagine`: what the world model expected of recorded moments, beside what happened; for people to look at."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from objective_agent.cli import arguments
from objective_agent.types import ConfigurationError, InputError

HELP = "pictures of predicted futures beside what happened"
EXAMPLE = """objective-agent imagine --model models/apartment --data drive.mcap --out imagined
         objective-agent imagine --data drive.mcap --episode 3 --at 12.4 --actions forward,left,right,stop
         objective-agent imagine --data data/apartment --train-decoder
         objective-agent imagine --model models/two_room --expectation --json expectation.json"""

SENSES = ("all", "lidar", "camera")
WORDS = {
    "stop": (0.0, 0.0),
    "forward": (0.75, 0.0),
    "backward": (-0.4, 0.0),
    "left": (0.5, 0.55),
    "right": (0.5, -0.55),
    "spin_left": (0.0, 0.7),
    "spin_right": (0.0, -0.7),
}
"""Names of actions: shares of the robot's greatest speed and turn rate."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="models/apartment", metavar="DIR", help="trained model (default: models/apartment)")
    parser.add_argument("--data", nargs="+", metavar="BAG|DIR", help="MCAP bags, or a data set's folder")
    parser.add_argument("--out", type=Path, default=Path("imagined"), metavar="DIR", help="for pictures (default: imagined)")
    parser.add_argument("--episode", type=int, metavar="N", help="moments of this episode only, counted from 0")
    parser.add_argument("--at", type=float, nargs="+", metavar="S", help="with --episode: moments at these seconds of it")
    parser.add_argument(
        "--steps", type=arguments.count, default=10, metavar="H", help="steps of 0.2 s to imagine (default: 10)"
    )
    parser.add_argument(
        "--count", type=arguments.count, metavar="N", help="how many moments, spread out (default: 6), or pairs of clips (200)"
    )
    parser.add_argument("--senses", choices=SENSES, default="all", help="what the robot may see (default: all)")
    words = f"imagine these instead, side by side; of {', '.join(WORDS)}, V:W (m/s:rad/s), and A+B for one after the other"
    parser.add_argument("--actions", metavar="A,B,...", help=words)
    parser.add_argument("--video", action="store_true", help="an MP4 of every moment, too")
    parser.add_argument("--no-pictures", action="store_true", help="figures only")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the errors per step here")
    decoder = "train the decoder that draws what is imagined, and write it into the model's folder"
    parser.add_argument("--train-decoder", action="store_true", help=decoder)
    expectation = "a model of images: does what can't happen surprise it more than what can? Pairs of clips of its own task"
    parser.add_argument("--expectation", action="store_true", help=expectation)
    length = parser.add_mutually_exclusive_group()
    length.add_argument(
        "--minutes", type=arguments.positive, default=2.0, metavar="M", help="of training the decoder (default: 2)"
    )
    length.add_argument("--batches", type=arguments.count, metavar="N", help="of training the decoder: repeatable")
    parser.add_argument(
        "--seed", type=arguments.seed, default=0, metavar="S", help="of training the decoder, or of the clips (default: 0)"
    )


def main(args: argparse.Namespace) -> int:
    import torch

    from objective_agent.cli import imagine_expectation
    from objective_agent.learning.imagination import Imagination

    if args.expectation:
        return imagine_expectation.run(args, progress)
    if not args.data:
        raise InputError("--data: which moments? give MCAP bags or a data set's folder, or --expectation for a model of images")
    if args.at is not None and args.episode is None:
        raise InputError("--at: seconds of which episode? give --episode too")
    torch.set_num_threads(1)
    model = Imagination(args.model)
    with open_data(args.data) as data:
        return train(args, model, data) if args.train_decoder else imagine(args, model, data)


def train(args: argparse.Namespace, model, data) -> int:
    """Trains the decoder; it appears in the model's folder when it is done."""
    from objective_agent.learning.decoder import save_decoder, train_decoder

    with progress() as report:
        network, about = train_decoder(model.encoder, data, args.minutes, args.batches, args.seed, report=report)
    about = {"command": arguments.command_line(), "seed": args.seed, "data": {"sha256": data.digest()}, **about}
    save_decoder(model.folder, network, model.sha256, about)
    if args.json is not None:
        arguments.write_json(args.json, about)
    held = about["held_out"]
    print(
        f"{model.folder}/decoder.safetensors: {about['batches']} batches; error per pixel in homes not seen "
        f"{held['rms_error']:.1f} grey levels, of the mean image {held['rms_error_mean_image']:.1f}"
    )
    return 0


def imagine(args: argparse.Namespace, model, data) -> int:
    """Draws the moments and says how far off the predictions were."""
    from objective_agent.learning.imagination import choose
    from objective_agent.learning.imagined import figures

    if args.senses == "camera" and not data.has_images():
        raise InputError(f"{data.path}: holds no camera images; leave out --senses camera")
    if args.senses == "lidar" and not np.asarray(data.columns["has_scan"]).any():
        raise InputError(f"{data.path}: holds no scans; leave out --senses lidar")
    actions = parse_actions(args.actions, args.steps, model.nominal) if args.actions else {}
    rows = choose(data, args.steps, args.count or 6, args.episode, args.at, held_out=model.trained_on(data))
    find_decoder(model, needed=not args.no_pictures)
    moments, pictures = [], []
    if not args.no_pictures:
        make_folder(args.out)
    with progress() as report:
        for row, moment in zip(rows, model.moments(data, rows, args.steps, args.senses), strict=True):
            if actions:
                moment = model.what_if(data, int(row), moment, actions, args.senses)
            moments.append(moment)
            if not args.no_pictures:
                pictures += draw(moment, args, model)
            report("moments", len(moments) / len(rows))
    steps = figures(moments)
    if args.json is not None:
        arguments.write_json(args.json, result(args, model, moments, pictures, steps))
    show(moments, steps)
    if pictures:
        print(f"wrote {len(pictures)} files: {', '.join(str(path) for path in pictures[:3])}{' ...' * (len(pictures) > 3)}")
    return 0


@contextlib.contextmanager
def open_data(paths: list[str]) -> Iterator:
    """The Sequences of one data set's folder, or of bags, which are turned into one that is gone afterwards."""
    from objective_agent.learning import dataset
    from objective_agent.learning.windows import Sequences

    if len(paths) == 1 and (Path(paths[0]) / "meta.json").exists():
        yield Sequences(paths[0])
        return
    with tempfile.TemporaryDirectory(prefix="objective_agent_imagine_") as folder:
        with progress() as report:
            made = dataset.build(paths, Path(folder) / "data", report=lambda done, total: report("bags read", done / total))
        for problem in made.meta["left_out"]:
            print(f"left out: {problem}", file=sys.stderr)
        data = Sequences(made.path)
        data.path = Path(paths[0])  # what messages call it
        yield data


def find_decoder(model, needed: bool) -> None:
    """Gives the model its decoder; without one that fits, says how to get it."""
    from objective_agent.learning.decoder import load_decoder

    if not needed:
        return
    try:
        model.decoder = load_decoder(model.folder, model.sha256)
    except ConfigurationError as error:
        print(f"no imagined camera pictures: {error}", file=sys.stderr)


def parse_actions(text: str, steps: int, nominal) -> dict[str, np.ndarray]:
    """Name -> commands [H, 2] (m/s, rad/s) of "forward,left+stop,0.3:-0.5".  InputError for anything else."""
    found = {}
    limits = np.array([nominal.max_speed, nominal.max_turn_rate])
    for name in (part.strip() for part in text.split(",")):
        pieces = [_command(word.strip(), limits) for word in name.split("+")]
        if len(pieces) > steps:
            raise InputError(f"--actions {name}: has more parts than there are steps; give more --steps")
        found[name] = np.stack([pieces[step * len(pieces) // steps] for step in range(steps)])
    return found


def _command(word: str, limits: np.ndarray) -> np.ndarray:
    if word in WORDS:
        return WORDS[word] * limits
    try:
        v, w = (float(part) for part in word.split(":"))
    except ValueError:
        raise InputError(f"--actions {word!r}: unknown; known: {', '.join(WORDS)}, or V:W in m/s and rad/s") from None
    if not (np.abs([v, w]) <= limits + 1e-9).all():
        raise InputError(f"--actions {word}: the robot's limits are {limits[0]:g} m/s and {limits[1]:g} rad/s")
    return np.array([v, w])


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{out}: can't be made: {error.strerror}; give another --out") from None


def draw(moment, args: argparse.Namespace, model) -> list[Path]:
    """Writes the pictures of one moment."""
    from objective_agent.visualization.filmstrip import FILM, draw_filmstrip, film
    from objective_agent.visualization.what_if import draw_what_if

    stem = f"episode_{moment.episode:03d}_at_{moment.seconds:05.1f}s"
    senses = {"all": "all senses", "lidar": "lidar alone", "camera": "camera alone"}[args.senses]
    count = len(moment.futures.poses)
    about = f"{moment.steps} steps of {moment.dt:g} s in {count} futures, from {senses}; {model.folder.name} {model.sha256[:8]}"
    if moment.what_if:
        return [draw_what_if(moment, args.out / f"{stem}_what_if.png", f"What if? {about}")]
    off = {name: values[-1] for name, values in moment.errors().items()}
    about += (
        f"; after {moment.times[-1]:.1f} s off by {100 * off['position']:.1f} cm "
        f"(analytic model {100 * off['analytic_position']:.1f} cm)"
    )
    written = [draw_filmstrip(moment, args.out / f"{stem}.png", about)]
    if args.video:
        from objective_agent.visualization.video import VideoWriter

        with VideoWriter(args.out / f"{stem}.mp4", FILM, fps=1 / moment.dt) as video:
            for frame in film(moment):
                video.add(frame)
        written.append(video.path)
    return written


def result(args: argparse.Namespace, model, moments: list, pictures: list[Path], steps: list[dict]) -> dict:
    """What --json says."""
    return {
        "model": str(model.folder),
        "sha256": model.card["sha256"],
        "data": [str(path) for path in args.data],
        "senses": args.senses,
        "futures": int(model.predictor.shape.heads),
        "dt": moments[0].dt,
        "moments": [
            {name: getattr(moment, name) for name in ("episode", "seconds", "world", "condition", "home")} for moment in moments
        ],
        "pictures": [str(path) for path in pictures],
        "steps": steps,
    }


def show(moments: list, steps: list[dict]) -> None:
    """Errors at a few steps, as a table on stdout."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(moments)} moments: mean error (95 % quantile)")
    titles = {
        "position": "position cm", "analytic_position": "analytic cm", "clearance": "clearance cm", "people": "people cm",
        "representation": "representation", "unchanged": "if unchanged",
    }  # fmt: skip
    table.add_column("seconds", justify="right")
    for title in titles.values():
        table.add_column(title, justify="right")
    for at in [steps[step] for step in sorted({0, len(steps) // 2 - 1 if len(steps) > 1 else 0, len(steps) - 1})]:
        cells = []
        for name in titles:
            factor = 1 if name in ("representation", "unchanged") else 100
            mean, p95 = at[name]["mean"], at[name]["p95"]
            cells.append("-" if mean is None else f"{factor * mean:.2f} ({factor * p95:.2f})")
        table.add_row(f"{at['seconds']:.1f}", *cells)
    console = Console()
    if not console.is_terminal:
        console.width = 120
    console.print(table)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[str, float], None]]:
    """Yields what to call with (what is done, share of it); a bar with time left, or a line now and then on a pipe."""
    import time

    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        said = [time.perf_counter()]

        def say(doing: str, share: float) -> None:
            if time.perf_counter() - said[0] >= 5:
                said[0] = time.perf_counter()
                print(f"{doing}: {share:.0%}", file=sys.stderr, flush=True)

        yield say
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        tasks: dict = {}

        def show_bar(doing: str, share: float) -> None:
            if doing not in tasks:
                tasks[doing] = bar.add_task(doing, total=1.0)
            bar.update(tasks[doing], completed=share)

        yield show_bar
