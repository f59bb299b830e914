"""Quality of service: who may talk to whom, and what to say when they can't.

Subscribe best-effort and volatile, publish reliable: that pair connects with every sensor driver.  Only small settings that a
late joiner must still get are transient_local, and only those that publish them that way can be heard that way: a volatile
publisher is not heard by a transient_local subscriber, so topics that people publish by hand are subscribed to twice.
"""

from __future__ import annotations

from rclpy.event_handler import PublisherEventCallbacks, SubscriptionEventCallbacks
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSPolicyKind, QoSProfile, ReliabilityPolicy


def profile(reliable: bool, latched: bool = False, depth: int = 1) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


SENSOR = profile(reliable=False)
"""To subscribe to sensors: the newest message only."""
HISTORY = profile(reliable=False, depth=10)
"""To subscribe to sensors whose history counts (odometry that poses are interpolated from, commands that were sent)."""
RELIABLE = profile(reliable=True)
"""To publish anything, and to subscribe to what comes from this package's own nodes."""
LATCHED = profile(reliable=True, latched=True)
"""Settings that a late joiner must get: `task`, `configuration`, `model_version`, `~/settings`."""
DIAGNOSTICS = profile(reliable=True, depth=10)

_REMEDIES = {
    QoSPolicyKind.RELIABILITY: "publish it reliable, or subscribe best-effort",
    QoSPolicyKind.DURABILITY: "publish it transient_local, or subscribe volatile",
    QoSPolicyKind.DEADLINE: "publish it with a deadline at least as short, or subscribe without one",
    QoSPolicyKind.LIVELINESS: "publish it with liveliness at least as strict, or subscribe without it",
}


def incompatible(topic: str, direction: str, event) -> str:
    """One line about an incompatible-QoS event on `topic` ("publisher" or "subscription" of ours), with the remedy."""
    try:
        kind = QoSPolicyKind(event.last_policy_kind)
    except ValueError:
        kind = QoSPolicyKind.INVALID
    remedy = _REMEDIES.get(kind, "give both ends the same quality of service")
    other = "publisher" if direction == "subscription" else "subscription"
    return f"{topic}: a {other} with incompatible {kind.name.lower()} can't be connected; {remedy}"


def subscription_events(topic: str, report) -> SubscriptionEventCallbacks:
    """Event callbacks that give `report` one line when a publisher can't be connected."""
    return SubscriptionEventCallbacks(
        incompatible_qos=lambda event: report(incompatible(topic, "subscription", event)), use_default_callbacks=False
    )


def publisher_events(topic: str, report) -> PublisherEventCallbacks:
    """Event callbacks that give `report` one line when a subscription can't be connected."""
    return PublisherEventCallbacks(
        incompatible_qos=lambda event: report(incompatible(topic, "publisher", event)), use_default_callbacks=False
    )
