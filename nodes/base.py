"""The base of all nodes: lifecycle, validated parameters, guarded subscriptions, diagnostics.

A module's node says what it owns (`parameters`, a pydantic model) and fills in the hooks `setup` (configure: everything is
checked and made here), `start`, `stop`, `teardown`, `on_parameters` and `health`.  An `ObjectiveAgentError` in a hook makes the
transition fail with that one line; nothing that a message contains can end the process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.lifecycle import LifecycleNode, TransitionCallbackReturn

from objective_agent.config import Strict
from objective_agent.types import ObjectiveAgentError
from objective_agent_nodes import diagnostics, qos
from objective_agent_nodes.diagnostics import ERROR, WARN, Health
from objective_agent_nodes.parametrized import Parametrized
from objective_agent_nodes.staleness import FUTURE, SIMULATED_FUTURE, Freshness

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class ModuleNode(Parametrized, LifecycleNode):
    """A lifecycle node named `name`, its parameters checked by `model`.

    After configure: `self.parameters` (a `model`), `self.common`, `self.robot`.  `self.active` from activate to deactivate.
    """

    def __init__(self, name: str, model: type[Strict], **options: Any):
        super().__init__(name, **options)
        self.active = self.configured = False
        self.init_parameters(model)
        self.failure = ""
        self.refused, self.refusal = 0, ""
        self.steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._made: list[tuple[Callable, Any]] = []
        self._guard_transitions()
        back = JumpThreshold(min_forward=None, min_backward=Duration(seconds=-0.5), on_clock_change=False)
        self._jumps = self.get_clock().create_jump_callback(back, post_callback=self._jumped)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._beat = self.create_timer(1.0, self.publish_diagnostics, clock=self.steady)

    # --- hooks --------------------------------------------------------------------------------------------------------------

    def setup(self) -> None:
        """Configure: makes the module, publishers and subscriptions.  Raises ObjectiveAgentError to refuse."""

    def start(self) -> None:
        """Activate."""

    def on_time_jump(self) -> None:
        """ROS time went back (a restarted simulator, a bag that starts over): forget what came before."""

    def stop(self) -> None:
        """Deactivate."""

    def teardown(self) -> None:
        """Cleanup, after `stop`; publishers and subscriptions made in `setup` go by themselves."""

    def health(self) -> Health:
        """How the active node is."""
        return Health()

    # --- what subclasses use ------------------------------------------------------------------------------------------------

    def now(self) -> float:
        return self.get_clock().now().nanoseconds * 1e-9

    def listen(self, kind: type, topic: str, callback: Callable, profile=qos.RELIABLE, always=False, quiet=False) -> None:
        """Subscribes until cleanup.  `callback(message)` runs only while active (or `always`); an InputError that it raises is
        logged and counted, the message is lost, nothing else.  `quiet`: publishers that can't be connected are expected."""

        def guarded(message):
            if not (self.active or always):
                return
            try:
                callback(message)
            except ObjectiveAgentError as error:
                self.refuse(f"{topic}: {error}")

        events = qos.subscription_events(topic, (lambda line: None) if quiet else self.get_logger().error)
        self.keep(self.destroy_subscription, self.create_subscription(kind, topic, guarded, profile, event_callbacks=events))

    def speak(self, kind: type, topic: str, profile=qos.RELIABLE):
        """A publisher that lives until cleanup."""
        events = qos.publisher_events(topic, self.get_logger().error)
        made = self.create_publisher(kind, topic, profile, event_callbacks=events)
        self.keep(self.destroy_publisher, made)
        return made

    def keep(self, destroy: Callable, made: Any) -> None:
        """`destroy(made)` at cleanup."""
        self._made.append((destroy, made))

    def watch(self, topic: str, limit: float) -> Freshness:
        """A freshness watch.  Simulated time is what /clock last said, so there a stamp may be ahead of it after a pause."""
        return Freshness(topic, limit, future=SIMULATED_FUTURE if self.get_parameter("use_sim_time").value else FUTURE)

    def refuse(self, reason: str) -> None:
        """Notes a refused input: in the log (at most once a second) and in the diagnostics."""
        self.refused, self.refusal = self.refused + 1, reason
        self.get_logger().error(reason, throttle_duration_sec=1.0)

    def _jumped(self, jump) -> None:
        if self.configured:
            self.get_logger().warning(f"ROS time went back by {-jump.delta.nanoseconds * 1e-9:.2f} s; starting over")
            self.on_time_jump()

    def publish_diagnostics(self) -> None:
        health = self.health() if self.active else Health(WARN, "inactive" if self.configured else "unconfigured")
        health = Health(ERROR, self.failure) if self.failure else health
        if self.refused:
            health.values = {**health.values, "refused": self.refused, "last_refusal": self.refusal}
        name = self.get_fully_qualified_name().strip("/")
        self._diagnostics.publish(diagnostics.array(self.get_clock().now().to_msg(), diagnostics.status(name, health)))

    # --- lifecycle ----------------------------------------------------------------------------------------------------------

    def _guard_transitions(self) -> None:
        """rclpy raises for a transition that the present state doesn't have, which would end the process; answer no instead."""
        service = self._service_change_state
        change = service.callback

        def guarded(request, response):
            try:
                return change(request, response)
            except Exception as error:
                asked = request.transition.label or request.transition.id
                self.get_logger().error(f"transition {asked} refused: {' '.join(str(error).split())}")
                response.success = False
                return response

        service.callback = guarded

    def _attempt(self, what: str, *steps: Callable) -> TransitionCallbackReturn:
        try:
            for step in steps:
                step()
            self.failure = ""
            return SUCCESS
        except ObjectiveAgentError as error:
            self.failure = f"{what} failed: {error}"
        except Exception as error:  # a bug must not take the other nodes of the process with it
            self.failure = f"{what} failed: {type(error).__name__}: {error}"
        self.get_logger().error(self.failure)
        if self.context.ok():
            self.publish_diagnostics()
        return FAILURE

    def on_configure(self, state) -> TransitionCallbackReturn:
        result = self._attempt("configure", self._read_and_setup)
        if result != SUCCESS:
            self._undo()
        return result

    def _read_and_setup(self) -> None:
        self.read_parameters()
        self.setup()
        self.configured = True
        self.publish_settings()

    def on_activate(self, state) -> TransitionCallbackReturn:
        self.active = True  # first: `start` may already publish
        result = self._attempt("activate", self.start)
        self.active = result == SUCCESS
        return result

    def on_deactivate(self, state) -> TransitionCallbackReturn:
        self.active = False
        return self._attempt("deactivate", self.stop)

    def on_cleanup(self, state) -> TransitionCallbackReturn:
        return self._attempt("cleanup", self._undo)

    def on_shutdown(self, state) -> TransitionCallbackReturn:
        if self.active:
            self.on_deactivate(state)
        return self._attempt("shutdown", self._undo)

    def on_error(self, state) -> TransitionCallbackReturn:
        self.active = False
        self._attempt("error recovery", self._undo)
        return SUCCESS  # back to unconfigured, from where configure can be tried again

    def _undo(self) -> None:
        """Gives back what configure made, whether or not it came to its end."""
        try:
            if self.parameters is not None:
                self.teardown()
        finally:
            self.configured = False
            for destroy, made in reversed(self._made):
                destroy(made)
            self._made.clear()
            self.forget_parameters()
