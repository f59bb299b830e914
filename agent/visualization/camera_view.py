"""What the camera saw, enlarged with its pixels left as they are."""

from __future__ import annotations

import cv2
import numpy as np

from objective_agent.visualization import style, text
from objective_agent.visualization.recording import Recording
from objective_agent.visualization.style import bgr


def draw_camera(recording: Recording, time: float, size: tuple[int, int]) -> np.ndarray:
    """The newest camera frame at `time` fitted into `size` (width, height): [height, width, 3] BGR; grey when there is none."""
    width, height = size
    panel = np.full((height, width, 3), 225, np.uint8)
    picture = recording.image.at(time, 1.0)
    if picture is None:
        text.put(panel, "no camera image", (width // 2, height // 2 - 10), 15, bgr(style.SOFT_INK), align="centre")
        return panel
    scale = min(width / picture.shape[1], height / picture.shape[0])
    fitted = (max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale)))
    enlarged = cv2.resize(picture[..., ::-1], fitted, interpolation=cv2.INTER_NEAREST if scale > 1 else cv2.INTER_AREA)
    left, top = (width - fitted[0]) // 2, (height - fitted[1]) // 2
    panel[top : top + fitted[1], left : left + fitted[0]] = enlarged
    return panel
