"""Camera frames of any size as the one size that learned encoders see."""

from __future__ import annotations

import cv2
import numpy as np

from objective_agent.types import InputError, Observation

SIZE = 64


def canonical_image(rgb: np.ndarray, size: int = SIZE) -> np.ndarray:
    """[size, size, 3] uint8 from a frame [height, width, 3] uint8: the whole view, averaged; InputError for other arrays."""
    if np.ndim(rgb) != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or 0 in rgb.shape:
        raise InputError(f"image: shape {np.shape(rgb)}; give [height, width, 3] uint8")
    if rgb.shape[:2] == (size, size):
        return np.ascontiguousarray(rgb)
    return cv2.resize(rgb, (size, size), interpolation=cv2.INTER_AREA)


def observed_pictures(observation: Observation, size: int = SIZE) -> np.ndarray:
    """[B, size, size, 3] uint8: one picture of any size per problem, as a network of frames sees it."""
    images, batch = observation.images, observation.batch
    if images is None:
        raise InputError("observation: has no images; a model of frames sees nothing else")
    if len(images) != batch:
        raise InputError(f"observation: {len(images)} images for {batch} problems; give one each")
    return np.stack([canonical_image(np.asarray(rgb), size) for rgb in images])
