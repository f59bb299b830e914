"""A module's part in taking over a new model at run time: it listens to `model_version`, loads beside its work, and reports.

    model_version  ->  model_version/report

The protocol is `objective_agent.versions`; here are the topics, and the thread in which a version is loaded while the old one
works.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from std_msgs.msg import String

from objective_agent.config import Strict, validate
from objective_agent.types import InputError, ObjectiveAgentError
from objective_agent.versions import Announcement, Follower, Report, Version
from objective_agent_nodes import qos
from objective_agent_nodes.convert_state import LARGEST_JSON
from objective_agent_nodes.snapshot import parse

TOPIC, REPORTS = "model_version", "model_version/report"
PERIOD = 0.1
"""How often it is looked whether a load has ended, s."""


def read(model: type[Strict], message: String, topic: str) -> Any:
    """A message of this protocol; InputError when it is too large or not JSON, ConfigurationError when it makes no sense."""
    if len(message.data) > LARGEST_JSON:
        raise InputError(f"{topic} has {len(message.data)} characters; at most {LARGEST_JSON} are accepted")
    return validate(model, parse(message.data, topic), topic)


def keep_timer(node, callback: Callable[[], None]) -> None:
    """Calls back every PERIOD on the steady clock, until cleanup."""
    node.keep(node.destroy_timer, node.create_timer(PERIOD, callback, clock=node.steady))


LOADING = threading.Lock()
"""Held while a model is made: several modules of one process that load at once would take its decisions' time."""


class Background:
    """Runs one thing at a time in a thread, the newest only; `poll` hands its result to the thread that asks."""

    def __init__(self) -> None:
        self._results: list[tuple[Any, Any, str]] = []
        self._running = 0

    @property
    def busy(self) -> bool:
        return bool(self._running or self._results)

    def start(self, key: Any, work: Callable[[], Any]) -> None:
        self._running += 1
        threading.Thread(target=self._run, args=(key, work), name="model loader", daemon=True).start()

    def poll(self) -> tuple[Any, Any, str] | None:
        """(key, result, error) of something that has ended, None for nothing."""
        return self._results.pop(0) if self._results else None

    def _run(self, key: Any, work: Callable[[], Any]) -> None:
        result, error = None, ""
        try:
            result = work()
        except ObjectiveAgentError as problem:
            error = str(problem)
        except Exception as problem:  # whatever a broken file does, the old model drives on
            error = f"{type(problem).__name__}: {' '.join(str(problem).split())[:300]}"
        self._results.append((key, result, error))
        self._running -= 1


class ModelFollower:
    """Made in a node's `setup`.  `load(version)` runs in a thread and returns what `switch(version, loaded)` puts in its place.

    `switch` runs in the executor's thread; `loaded(version, made)`, if given, is called there as soon as a version is ready.
    """

    def __init__(
        self,
        node,
        load: Callable[[Version], Any],
        switch: Callable[[Version, Any], None],
        loaded: Callable[[Version, Any], None] = lambda version, made: None,
    ):
        self._node, self._load, self._apply, self._ready = node, load, switch, loaded
        self.follower = Follower(node.get_name())
        self._background = Background()
        self._made: tuple[Version, Any] | None = None
        self._told: Report | None = None
        self._using = 1
        self._report = node.speak(String, REPORTS, qos.LATCHED)
        node.listen(String, TOPIC, self._on_announcement, qos.LATCHED, always=True)
        keep_timer(node, self._poll)

    def version(self, model: str) -> Version | None:
        """The version that made the representation named `model`; None when it may not be used."""
        return self.follower.version(model, time.monotonic())

    def judge(self, what: str, model: str) -> tuple[Version | None, str]:
        """(the version that made them or None, why the node holds) for representations or states (`what`) named `model`."""
        version = self.version(model)
        return version, "" if version is not None else f"holds: {self.follower.mismatch(what, model)}"

    @property
    def values(self) -> dict[str, object]:
        """For the diagnostics."""
        follower = self.follower
        values: dict[str, object] = {"model_version": follower.current.number if follower.current else "not known"}
        if follower.loading is not None:
            values["loading"] = str(follower.loading)
        if follower.error:
            values["not_loaded"] = f"{follower.failed}: {follower.error}"
        return values

    def _on_announcement(self, message: String) -> None:
        wanted = self.follower.hear(read(Announcement, message, TOPIC), time.monotonic())
        if wanted is not None:
            self._background.start(wanted, lambda: self._load(wanted))
        self._follow()

    def _poll(self) -> None:
        while (ended := self._background.poll()) is not None:
            version, made, error = ended
            if self.follower.done(version, error, time.monotonic()):
                if error:
                    self._node.refuse(f"model {version.model} can't be taken over: {error}")
                else:
                    self._made = (version, made)
                    self._ready(version, made)
                self._follow()

    def _follow(self) -> None:
        """Puts the current version in place, if it is another now, and says how things are."""
        current = self.follower.current
        if current is not None and current.number > 1 and current.number != self._using:
            self._using = current.number
            self._apply(*self._made)
            self._node.get_logger().info(f"{current} drives from now on")
        if self.follower.loaded is None:
            self._made = None
        report = self.follower.report
        if report != self._told:
            self._told = report
            self._report.publish(String(data=report.model_dump_json()))
