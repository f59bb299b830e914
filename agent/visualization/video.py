"""H.264 video files: raw frames piped into the ffmpeg binary that imageio-ffmpeg brings, so no system package is needed."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from objective_agent.types import ObjectiveAgentError


class VideoError(ObjectiveAgentError):
    """The video could not be written."""


class VideoWriter:
    """Writes BGR frames [height, width, 3] (uint8, even sizes) as an MP4 that browsers play.

    The file appears under its name only when it is complete; after an error or inside-the-block exception nothing is left.
    """

    def __init__(self, path: str | Path, size: tuple[int, int], fps: float = 10.0, quality: int = 21, preset: str = "veryfast"):
        self.path = Path(path)
        self.size = size
        self.frames = 0
        self._partial = self.path.with_name(f".{self.path.stem}.partial{self.path.suffix}")
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the writer)
        width, height = size
        command = [_ffmpeg(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{width}x{height}"]
        command += ["-r", f"{fps:g}", "-i", "-", "-an", "-c:v", "libx264", "-preset", preset, "-crf", str(quality)]
        command += ["-pix_fmt", "yuv420p", "-movflags", "+faststart", str(self._partial)]
        # Its own session: a Ctrl-C in the terminal must reach us alone, so that we can close the file or remove it.
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._log, start_new_session=True
        )

    def add(self, frame: np.ndarray) -> None:
        """Appends a frame; VideoError when its size is wrong or ffmpeg has failed."""
        if frame.shape != (self.size[1], self.size[0], 3) or frame.dtype != np.uint8:
            raise VideoError(f"{self.path}: frame {frame.shape} {frame.dtype}; needs ({self.size[1]}, {self.size[0]}, 3) uint8")
        try:
            self._process.stdin.write(np.ascontiguousarray(frame).data)
        except OSError:
            self._fail()
        self.frames += 1

    def close(self) -> Path:
        """Finishes the file and returns its path."""
        self._process.stdin.close()
        if self._process.wait() != 0:
            self._fail()
        self._partial.replace(self.path)
        self._log.close()
        return self.path

    def abort(self) -> None:
        """Stops ffmpeg and removes what was written so far."""
        self._process.kill()
        self._process.wait()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._log.close()
        self._partial.unlink(missing_ok=True)

    def __enter__(self) -> VideoWriter:
        return self

    def __exit__(self, kind, error, trace) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _fail(self) -> None:
        self._process.wait()
        self._log.seek(0)
        words = self._log.read().decode(errors="replace").strip().splitlines()
        self._partial.unlink(missing_ok=True)
        raise VideoError(f"{self.path}: ffmpeg failed: {words[-1] if words else 'no reason given'}")


def _ffmpeg() -> str:
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise VideoError(
            f"no ffmpeg to write the video with ({error}); pip install imageio-ffmpeg, or leave the video out"
        ) from None
