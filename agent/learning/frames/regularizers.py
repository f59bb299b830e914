"""What keeps representations of images from collapsing, by name: prediction alone is easiest when all frames look alike.

    vicreg   features vary over the batch and none repeats another (Bardes, Ponce & LeCun 2022, arXiv 2105.04906); with
             `within_layout` after the mean of each layout is taken away, so that a constant scene can't satisfy it
    sigreg   every projection of the batch is a standard normal (Balestriero & LeCun 2025, arXiv 2511.08544)
    ema      a slow copy of the encoder says what to predict, from the whole clip; the encoder sees it masked (distillation.py)
    none     nothing: for a frozen encoder, and to see what happens without

A regularizer is a plugin (kind `regularizer`): a subclass of `Regularizer` with a `Config`.  One training step is

    seen      = regularizer.view(images, random)               # what the encoder may see of the clips
    encoded   = encode_clips(encoder, seen)                    # [B, F, T, D]
    targets   = regularizer.targets(images, encoded)           # what the predictor must predict
    loss      = latent loss of the predictor's rollouts against `targets`
                + regularizer.penalty(encoded, targets, layouts, random) + auxiliary terms
    ...optimizer.step()...
    regularizer.update(encoder, share)                         # after every step

Its parameters train with the model's, its state belongs into checkpoints, and it is no part of the finished model.
"""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from objective_agent import devices, plugins
from objective_agent.config import NonNegative, PluginSpec, Strict
from objective_agent.learning import regularizers


class Regularizer(nn.Module):
    """Base of all; as it is, it does nothing.  Images are [B, F, h, w, 3] uint8, representations [B, F, T, D]."""

    class Config(Strict):
        pass

    batch_norm = False
    """Whether the encoder must end in a batch normalisation: it then belongs into the encoder's shape."""

    def __init__(self, config: Strict, encoder: nn.Module):
        super().__init__()
        self.config = config

    @property
    def leaves_images(self) -> bool:
        """Whether encodings of the whole images are all that it needs."""
        return type(self).view is Regularizer.view and type(self).targets is Regularizer.targets

    def view(self, images: Tensor, random: torch.Generator) -> Tensor:
        """What the encoder that learns may see of `images`."""
        return images

    def targets(self, images: Tensor, encoded: Tensor) -> Tensor:
        """What predictions of `images` are compared with; by default `encoded` itself, and both sides learn."""
        return encoded

    def penalty(self, encoded: Tensor, targets: Tensor, layouts: Tensor | None, random: torch.Generator) -> Tensor:
        """A scalar to add to the loss.  `layouts` [B]: which scene each clip is from (None: every clip has its own)."""
        return encoded.sum() * 0.0

    def update(self, encoder: nn.Module, share: float) -> None:
        """After an optimizer step; `share` of the training is done."""


class Nothing(Regularizer):
    """Plugin `none`."""


class Vicreg(Regularizer):
    """Plugin `vicreg`: variance hinge + covariance; the invariance term is the latent loss itself.

    `within_layout`: each layout's mean is taken away first.  With random layouts, variance and covariance are otherwise met by
    what is constant in a layout, and the representation says nothing of what moves, with variance and rank looking healthy.
    """

    class Config(Strict):
        variance: NonNegative = Field(1.0, description="weight of the hinge at standard deviation 1")
        covariance: NonNegative = Field(0.04, description="weight of the squared covariances")
        within_layout: bool = Field(False, description="whether each layout's mean is taken away first")

    def penalty(self, encoded, targets, layouts, random):
        if not self.config.within_layout:
            layouts = torch.zeros(len(encoded), dtype=torch.int64)
        elif layouts is None:
            layouts = torch.arange(len(encoded))
        variance, redundancy = regularizers.vicreg(centred(encoded, layouts))
        return self.config.variance * variance + self.config.covariance * redundancy


class Sigreg(Regularizer):
    """Plugin `sigreg`: one weight, no target network; long trainings collapse without the encoder's batch normalisation."""

    class Config(Strict):
        weight: NonNegative = Field(0.1, description="weight, of the statistic of as many samples as there are clips")

    batch_norm = True

    def penalty(self, encoded, targets, layouts, random):
        flat = encoded.flatten(0, -2)
        return self.config.weight * regularizers.sigreg(flat, random) * len(encoded) / len(flat)


def make_regularizer(name: str, encoder: nn.Module, **settings: Any) -> Regularizer:
    """The regularizer called `name` for `encoder`.  ConfigurationError for an unknown name or setting."""
    spec = PluginSpec(plugin=name, **settings)
    return plugins.resolve("regularizer", name)(plugins.check("regularizer", spec), encoder)


def encode_clips(encoder: nn.Module, images: Tensor) -> Tensor:
    """Representations [B, F, T, D] of clips [B, F, h, w, 3] uint8."""
    encoded = encoder(images.flatten(0, 1))
    return encoded.view(*images.shape[:2], *encoded.shape[1:])


def centred(encoded: Tensor, layouts: Tensor) -> Tensor:
    """`encoded` [B, F, T, D] less the mean of each layout and token over its clips and frames, as [n, D].

    Each token by itself: what tells one patch's place from another's would otherwise count as variance.  Scaled so that its
    variance estimates the variance within a layout: each mean that is taken away costs a sample.
    """
    clips, frames, tokens, size = encoded.shape
    _, group = torch.unique(layouts, return_inverse=True)  # where the layouts are, a CPU: no GPU is waited for
    count = int(group.max()) + 1
    sizes = devices.move(torch.bincount(group, minlength=count), encoded.device)
    group = devices.move(group, encoded.device)
    sums = encoded.new_zeros(count, tokens, size).index_add(0, group, encoded.sum(1))
    means = sums / (frames * sizes[:, None, None])
    flat = (encoded - means[group][:, None]).flatten(0, 2)
    return flat * (clips * frames / max(1, clips * frames - count)) ** 0.5
