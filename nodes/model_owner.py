"""The world model's part in taking over a new model at run time: it owns the model and leads the two phases.

    model_version/report  ->  model_version

A change of the parameter `world_model.model` of this node is the wish for a new version.  The node's settings, and with them
the configuration, change only when everybody has switched.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from std_msgs.msg import String

from objective_agent.versions import Announcement, Owner, Report, Version
from objective_agent_nodes import qos
from objective_agent_nodes.model_swap import REPORTS, TOPIC, Background, keep_timer, read

FOLLOWERS = ("perception", "memory", "cost", "actor")
"""Who must have loaded a version before it is used."""
_REPORTS = qos.profile(reliable=True, latched=True, depth=4 * len(FOLLOWERS))


class ModelOwner:
    """Made in the node's `setup`.

    `load(folder)` makes a world model, in a thread; `switch(version, world_model)` puts it in place; `stay()` is called when a
    wish came to nothing.
    """

    def __init__(
        self,
        node,
        current: Version,
        patience: float,
        load: Callable[[str], Any],
        switch: Callable[[Version, Any], None],
        stay: Callable[[], None],
    ):
        self._node, self._load, self._switch, self._stay = node, load, switch, stay
        self.owner = Owner(current, FOLLOWERS, patience)
        self._background = Background()
        self._wish = self._made = None
        self._told: Announcement | None = None
        self._using = current.number
        self._publisher = node.speak(String, TOPIC, qos.LATCHED)
        node.listen(String, REPORTS, self._on_report, _REPORTS, always=True)
        keep_timer(node, self._poll)
        self._tell()

    @property
    def problem(self) -> str:
        """Why the last wish was not fulfilled; empty when it was."""
        refused = self.owner.refused
        return f"model not taken over: {refused}; {self.owner.current} drives on" if refused else ""

    @property
    def values(self) -> dict[str, object]:
        owner = self.owner
        values: dict[str, object] = {"model_version": owner.current.number, "model_folder": owner.current.model}
        if owner.candidate is not None:
            values |= {"candidate": str(owner.candidate), "waiting_for": ", ".join(owner.waiting_for)}
        return values

    def wish(self, folder: str) -> None:
        """Begins: loads the model here, then asks everybody else to."""
        self._wish, self.owner.refused = folder, ""
        self._background.start(folder, lambda: self._load(folder))

    def _on_report(self, message: String) -> None:
        newer = self.owner.hear(read(Report, message, REPORTS))
        if newer is not None and newer != self._wish:
            self._wish = newer
            self._background.start(newer, lambda: self._load(newer.model))
        self._tell()

    def _poll(self) -> None:
        while (ended := self._background.poll()) is not None:
            key, made, error = ended
            if key == self._wish:
                self._wish = None
                self._loaded(key, made, error)
        self.owner.tick(time.monotonic())
        self._tell()

    def _loaded(self, key: str | Version, made: Any, error: str) -> None:
        folder = key if isinstance(key, str) else key.model
        if error:
            self.owner.refuse(f"{folder}: {self._node.get_name()}: {error}")
            return
        version = describe(folder, made, self.owner.current.number)
        if isinstance(key, Version):  # the others had it before this node was started again
            if version.same_weights(key):
                self._made = made
                self.owner.adopt(key)
            else:
                self.owner.refuse(f"{folder}: holds {version} now, the other modules work with {key}")
        elif version.same_weights(self.owner.current):
            self.owner.refused, self.owner.candidate = "", None
            self._node.get_logger().info(f"{folder}: these weights drive already, as {self.owner.current}")
            self._stay()
        else:
            self._made = made
            self.owner.propose(version, time.monotonic())

    def _tell(self) -> None:
        """Publishes what has changed, after putting it in place here."""
        announcement, owner = self.owner.announcement, self.owner
        if announcement == self._told:
            return
        before, self._told = self._told, announcement
        log = self._node.get_logger()
        if owner.current.number != self._using:
            self._using = owner.current.number
            self._switch(owner.current, self._made)
            log.info(f"{owner.current} drives from now on")
        elif owner.refused and (before is None or before.refused != owner.refused):
            log.error(self.problem)
            self._stay()
        elif owner.candidate is not None:
            log.info(f"{owner.candidate}: waiting until all have loaded it")
        self._publisher.publish(String(data=announcement.model_dump_json()))


def describe(folder: str, world_model: Any, number: int = 1) -> Version:
    """The version that a world model stands for."""
    return Version(
        number=number,
        model=folder,
        world_model=world_model.model,
        representation=getattr(world_model, "representation_model", None),
        features=getattr(world_model, "features", None),
    )
