"""Encoder networks for frames: pictures [n, 64, 64, 3] uint8 -> representations [n, T, D].

Perception's half of a joint-embedding predictive architecture (LeCun 2022, section 4.4) where a picture is all there is.  The
kinds differ in what a representation is:

    cnn        one vector: space-to-depth, three convolutions of stride 2 (ReLU, channels last: fastest on a CPU), two layers
    cnn_map    T = 1 + 64: one small token for what moves (the agent), and a map of 8 x 8 tokens for what stays (the scene); two
               trunks, because the two are learned from different losses
    vit        patch tokens of a small vision transformer (Dosovitskiy et al. 2021, arXiv 2010.11929), or its class token alone
    frozen     patch tokens of a pretrained encoder whose weights never change (DINO-WM, Zhou et al. 2024, arXiv 2411.04983)

`dynamic` leading tokens are what a predictor predicts; the others are the scene, which stays as it is for a whole plan.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from objective_agent.config import Strict
from objective_agent.perception.frozen import FrozenShape, OnnxBackbone, load_backbone
from objective_agent.perception.vision_transformer import VisionTransformer, VisionTransformerShape
from objective_agent.types import InputError

GRID = 8
"""The map of `cnn_map` has this many tokens along each side."""


class FrameEncoderShape(Strict):
    """What the weights' shapes depend on; stored with them."""

    kind: Literal["cnn", "cnn_map", "vit", "frozen"] = "cnn"
    features: int = Field(128, ge=2, le=4096, description="D; a frozen encoder brings its own")
    size: Literal[32, 64, 128] = Field(64, description="pictures are size x size")
    width: int = Field(32, ge=4, le=512, description="channels of the first convolution (cnn, cnn_map)")
    hidden: int = Field(256, ge=8, le=4096, description="width of the last hidden layer, or of the vision transformer")
    batch_norm: bool = Field(False, description="normalise the output over the batch: SIGReg needs it")
    patch: int = Field(8, ge=2, le=64, description="side of a patch (vit)")
    depth: int = Field(4, ge=1, le=48, description="blocks (vit)")
    heads: int = Field(4, ge=1, le=32, description="attention heads (vit)")
    pooled: bool = Field(False, description="the class token instead of the patch tokens: one vector (vit)")
    frozen: FrozenShape | None = Field(None, description="the pretrained encoder (frozen)")


class FrameEncoder(nn.Module):
    """`forward(images)`: [n, h, w, 3] uint8 -> [n, T, D] float32.  InputError for pictures of another size or kind."""

    tokens: int = 1
    dynamic: int = 1
    """How many leading tokens the predictor predicts; the others are the scene."""

    def __init__(self, shape: FrameEncoderShape):
        super().__init__()
        self.shape = shape
        self.norm = nn.BatchNorm1d(shape.features, momentum=0.05, affine=False) if shape.batch_norm else nn.Identity()

    @property
    def features(self) -> int:
        return self.shape.features

    def check(self, images: Tensor) -> Tensor:
        size = self.shape.size
        if images.ndim != 4 or tuple(images.shape[1:]) != (size, size, 3) or images.dtype != torch.uint8:
            raise InputError(
                f"images: shape {tuple(images.shape)} {str(images.dtype).removeprefix('torch.')}; the encoder takes "
                f"[n, {size}, {size}, 3] uint8"
            )
        return images

    def normalised(self, tokens: Tensor) -> Tensor:
        """[n, t, D] through the output's batch normalisation, where there is one."""
        return self.norm(tokens.flatten(0, 1)).view_as(tokens) if self.shape.batch_norm else tokens


