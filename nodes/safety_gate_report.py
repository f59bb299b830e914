"""What the safety gate says about itself: `safety_gate/state` at every step, and its health once a second."""

from __future__ import annotations

from diagnostic_msgs.msg import DiagnosticStatus

from objective_agent.safety import GateOutput, Ladder
from objective_agent.types import Command
from objective_agent_nodes import diagnostics
from objective_agent_nodes.diagnostics import ERROR, OK, WARN, Health

LEVELS = {Ladder.OK: OK, Ladder.LIMIT: OK, Ladder.STOP: WARN, Ladder.EMERGENCY: ERROR, Ladder.LATCHED: ERROR}


def values(output: GateOutput, asked: Command | None) -> dict[str, object]:
    """Ladder step, reason, command in and out.  Stamps are text with nanoseconds: consumers match messages by them."""
    nothing = Command(float("nan"), float("nan"), float("nan"))
    asked = asked or nothing
    return {
        "level": output.level.name,
        "reason": output.reason,
        "v_in": asked.v,
        "w_in": asked.w,
        "v_out": output.v,
        "w_out": output.w,
        "command_stamp": f"{asked.stamp:.9f}",
        "scan_age": output.scan_age,
        "held": output.held,
    }


def state(node, output: GateOutput, asked: Command | None, stamp) -> DiagnosticStatus:
    """One step as a message; `stamp` (a Time message) is the one that `cmd_vel` went out with."""
    fields = values(output, asked) | {"cmd_vel_stamp": f"{stamp.sec}.{stamp.nanosec:09d}"}
    health = Health(LEVELS[output.level], output.reason or "ok", fields)
    return diagnostics.status(node.get_fully_qualified_name().strip("/"), health)


def health(node, output: GateOutput, asked: Command | None, counts: dict[Ladder, int]) -> Health:
    """How the gate is; another publisher on cmd_vel is an error, because the robot hears it past the gate."""
    fields = values(output, asked) | {f"steps {level.name}": count for level, count in counts.items()}
    publishers = node.get_publishers_info_by_topic(node.resolve_topic_name("cmd_vel"))
    names = sorted(f"{info.node_namespace.rstrip('/')}/{info.node_name}" for info in publishers)
    if len(names) > 1:
        own = node.get_fully_qualified_name()
        others = [name for name in names if name != own] or [own]
        return Health(ERROR, f"another publisher on cmd_vel goes round the gate: {', '.join(others)}; stop it", fields)
    return Health(LEVELS[output.level], output.reason or "ok", fields)
