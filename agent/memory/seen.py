"""What a robot without a lidar scan has seen: the distances that its representation tells of.

Short-term and route memory take sweeps from observations.  Where an observation has none, `with_estimates` puts the sweeps
there that perception read out of the representation (`Scan.estimated`), seen from the present pose.  A measured sweep is never
replaced.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from objective_agent.types import Observation, Scan


def with_estimates(observation: Observation, scans: Sequence[Scan | None]) -> Observation:
    """`observation` with the estimated sweeps `scans` (one or None per problem; or none) where it has no measured one."""
    if not any(scan is not None for scan in scans) or len(scans) != observation.batch:
        return observation
    measured = list(observation.scans) if len(observation.scans) == observation.batch else [None] * observation.batch
    missing = np.array([scan is None for scan in measured])
    if not missing.any():
        return observation
    poses = observation.pose if observation.scan_poses is None else observation.scan_poses
    return replace(
        observation,
        scans=tuple(scans[row] if missing[row] else scan for row, scan in enumerate(measured)),
        scan_poses=np.where(missing[:, None], observation.pose, poses).astype(np.float32),
    )
