"""What memory's estimator is worth beside the newest encoding, along whole recorded episodes in homes the model has not seen.

Each episode is played through the short-term memories `latest` and `estimator` (the plugins that the robot runs), with all
senses, with the lidar alone and with the camera alone.  Their representations are read out: distances in the directions that
the camera sees and in those that it does not, clearance now and predicted 1 s and 2 s ahead under the recorded commands.
`appears`: the same after a change that no command explains (the recording goes on in another home): how long until the
estimate is as good as the newest encoding again.
"""

from __future__ import annotations

HELP = "what the memory's estimator is worth beside the newest encoding, on recorded episodes in unseen homes"
EXAMPLE = "objective-agent bench memory --model models/apartment --data data/apartment --json memory.json"

AHEAD = (0, 5, 10)
"""Steps of prediction."""

NEAR = 0.5
SEEN = slice(14, 23)
"""Sectors within the camera's 90 degrees."""

EVERY = 3


def add_arguments(parser) -> None:
    parser.add_argument("--model", metavar="DIR", default="models/apartment", help="the trained model")
    parser.add_argument("--data", metavar="DIR", required=True, help="data set; its test worlds are used")
    parser.add_argument("--episodes", type=int, default=24, metavar="N", help="at most so many episodes (default 24)")
    parser.add_argument("--views", nargs="+", default=["camera", "lidar", "all"], metavar="V", help="all, lidar, camera")


def main(args) -> dict:
    """view -> memory -> mean errors; near: labels below 0.5 m."""
    import torch

    from objective_agent.config import RobotParameters
    from objective_agent.learning import estimation
    from objective_agent.learning.windows import Sequences
    from objective_agent.perception.jepa import JepaEncoder
    from objective_agent.types import InputError
    from objective_agent.world_model.jepa import Jepa

    if args.episodes < 2 or not set(args.views) <= {"all", *estimation.SENSES}:
        raise InputError("bench memory: --episodes must be at least 2, --views some of all, lidar, camera")
    torch.set_num_threads(1)
    data, robot = Sequences(args.data), RobotParameters()
    encoder = JepaEncoder(JepaEncoder.Config(model=args.model), robot)
    predictor = Jepa(Jepa.Config(model=args.model), robot).network
    senses = estimation.SENSES if data.has_images() else estimation.SENSES[:1]
    rows = estimation.episodes(data, "test", senses, args.episodes * estimation.LONGEST)
    views = estimation.encode(encoder.network, data, rows, senses)
    read = Reader(encoder.network, predictor, data, views)
    result = {
        "model": encoder.model,
        "data": data.digest(),
        "episodes": len(rows),
        "steps": rows.shape[1],
        "worlds": len({*data.world[rows].ravel().tolist()}),
        "views": {},
    }
    for view in args.views:
        if view in views.encoded:
            present = senses if view == "all" else (view,)
            result["views"][view] = compare(args.model, robot, data, views, view, present, read, encoder.model)
    print_table(result["views"])
    return result


def compare(model: str, robot, data, views, view: str, senses: tuple[str, ...], read, name: str) -> dict:
    import numpy as np

    found, appears, milliseconds = {}, {}, {}
    for plugin in ("latest", "estimator"):
        kept, milliseconds[plugin] = play(make(plugin, model, robot), data, views.rows, views.encoded[view], senses, name)
        found[plugin] = read.errors(kept)
        # the recording goes on in another home: what is believed is wrong at once
        half = views.rows.shape[1] // 2
        rows = np.concatenate([views.rows[:, :half], np.roll(views.rows, 1, 0)[:, half:]], 1)
        encoded = np.concatenate([views.encoded[view][:, :half], np.roll(views.encoded[view], 1, 0)[:, half:]], 1)
        kept, _ = play(make(plugin, model, robot), data, rows, encoded, senses, name, views.rows)
        appears[plugin] = read.after_a_change(kept, half)
    for plugin, values in found.items():
        values["update_ms"] = round(milliseconds[plugin], 3)
        values["after_a_change"] = appears[plugin]
    return found


def make(plugin: str, model: str, robot):
    from objective_agent import plugins
    from objective_agent.config import PluginSpec

    settings = {"model": model} if plugin == "estimator" else {}
    return plugins.create("short_term_memory", PluginSpec(plugin=plugin, commands=4, **settings), robot)


