"""A decoder trained APART, for looking only: representation -> a small camera picture.

A joint-embedding architecture reconstructs nothing, so what a representation holds can't be seen.  This network shows people a
part of it: after the world model is finished, it learns to draw the recorded frame from the frozen representation.  No gradient
reaches the encoder, and nothing that plans, drives or trains the world model may load it (DESIGN, rule 7; a test watches this).
What the representation doesn't hold comes out as the average of what it could be: blur is the honest answer.

    image = mean image + deconvolutions(z)          loss: mean squared error over the pixels

It stands in the model's folder as `decoder.safetensors` (16 bit floats) with a card of its own, `decoder.yaml`, which names the
encoder that it belongs to.
"""

from __future__ import annotations

import copy
import hashlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from pydantic import Field
from torch import Tensor, nn

from objective_agent import weights
from objective_agent.config import Strict, validate
from objective_agent.learning.batches import Hiding, frame_inputs, generator, hide
from objective_agent.learning.card import code_version
from objective_agent.learning.checkpoint import write_bytes, write_weights
from objective_agent.learning.windows import Sequences
from objective_agent.perception.jepa_network import EncoderNetwork
from objective_agent.types import ConfigurationError, InputError

CARD, PART = "decoder.yaml", "decoder"
REMEDY = "make it: objective-agent imagine --train-decoder"

MOST_ROWS, MOST_HELD_OUT = 40_000, 2_000
"""A random part of larger data sets is enough, and fits into memory."""
CHUNK, BATCH = 256, 128
SENSES = Hiding(lidar=0.2, camera=0.2)
"""Some representations are made without lidar, some without camera: imagining may start from those too."""

Report = Callable[[str, float], None]
"""Told what is being done, and which share of it is over."""


class DecoderShape(Strict):
    """What the weights' shapes depend on; stored with them.  The picture has 8 * 2^n pixels a side, n = len(channels) - 1."""

    features: int = 128
    channels: tuple[int, ...] = Field((128, 64, 48), min_length=1)


class DecoderNetwork(nn.Module):
    """`forward(representation [n, D])` -> pictures [n, S, S, 3], 0 ... 1 where it is sure of itself, not clipped."""

    def __init__(self, shape: DecoderShape):
        super().__init__()
        self.shape = shape
        first, *later = shape.channels
        layers: list[nn.Module] = [nn.Linear(shape.features, first * 16), nn.Unflatten(1, (first, 4, 4)), nn.ReLU()]
        for inputs, outputs in zip(shape.channels, [*later, 3], strict=True):
            layers += [nn.ConvTranspose2d(inputs, outputs, 4, 2, 1), nn.ReLU()]
        self.layers = nn.Sequential(*layers[:-1])
        size = 4 * 2 ** len(shape.channels)
        self.register_buffer("mean", torch.zeros(size, size, 3))

    @property
    def size(self) -> int:
        """Pixels a side."""
        return len(self.mean)

    def forward(self, representation: Tensor) -> Tensor:
        return self.mean + self.layers(representation).permute(0, 2, 3, 1)

    @torch.no_grad()
    def pictures(self, representation: Tensor) -> np.ndarray:
        """[n, S, S, 3] uint8 of representations [n, D]."""
        return (255 * self(representation)).round().clamp(0, 255).to(torch.uint8).numpy()


@dataclass(frozen=True)
class Pairs:
    """What a decoder learns from: frozen representations [n, D] and pictures [n, S, S, 3] uint8 of the same moments."""

    representations: Tensor
    pictures: Tensor

    def __len__(self) -> int:
        return len(self.pictures)


@torch.no_grad()
def representations(encoder: EncoderNetwork, data: Sequences, rows: np.ndarray, hiding: Hiding | None = None) -> Tensor:
    """Representations [n, D] of the observations in `rows`, without gradients; `hiding` hides some of their senses."""
    frames, _ = frame_inputs(data, rows)
    if hiding is not None:
        hide(frames, len(rows), hiding, generator(0, "decoder", int(rows[0])))
    return encoder.eval()(frames)


def pairs(
    encoder: EncoderNetwork, data: Sequences, rows: np.ndarray, size: int, hiding: Hiding | None, report: Report
) -> Pairs:
    """The pairs of the observations in `rows`; their pictures are averaged to `size` pixels a side."""
    found, pictures = [], []
    for begin in range(0, len(rows), CHUNK):
        some = rows[begin : begin + CHUNK]
        found.append(representations(encoder, data, some, hiding))
        pictures += [cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA) for image in data.take("image", some)]
        report("representations", min(begin + CHUNK, len(rows)) / len(rows))
    return Pairs(torch.cat(found), torch.from_numpy(np.stack(pictures)))


