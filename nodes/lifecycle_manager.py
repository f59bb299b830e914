"""Brings the managed nodes up in order (the gate first) and takes them down in reverse (the gate last).

Nav2's services where the standard messages allow: `lifecycle_manager/is_active` (Trigger), and the nodes' own change_state and
get_state.  On SIGINT or SIGTERM everything is taken down before the process ends.  With `revive`, for graphs whose processes
are started again when they end, a node that was active and comes back unconfigured is brought up again.
"""

from __future__ import annotations

import signal
import sys
import time

import rclpy
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from std_srvs.srv import Trigger

from objective_agent.types import ObjectiveAgentError
from objective_agent_nodes.graph import MANAGED
from objective_agent_nodes.node_watch import NodeWatch
from objective_agent_nodes.process import make_executor

LABELS = {
    Transition.TRANSITION_CONFIGURE: "configure",
    Transition.TRANSITION_ACTIVATE: "activate",
    Transition.TRANSITION_DEACTIVATE: "deactivate",
    Transition.TRANSITION_CLEANUP: "cleanup",
}
UNCONFIGURED = ("unconfigured", "not configured")
"""What a node's diagnostics say before it is configured."""
REVIVAL = 10.0
"""A node started again has this long to answer; a killed predecessor's service may hide it for a while, s."""
SILENT = 3.0
"""A node that has sent no diagnostics for so long counts as not active, s."""


class BringUpFailed(ObjectiveAgentError):
    """A node refused a transition or did not answer; says which and why."""


class Interrupted(Exception):
    """A signal asks for the end."""


class LifecycleManager(Node):
    def __init__(self, **options):
        super().__init__("lifecycle_manager", **options)
        self.autostart = self.declare_parameter("autostart", True).value
        self.names = list(self.declare_parameter("node_names", list(MANAGED)).value)
        self._appear = float(self.declare_parameter("appear_timeout", 60.0).value)
        self._answer = float(self.declare_parameter("answer_timeout", 60.0).value)
        self._revive = self.declare_parameter("revive", False).value
        self.interrupted = False
        self.active: list[str] = []
        self._configured: list[str] = []
        self.watch = NodeWatch(self, self.names)
        self._change = {name: self.create_client(ChangeState, f"{name}/change_state") for name in self.names}
        self._state = {name: self.create_client(GetState, f"{name}/get_state") for name in self.names}
        self.create_service(Trigger, "lifecycle_manager/is_active", self._on_is_active)
        self.executor_ = make_executor(self.context)
        self.executor_.add_node(self)

    def _on_is_active(self, request, response):
        silent = self.watch.silent(SILENT)
        missing = [name for name in self.names if name not in self.active]
        response.success = not missing and not silent
        response.message = "all active"
        if missing:
            response.message = f"not active: {', '.join(missing)}"
        elif silent:
            response.message = f"no diagnostics from {', '.join(silent)} for {SILENT:.0f} s"
        return response

    # --- what to do ---------------------------------------------------------------------------------------------------------

    def bring_up(self) -> None:
        """All configured, then all activated, in order.  Raises BringUpFailed with the node's own reason, or Interrupted."""
        for name in self.names:
            self._await(lambda name=name: self._change[name].service_is_ready(), self._appear, f"{name} did not appear")
        for name in self.names:
            self._transit(name, Transition.TRANSITION_CONFIGURE)
            self._configured.append(name)
        for name in self.names:
            self._transit(name, Transition.TRANSITION_ACTIVATE)
            self.active.append(name)

    def revive(self) -> None:
        """Brings up again, in order, the active nodes that say they are unconfigured: their processes were started anew."""
        back = [name for name in self.names if name in self.active and self.watch.said(name) in UNCONFIGURED]
        if not (self._revive and back):
            return
        self.get_logger().warning(f"started again, bringing up: {', '.join(back)}")
        for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE):
            for name in back:
                try:
                    self._transit(name, transition, REVIVAL)
                except BringUpFailed as error:
                    self.get_logger().error(f"{error}; trying again")

    def take_down(self) -> None:
        """Deactivates and cleans up in reverse; a node that does not answer is passed over."""
        self.interrupted, self._answer = False, 2.0
        for names, transition in (
            (self.active, Transition.TRANSITION_DEACTIVATE),
            (self._configured, Transition.TRANSITION_CLEANUP),
        ):
            while names:
                name = names.pop()
                try:
                    if self._change[name].service_is_ready():
                        self._transit(name, transition)
                except BringUpFailed as error:
                    self.get_logger().warning(str(error))

    def spin_some(self, seconds: float) -> None:
        self.executor_.spin_once(timeout_sec=seconds)

    def state(self, name: str) -> str:
        """The lifecycle state of a node, as it says itself."""
        return self._call(self._state[name], GetState.Request(), f"{name} does not tell its state").current_state.label

    def _transit(self, name: str, transition: int, patience: float | None = None) -> None:
        what = LABELS[transition]
        request = ChangeState.Request()
        request.transition.id = transition
        self.watch.forget(name)
        answer = self._call(self._change[name], request, f"{name} did not answer to {what}", patience)
        if answer.success:
            return
        end = time.monotonic() + 2.0  # its diagnostics say why, a moment later
        while time.monotonic() < end and what not in self.watch.said(name):
            self.spin_some(0.05)
        reason = self.watch.said(name) or "it gave no reason"
        raise BringUpFailed(f"{name}: {reason if what in reason else f'{what} refused: {reason}'}")

    def _call(self, client, request, late: str, patience: float | None = None):
        future = client.call_async(request)
        self._await(future.done, patience or self._answer, late)
        return future.result()

    def _await(self, condition, seconds: float, late: str) -> None:
        end = time.monotonic() + seconds
        while not condition():
            if self.interrupted:
                raise Interrupted
            if time.monotonic() > end:
                raise BringUpFailed(f"{late} within {seconds:.0f} s")
            self.spin_some(0.05)


def main(args=None) -> int:
    """Exit code 1 when a node can't be brought up, with one line that says which and why."""
    rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
    node, code = LifecycleManager(), 0

    def interrupt(*_) -> None:
        node.interrupted = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        if node.autostart:
            node.bring_up()
            print("all nodes are active", flush=True)  # noqa: T201
        while not node.interrupted:
            node.spin_some(0.2)
            node.watch.report(node.active)
            node.revive()
    except BringUpFailed as error:
        print(f"lifecycle_manager: error: {error}", file=sys.stderr, flush=True)  # noqa: T201
        code = 1
    except (Interrupted, ExternalShutdownException, KeyboardInterrupt):
        pass
    finally:
        node.take_down()
        node.destroy_node()
        rclpy.try_shutdown()
    return code


if __name__ == "__main__":
    sys.exit(main())
