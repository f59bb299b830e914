"""The actor's Mode-1, loaded beside its work: a policy that is switched on while the robot drives makes no decision late.

Until it is there Mode-2 acts alone (mode plan).  A policy that can't be had is refused in one line, and the parameters that
named it go back to what they were; where a task asked for it, Mode-2 acts.
"""

from __future__ import annotations

from objective_agent import plugins
from objective_agent.config import ActorParameters, Configuration, PluginSpec
from objective_agent.planner import Planner
from objective_agent_nodes.model_swap import LOADING, Background, keep_timer


class ActorPolicy:
    """Made in the actor's `setup`.  `acting` belongs to the planner's thread, all else to the callbacks'."""

    def __init__(self, node, planner: Planner):
        self._node, self._planner = node, planner
        self._made, self._background = planner.policy, Background()
        self._loading: PluginSpec | None = None
        self._refused: object = None
        self._error = ""
        self._worked: ActorParameters = node.parameters
        keep_timer(node, self._poll)

    @property
    def values(self) -> dict[str, object]:
        """For the diagnostics."""
        if self._loading is not None:
            return {"policy": "loading"}
        return {"policy": f"not loaded: {self._error}"} if self._error else {}

    def acting(self, configuration: Configuration) -> Configuration:
        """`configuration`, in mode plan as long as its policy is not there."""
        actor, made = configuration.actor, self._made
        if actor.mode == "plan" or self._node.repeatable:  # replays wait for it: the same states, the same commands
            return configuration
        if made is not None and made[0] == actor.policy:
            self._planner.policy = made
            return configuration
        return configuration.model_copy(update={"actor": actor.model_copy(update={"mode": "plan"})})

    def heard(self, configuration: Configuration) -> None:
        """Loads what a new configuration needs, unless it was just refused for the same task."""
        spec, wish = configuration.actor.policy, (configuration.actor.policy, configuration.task)
        if configuration.actor.mode == "plan" or self._node.repeatable:
            self._refused = None
        elif not (self._has(spec) or self._loading == spec or self._refused == wish):
            self._loading = spec
            self._background.start(wish, lambda: self._load(spec))

    def changed(self, before: ActorParameters) -> None:
        """The parameters change from `before`: what worked of them can be gone back to."""
        self._refused = None
        if before.mode == "plan" or self._has(before.policy):
            self._worked = before

    def _has(self, spec: PluginSpec) -> bool:
        return self._made is not None and self._made[0] == spec

    def _load(self, spec: PluginSpec):
        with LOADING:
            return plugins.create("policy", spec, self._node.robot, "actor.policy")

    def _poll(self) -> None:
        while (ended := self._background.poll()) is not None:
            wish, made, error = ended
            if wish[0] != self._loading:
                continue  # another one is wanted by now
            self._loading, self._error = None, error
            if not error:
                self._made = wish[0], made
                continue
            self._refused, now = wish, self._node.parameters
            if now.policy == wish[0] and now.mode != "plan":
                self._node.put_parameters(now.model_copy(update={"mode": self._worked.mode, "policy": self._worked.policy}))
            self._node.refuse(f"policy not taken over: {error}")
