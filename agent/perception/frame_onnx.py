"""Encoder "frame_onnx": the same as "frame_jepa", exported, in onnxruntime and without torch.

`objective-agent export` writes the graph and checks it against the network.  Its representations are the network's, so they
carry the network's name: either runtime may serve the other's world model and goals.
"""

from __future__ import annotations

from pydantic import Field

from objective_agent import weights
from objective_agent.config import RobotParameters, Strict
from objective_agent.perception.image import observed_pictures
from objective_agent.types import Observation, Representation


class FrameOnnxEncoder:
    """Pictures -> tokens [B, T, D] (NumPy)."""

    class Config(Strict):
        model: str = Field("models/two_room", min_length=1, description="folder of the trained and exported model")
        threads: int = Field(1, ge=1, le=256, description="threads of onnxruntime")

    sees_images = True

    def __init__(self, config: Config, robot: RobotParameters):
        folder = weights.find_model(config.model)
        card = weights.read_card(folder, kind=weights.FRAMES)
        graph, about = weights.read_graph(folder, "encoder", card)
        self._session = weights.onnx_session(graph, f"{folder}/encoder.onnx", config.threads)
        self.model = str(card["sha256"]["encoder"])
        shape = about["shape"]
        self.tokens, self.dynamic, self.features = shape["tokens"], shape["dynamic"], shape["features"]
        self._size = shape["size"]

    def encode(self, observation: Observation) -> Representation:
        """Tokens [B, T, D].  InputError without pictures, or for arrays that are none."""
        tokens = self._session.run(None, {"images": observed_pictures(observation, self._size)})[0]
        return Representation(observation.stamp, tokens, self.model, senses=(("camera",),) * len(tokens))