def division(data: Sequences, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(rows to learn from, rows held out): moments with a picture, in the data set's training worlds and in its other ones."""
    with_image = np.flatnonzero(np.asarray(data.columns["has_image"]))
    if len(with_image) < 2:
        raise InputError(f"{data.path}: holds no camera images; a decoder needs recordings with a camera")
    training = np.isin(data.world[with_image], data.worlds("train"))
    learn, held = with_image[training], with_image[~training]
    if not len(learn) or not len(held):
        cut = max(1, int(0.9 * len(with_image)))
        learn, held = with_image[:cut], with_image[cut:]
    random = generator(seed, "decoder", "rows")
    return tuple(
        np.sort(random.choice(rows, most, replace=False)) if len(rows) > most else rows
        for rows, most in ((learn, MOST_ROWS), (held, MOST_HELD_OUT))
    )


def train_decoder(
    encoder: EncoderNetwork,
    data: Sequences,
    minutes: float = 2.0,
    batches: int | None = None,
    seed: int = 0,
    channels: tuple[int, ...] = (128, 64, 48),
    report: Report = lambda doing, share: None,
) -> tuple[DecoderNetwork, dict[str, Any]]:
    """(a trained decoder, what it is worth) after `minutes`, or after `batches` (repeatable).  InputError without images.

    `rms_error` and `rms_error_mean_image` are in grey levels (0 ... 255), over homes that the decoder has not seen.
    """
    learn, held = division(data, seed)
    torch.manual_seed(seed)
    network = DecoderNetwork(DecoderShape(features=encoder.shape.features, channels=channels))
    known = pairs(encoder, data, learn, network.size, SENSES, report)
    unknown = pairs(encoder, data, held, network.size, None, lambda doing, share: None)
    network.mean.copy_(known.pictures.float().mean(0) / 255)
    done = _fit(network, known, minutes, batches, seed, report)
    return network.eval(), {
        "batches": done,
        "rows": len(known),
        "held_out": {
            "rows": len(unknown),
            "worlds": len(np.unique(data.world[held])),
            "rms_error": round(rms_error(network(unknown.representations), unknown.pictures), 2),
            "rms_error_mean_image": round(rms_error(network.mean[None], unknown.pictures), 2),
        },
    }


def _fit(network: DecoderNetwork, known: Pairs, minutes: float, batches: int | None, seed: int, report: Report) -> int:
    """Trains in place with a cosine schedule; returns the number of batches."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=1e-3)
    random = generator(seed, "decoder", "batches")
    begun, done, share = time.perf_counter(), 0, 0.0
    network.train()
    while share < 1:
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))
        chosen = torch.from_numpy(random.integers(len(known), size=BATCH))
        target = known.pictures[chosen].float() / 255
        loss = ((network(known.representations[chosen]) - target) ** 2).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        done += 1
        share = done / batches if batches else (time.perf_counter() - begun) / (60 * minutes)
        report("decoder", min(share, 1.0))
    return done


@torch.no_grad()
def rms_error(pictures: Tensor, found: Tensor) -> float:
    """Root mean square error of `pictures` [n, S, S, 3] (0 ... 1) against `found` (uint8), in grey levels."""
    return 255 * float(((pictures.clamp(0, 1) - found.float() / 255) ** 2).mean().sqrt())


def save_decoder(folder: Path, network: DecoderNetwork, encoder: str, about: dict[str, Any]) -> dict[str, Any]:
    """Writes weights and, last, the card made of `about`; `encoder` is the sha256 of the encoder.  Returns the card."""
    data = write_weights(folder / f"{PART}.safetensors", copy.deepcopy(network).half(), network.shape.model_dump())
    card = {"note": "draws what a representation holds, for people to look at; planning never loads it", "encoder": encoder}
    card |= {"code": code_version(), **about, "sha256": {PART: hashlib.sha256(data).hexdigest()}}
    write_bytes(folder / CARD, yaml.safe_dump(card, sort_keys=False, allow_unicode=True, width=120).encode())
    return card


def load_decoder(folder: Path, encoder: str) -> DecoderNetwork:
    """The decoder of the model in `folder` whose encoder has the sha256 `encoder`.

    ConfigurationError with one line when there is none, when it is damaged, or when it belongs to another encoder.
    """
    try:
        card = yaml.safe_load((folder / CARD).read_text(encoding="utf-8"))
        belongs, known = card["encoder"], {"sha256": dict(card["sha256"])}
    except FileNotFoundError:
        raise ConfigurationError(f"{folder}: has no decoder; {REMEDY}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
        raise ConfigurationError(f"{folder / CARD}: is damaged; {REMEDY}") from None
    if belongs != encoder:
        raise ConfigurationError(f"{folder / CARD}: is the decoder of another encoder ({str(belongs)[:12]}); {REMEDY}")
    try:
        arrays, settings, _ = weights.read_weights(folder, PART, known)
        network = DecoderNetwork(validate(DecoderShape, settings, str(folder / PART)))
        weights.load_into(network, arrays, str(folder / PART))
    except ConfigurationError as error:
        raise ConfigurationError(f"{str(error).removesuffix(weights.REMEDY).rstrip('; ')}; {REMEDY}") from None
    return network.eval()
