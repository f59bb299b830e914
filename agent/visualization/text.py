"""Crisp text on images: TrueType letters (DejaVu, which matplotlib ships) laid over BGR pictures.

OpenCV's own letters are strokes and hard to read when small.  Words repeat from frame to frame, so each rendered word is kept.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import numpy as np

Colour = tuple[int, int, int]


@lru_cache(maxsize=32)
def _font(size: int, bold: bool, mono: bool):
    import matplotlib
    from PIL import ImageFont

    name = f"DejaVuSans{'Mono' if mono else ''}{'-Bold' if bold else ''}.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


@lru_cache(maxsize=4096)
def _mask(words: str, size: int, bold: bool, mono: bool) -> np.ndarray:
    """Coverage [h, w] in 0..1 of a line of text; h depends on the size alone, so that lines share a baseline."""
    from PIL import Image, ImageDraw

    font = _font(size, bold, mono)
    ascent, descent = font.getmetrics()
    canvas = Image.new("L", (max(1, int(font.getlength(words)) + 2), ascent + descent), 0)
    ImageDraw.Draw(canvas).text((0, 0), words, font=font, fill=255)
    return np.asarray(canvas, np.float32) / 255


def width(words: str, size: int, bold: bool = False, mono: bool = False) -> int:
    """Pixels that `words` take."""
    return _mask(words, size, bold, mono).shape[1]


def shorten(words: str, size: int, room: int, bold: bool = False) -> str:
    """`words` cut with an ellipsis so that they fit into `room` pixels."""
    if width(words, size, bold) <= room:
        return words
    while words and width(words + "…", size, bold) > room:
        words = words[:-1]
    return words.rstrip() + "…"


def put(
    image: np.ndarray,
    words: str,
    at: tuple[int, int],
    size: int = 16,
    colour: Colour = (40, 40, 40),
    bold: bool = False,
    mono: bool = False,
    align: str = "left",
) -> int:
    """Writes `words` into `image` [h, w, 3] in place, `at` = (x, y) of the upper left (or upper centre, right) corner.

    Returns the x just behind the text.  What lies outside the picture is cut off.
    """
    mask = _mask(str(words), size, bold, mono)
    height, length = mask.shape
    x = at[0] - {"left": 0, "centre": length // 2, "right": length}[align]
    y = at[1]
    left, top = max(x, 0), max(y, 0)
    right, bottom = min(x + length, image.shape[1]), min(y + height, image.shape[0])
    if left < right and top < bottom:
        part = mask[top - y : bottom - y, left - x : right - x, None]
        patch = image[top:bottom, left:right]
        patch[:] = (patch * (1 - part) + np.asarray(colour, np.float32) * part).astype(np.uint8)
    return x + length