def play(memory, data, rows, encoded, senses, name: str, clock=None):
    """(representations [n, L, D] that `memory` makes of `encoded` along the episodes `rows` [n, L], ms per update).

    `clock` [n, L]: rows whose stamps and poses count, where they are others than those of the commands and speeds.
    """
    import time

    import numpy as np

    from objective_agent.types import Command, Observation, Representation

    kept = np.empty_like(encoded)
    clock = rows if clock is None else clock
    stamps, poses = (data.take(column, clock) for column in ("stamp", "pose"))
    actions, velocities = (data.take(column, rows) for column in ("action", "velocity"))
    spent = 0.0
    for episode in range(len(rows)):
        memory.reset()
        for step in range(rows.shape[1]):
            stamp, at = float(stamps[episode, step]), (episode, slice(step, step + 1))
            seen = Observation(stamp, poses[at].astype(np.float32), velocities[at].astype(np.float32))
            token = encoded[at][:, None].astype(np.float32)
            begun = time.perf_counter()
            state = memory.update(Representation(stamp, token, name, senses=(senses,)), seen)
            spent += time.perf_counter() - begun
            kept[episode, step] = np.asarray(state.representation)[0, 0]
            memory.command_sent(Command(stamp, *map(float, actions[episode, step])))
    return kept, 1000 * spent / rows.size


class Reader:
    """Reads representations out and compares with the labels of the data set."""

    def __init__(self, encoder, predictor, data, views):
        import numpy as np
        import torch

        from objective_agent.learning.batches import sector_labels

        self.encoder, self.predictor, self.views = encoder, predictor, views
        scans = torch.from_numpy(data.take("scan", views.rows.ravel()))
        self.log_ranges = sector_labels(scans).numpy().reshape(*views.rows.shape, -1)
        self.clearance = data.take("clearance", views.rows)
        self.truth = views.encoded["all"]
        self.spread = self.truth.reshape(-1, self.truth.shape[-1]).var(0) + 1e-9
        self.unseen = np.ones(self.log_ranges.shape[-1], bool)
        self.unseen[SEEN] = False

    def errors(self, kept) -> dict:
        import numpy as np
        import torch

        with torch.inference_mode():
            tokens = torch.as_tensor(kept, dtype=torch.float32)
            off = np.abs(self.encoder.ranges(tokens)[0].numpy() - self.log_ranges)
            starts = np.arange(0, kept.shape[1] - max(AHEAD), EVERY)
            ahead = starts[:, None] + np.arange(max(AHEAD) + 1)
            states = self.predictor.imagine(
                tokens[:, starts].flatten(0, 1),
                torch.from_numpy(self.views.actions[:, ahead[:, :-1]]).flatten(0, 1).float(),
                self.predictor.shape.heads,
            )
            predicted = self.predictor.readouts.clearance(states)[0].mean(0).numpy()
        labels = self.clearance[:, ahead].reshape(-1, ahead.shape[1]).T
        found = {
            "representation": _round(((kept - self.truth) ** 2 / self.spread).mean()),
            "range_ahead": _round(np.nanmean(off[..., SEEN])),
            "range_elsewhere": _round(np.nanmean(off[..., self.unseen])),
        }
        for step in AHEAD:
            error = np.abs(predicted[step] - labels[step])
            found[f"clearance_{step}_near"] = _round(np.nanmean(error[labels[step] < NEAR]))
            found[f"clearance_{step}_far"] = _round(np.nanmean(error[labels[step] >= NEAR]))
        return found

    def after_a_change(self, kept, change: int) -> dict:
        """Error of the representation (share of its variance) 0, 1, 2, 5 and 10 steps after everything has changed."""
        import numpy as np

        truth = np.roll(self.truth, 1, 0)[:, change:]
        error = ((kept[:, change:] - truth) ** 2 / self.spread).mean((0, 2))
        return {f"{0.2 * step:g} s": _round(error[step]) for step in (0, 1, 2, 5, 10) if step < len(error)}


def _round(value) -> float:
    return round(float(value), 4)


def print_table(views: dict) -> None:
    from rich.console import Console
    from rich.table import Table

    names = [name for name in next(iter(next(iter(views.values())).values())) if name != "after_a_change"]
    table = Table("", *(f"{view}: {memory}" for view, found in views.items() for memory in found), title="mean errors")
    for name in names:
        table.add_row(name, *(f"{found[memory][name]:.4f}" for found in views.values() for memory in found))
    Console(stderr=True).print(table)
