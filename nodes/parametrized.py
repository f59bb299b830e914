"""A node whose ROS parameters are a pydantic model: declared at configure, checked as a whole, changed where allowed."""

from __future__ import annotations

from typing import Any

from rcl_interfaces.msg import SetParametersResult
from rclpy.parameter import Parameter
from std_msgs.msg import String

from objective_agent.config import RobotParameters, Strict
from objective_agent.types import ObjectiveAgentError
from objective_agent_nodes import parameters, qos


class Parametrized:
    """Mixin for a node: `self.parameters` (the model), `self.common` (the `/**` section) and `self.robot`."""

    def init_parameters(self, model: type[Strict]) -> None:
        self.model = model
        self.parameters: Any = None
        self.common = parameters.CommonParameters()
        self.changed: frozenset[str] = frozenset()
        self._declared: list[str] = []
        self._putting = False
        self._settings = self.create_publisher(String, "~/settings", qos.LATCHED)
        self.add_on_set_parameters_callback(self._check_change)
        self.add_post_set_parameters_callback(self._apply_change)

    def check_parameters(self, new: Strict) -> None:
        """Raises ConfigurationError for valid parameters that can't be changed to now; `self.changed` names those set."""

    def on_parameters(self, new: Strict) -> Strict | None:
        """Applies changed (already validated) parameters; `self.parameters` still holds the old ones, `self.changed` names
        those set.  May return what becomes the parameters instead."""

    @property
    def robot(self) -> RobotParameters:
        return self.common.robot

    def publish_settings(self) -> None:
        """The module's validated parameters, for the configurator."""
        self._settings.publish(String(data=self.parameters.model_dump_json()))

    def read_parameters(self) -> None:
        """Checks what the parameter file and the command line gave, and declares every parameter with its descriptor.

        Raises ConfigurationError: one line with name, value and allowed range.
        """
        # rclpy has no public way to ask which overrides were given, and without it a misspelt name would go unnoticed
        overrides = {name: given.value for name, given in self._parameter_overrides.items()}
        given = {n: v for n, v in overrides.items() if not (self.has_parameter(n) or n.startswith("qos_overrides."))}
        self.common, self.parameters = parameters.build(self.model, given, self.get_name())
        entries = {entry.name: entry for model in (self.common, self.parameters) for entry in parameters.flatten(model)}
        for entry in entries.values():
            self.declare_parameter(entry.name, entry.value, parameters.descriptor(entry), ignore_override=True)
            self._declared.append(entry.name)

    def forget_parameters(self) -> None:
        self.parameters = None
        names, self._declared = self._declared, []
        for name in names:
            # a read-only parameter can't be undeclared; dropping the descriptor's flag is what its owner may do
            self._descriptors[name].read_only = False
            self.undeclare_parameter(name)

    def _check_change(self, changes: list[Parameter]) -> SetParametersResult:
        self.changed = frozenset(change.name for change in changes) & frozenset(self._declared)
        if self.changed and not self._putting:
            try:
                self.check_parameters(self._with(changes))
            except ObjectiveAgentError as error:
                return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _with(self, changes: list[Parameter]) -> Strict:
        values = {name: self.get_parameter(name).value for name in self._declared}
        values |= {change.name: change.value for change in changes if change.name in values}
        given = {name: value for name, value in values.items() if value is not None}
        return parameters.build(self.model, given, self.get_name())[1]

    def _apply_change(self, changes: list[Parameter]) -> None:
        self.changed = frozenset(change.name for change in changes) & frozenset(self._declared)
        if not self.configured or not self.changed or self._putting:
            return
        new = self._with([])
        try:
            new = self.on_parameters(new) or new
        except ObjectiveAgentError as error:
            self.refuse(str(error))
            return
        self.parameters = new
        self.publish_settings()

    def put_parameters(self, new: Strict) -> None:
        """The node itself changes its parameters to `new`: what ROS shows and what the settings say; applies nothing."""
        self.parameters = new
        shown = [entry for entry in parameters.flatten(new) if not entry.read_only]
        changes = [(e.name, e.value) for e in shown if self.get_parameter(e.name).value != e.value]
        self._putting = True
        try:
            self.set_parameters([Parameter(name, value=value) for name, value in changes])
        finally:
            self._putting = False
        self.publish_settings()