class VectorEncoder(FrameEncoder):
    """Kind `cnn`: one vector."""

    def __init__(self, shape: FrameEncoderShape):
        super().__init__(shape)
        w, cells = shape.width, (shape.size // 16) ** 2
        self.trunk = nn.Sequential(*trunk(w), nn.Conv2d(2 * w, 4 * w, 3, 2, 1), nn.ReLU()).to(memory_format=torch.channels_last)
        self.head = head(4 * w * cells, shape.hidden, shape.features)

    def forward(self, images: Tensor) -> Tensor:
        return self.normalised(self.head(self.trunk(blocks(self.check(images))))[:, None])


class MapEncoder(FrameEncoder):
    """Kind `cnn_map`: token 0 the agent, 8 x 8 tokens of the scene (row by row, the picture's upper left first).

    The agent's part learns from what its representation must be (regularizer, inverse dynamics), the scene's only through the
    predictor and the value that read it: `agent_parameters` and `scene_parameters` are disjoint.
    """

    def __init__(self, shape: FrameEncoderShape):
        super().__init__(shape)
        w, side = shape.width, shape.size // 8
        self.tokens = 1 + GRID**2
        self.agent_trunk = trunk(w).to(memory_format=torch.channels_last)
        self.agent_head = nn.Sequential(
            nn.Conv2d(2 * w, 16, 1), nn.ReLU(), *head(16 * side**2, max(shape.hidden // 2, 8), shape.features)
        )
        self.scene_trunk = trunk(w).to(memory_format=torch.channels_last)
        self.scene_head = nn.Sequential(nn.Conv2d(2 * w, shape.features, 3, 1, 1), nn.AdaptiveAvgPool2d(GRID))
        if side == GRID:
            self.scene_head = self.scene_head[:1]

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat([self.agent(images), self.scene(images)], 1)

    def agent(self, images: Tensor) -> Tensor:
        """[n, 1, D]: what moves."""
        return self.normalised(self.agent_head(self.agent_trunk(blocks(self.check(images))))[:, None])

    def scene(self, images: Tensor) -> Tensor:
        """[n, 64, D]: what stays."""
        return self.scene_head(self.scene_trunk(blocks(self.check(images)))).flatten(2).transpose(1, 2)

    def agent_parameters(self) -> list[nn.Parameter]:
        return [*self.agent_trunk.parameters(), *self.agent_head.parameters()]

    def scene_parameters(self) -> list[nn.Parameter]:
        return [*self.scene_trunk.parameters(), *self.scene_head.parameters()]

    def begin_scene(self) -> None:
        """Lets the scene's trunk start from what the agent's has learned to see."""
        self.scene_trunk.load_state_dict(self.agent_trunk.state_dict())


class PatchEncoder(FrameEncoder):
    """Kind `vit`: all patch tokens, all of them predicted; or the class token alone (`pooled`)."""

    def __init__(self, shape: FrameEncoderShape):
        super().__init__(shape)
        if shape.size % shape.patch:
            raise InputError(f"encoder: patches of {shape.patch} do not tile pictures of {shape.size}; choose a divisor")
        if shape.hidden % shape.heads:
            raise InputError(f"encoder: {shape.heads} attention heads do not divide hidden = {shape.hidden}")
        self.tokens = self.dynamic = 1 if shape.pooled else (shape.size // shape.patch) ** 2
        self.body = VisionTransformer(
            VisionTransformerShape(
                dim=shape.hidden, depth=shape.depth, heads=shape.heads, patch=shape.patch, grid=shape.size // shape.patch
            )
        )
        self.head = nn.Linear(shape.hidden, shape.features)

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.body(pixels(self.check(images)))
        tokens = tokens[:, :1] if self.shape.pooled else tokens[:, self.body.prefix :]
        return self.normalised(self.head(tokens))


class FrozenEncoder(FrameEncoder):
    """Kind `frozen`: the patch tokens of a pretrained encoder.  Nothing here is ever trained.

    Its weights are part of this module's, so that a model folder is whole without the file they came from.
    """

    def __init__(self, shape: FrameEncoderShape):
        if shape.frozen is None:
            raise InputError("encoder: kind frozen needs `frozen: {source: FILE.onnx or FILE.safetensors}`")
        body, frozen = load_backbone(shape.frozen)
        super().__init__(shape.model_copy(update={"features": frozen.features, "frozen": frozen, "batch_norm": False}))
        self.body = body
        self.tokens = self.dynamic = frozen.tokens
        self.register_buffer("mean", torch.tensor(frozen.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(frozen.std).view(3, 1, 1), persistent=False)
        self.norm = nn.Identity()
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> FrozenEncoder:
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        size = self.shape.frozen.size
        pictures = (self.check(images).permute(0, 3, 1, 2).float() / 255 - self.mean) / self.std
        if pictures.shape[-1] != size:
            pictures = nn.functional.interpolate(pictures, (size, size), mode="bilinear", align_corners=False)
        tokens = self.body(pictures)
        return tokens if isinstance(self.body, OnnxBackbone) else tokens[:, self.body.prefix :]


KINDS: dict[str, type[FrameEncoder]] = {
    "cnn": VectorEncoder,
    "cnn_map": MapEncoder,
    "vit": PatchEncoder,
    "frozen": FrozenEncoder,
}


def build_encoder(shape: FrameEncoderShape) -> FrameEncoder:
    """The network for `shape`, with new weights (frozen: those of its file).  Its own `shape` is the one to store."""
    return KINDS[shape.kind](shape)


def pixels(images: Tensor) -> Tensor:
    """[n, h, w, 3] uint8 -> [n, 3, h, w] in [-1, 1]."""
    return images.permute(0, 3, 1, 2).float() / 127.5 - 1


def blocks(images: Tensor) -> Tensor:
    """[n, h, w, 3] uint8 -> [n, 12, h/2, w/2] in [-1, 1], channels last: each 2 x 2 pixels become channels.

    Nothing is computed on floats before the picture is a quarter of its size.
    """
    n, h, w, _ = images.shape
    packed = images.view(n, h // 2, 2, w // 2, 2, 3).permute(0, 1, 3, 2, 4, 5).reshape(n, h // 2, w // 2, 12)
    return packed.permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1


def trunk(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(12, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, 2 * width, 3, 2, 1), nn.ReLU())


def head(inputs: int, hidden: int, features: int) -> nn.Sequential:
    return nn.Sequential(nn.Flatten(), nn.Linear(inputs, hidden), nn.LayerNorm(hidden), nn.SiLU(), nn.Linear(hidden, features))
