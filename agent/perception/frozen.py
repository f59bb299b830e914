"""Pretrained encoders from a local file, for world models that train a predictor on top and nothing else.

DINO-WM's design (Zhou et al. 2024, arXiv 2411.04983): the patch tokens of a frozen encoder are the representation.  Two kinds
of file are read, neither can run code:

    FILE.safetensors   a vision transformer with timm's parameter names (`timm.create_model(...)`, `safetensors.save_file(
                       model.state_dict(), FILE)`, or the `model.safetensors` of a timm model): ViT, DeiT, DINO, DINOv2
    FILE.onnx          any encoder with one input [n, 3, h, w] (normalised by `mean` and `std`) and an output
                       [n, tokens, features] or [n, features, h', w']; runs in onnxruntime

What the file holds becomes part of the model's own weights (an ONNX graph as a vector of bytes), with their sha256.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from objective_agent import weights
from objective_agent.config import Strict
from objective_agent.perception.vision_transformer import VisionTransformer, VisionTransformerShape
from objective_agent.types import ConfigurationError, InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class FrozenShape(Strict):
    """Which pretrained encoder; all but the first five fields are found out from the file and stored with the weights."""

    source: str = Field(min_length=1, description="FILE.onnx, or FILE.safetensors with timm's names")
    size: int = Field(
        0, ge=0, le=1024, description="pictures are scaled to size x size; 0: 8 x 8 patches, or the graph's own size"
    )
    heads: int = Field(
        0, ge=0, le=64, description="attention heads (safetensors); 0: one for each 64 features, as all ViTs have"
    )
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    skip: int = Field(
        -1, ge=-1, le=64, description="leading tokens that are no patches (onnx); -1: what exceeds a square number"
    )
    features: int = 0
    tokens: int = 0
    graph_bytes: int = 0
    body: VisionTransformerShape | None = None


def load_backbone(shape: FrozenShape) -> tuple[nn.Module, FrozenShape]:
    """(network, complete shape).  A shape that is complete already gives a network to load stored weights into.

    ConfigurationError when the file is missing or holds no such encoder.
    """
    if shape.graph_bytes:
        return OnnxBackbone(torch.zeros(shape.graph_bytes, dtype=torch.uint8), shape.skip), shape
    if shape.body is not None:
        return VisionTransformer(shape.body), shape
    path = Path(shape.source)
    if not path.is_file():
        raise ConfigurationError(f"encoder: frozen.source {path}: no such file; give a local .onnx or .safetensors file")
    if path.suffix == ".onnx":
        return _from_onnx(path, shape)
    if path.suffix == ".safetensors":
        return _from_safetensors(path, shape)
    raise ConfigurationError(f"encoder: frozen.source {path}: give a .onnx or .safetensors file")


class OnnxBackbone(nn.Module):
    """An ONNX graph as a module: `forward(pictures [n, 3, h, w])` -> patch tokens [n, T, F].  The graph is a buffer."""

    def __init__(self, graph: Tensor, skip: int):
        super().__init__()
        self.register_buffer("graph", graph)
        self.skip = skip
        self._session: Any = None

    def session(self) -> Any:
        if self._session is None:
            data = self.graph.cpu().numpy().tobytes()
            self._session = weights.onnx_session(data, "encoder", torch.get_num_threads())
        return self._session

    def forward(self, pictures: Tensor) -> Tensor:
        session = self.session()
        entry = session.get_inputs()[0]
        together = not isinstance(entry.shape[0], int)
        parts = [pictures] if together else pictures.split(entry.shape[0])
        found = [session.run(None, {entry.name: part.detach().cpu().numpy().astype(np.float32)})[0] for part in parts]
        tokens = torch.from_numpy(np.concatenate(found)).to(pictures.device).float()
        tokens = tokens.flatten(2).transpose(1, 2) if tokens.ndim == 4 else tokens
        return tokens[:, self.skip :].contiguous()

    def _load_from_state_dict(self, *args, **kwargs):
        self._session = None  # another graph
        return super()._load_from_state_dict(*args, **kwargs)


def _from_onnx(path: Path, shape: FrozenShape) -> tuple[nn.Module, FrozenShape]:
    graph = torch.from_numpy(np.fromfile(path, np.uint8))
    body = OnnxBackbone(graph, 0)
    wanted = body.session().get_inputs()[0].shape
    if len(wanted) != 4:
        raise ConfigurationError(f"{path}: its input is {wanted}; a frozen encoder takes pictures [n, 3, h, w]")
    size = shape.size or (wanted[2] if isinstance(wanted[2], int) else 112)
    try:
        found = body(torch.zeros(1, 3, size, size))
    except Exception as error:
        raise ConfigurationError(f"{path}: can't encode a picture: {' '.join(str(error).split())[:200]}") from None
    if found.ndim != 3:
        raise ConfigurationError(f"{path}: its output has {found.ndim} axes; needed is [n, tokens, features]")
    skip = shape.skip if shape.skip >= 0 else found.shape[1] - math.isqrt(found.shape[1]) ** 2
    body.skip = skip
    about = {"source": path.name, "size": size, "skip": skip, "graph_bytes": len(graph)}
    return body, shape.model_copy(update={**about, "features": found.shape[2], "tokens": found.shape[1] - skip})


def _from_safetensors(path: Path, shape: FrozenShape) -> tuple[nn.Module, FrozenShape]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        arrays = load_file(path)
        weight, positions = arrays["patch_embed.proj.weight"], arrays["pos_embed"]
        dim, patch = weight.shape[0], weight.shape[-1]
        registers = arrays["reg_token"].shape[1] if "reg_token" in arrays else 0
        trained, own = _grid(positions.shape[1], int("cls_token" in arrays) + registers)
        size = shape.size or 8 * patch
        body = VisionTransformerShape(
            dim=dim,
            depth=1 + max(int(name.split(".")[1]) for name in arrays if name.startswith("blocks.")),
            heads=shape.heads or max(1, dim // 64),
            patch=patch,
            grid=size // patch,
            hidden=arrays["blocks.0.mlp.fc1.weight"].shape[0],
            class_token="cls_token" in arrays,
            registers=registers,
            position_prefix=own > 0,
            scaled="blocks.0.ls1.gamma" in arrays,
        )
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ConfigurationError(f"{path}: holds no vision transformer with timm's names ({error})") from None
    if size % patch:
        raise InputError(f"encoder: frozen.size = {size} is no multiple of the encoder's patch of {patch}")
    network = VisionTransformer(body)
    arrays["pos_embed"] = _resized(positions, trained, body.grid, own)
    known = network.state_dict()
    missing = sorted(known.keys() - arrays.keys())
    foreign = sorted(name for name in arrays.keys() - known.keys() if not name.startswith(("head", "fc_norm", "mask_token")))
    if missing or foreign:
        about = ", ".join([*missing[:3], *foreign[:3]])
        raise ConfigurationError(f"{path}: is another kind of transformer than timm's plain ViT (differs in {about})")
    network.load_state_dict({name: arrays[name].float() for name in known})
    about = {"source": path.name, "size": size, "features": dim, "tokens": body.grid**2, "body": body}
    return network, shape.model_copy(update=about)


def _grid(positions: int, prefix: int) -> tuple[int, int]:
    """(patches along a side in pretraining, how many positions stand before those of the patches)."""
    for before in (prefix, 0):
        side = math.isqrt(positions - before)
        if side**2 == positions - before:
            return side, before
    raise ValueError(f"{positions} positions are no square grid")


def _resized(positions: Tensor, trained: int, grid: int, before: int) -> Tensor:
    """Positions learned on one grid, for another (bicubic, as DINO does)."""
    if trained == grid:
        return positions
    table = positions[:, before:].float().view(1, trained, trained, -1).permute(0, 3, 1, 2)
    table = functional.interpolate(table, (grid, grid), mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([positions[:, :before].float(), table.flatten(2).transpose(1, 2)], 1)
