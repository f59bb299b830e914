"""What `config/train_TASK.yaml` holds for a task with images."""

from __future__ import annotations

from pydantic import Field, model_validator

from objective_agent.config import NonNegative, PluginSpec, Strict
from objective_agent.learning.frames.reachability import FrameReachabilityConfig
from objective_agent.learning.loop import ScheduleConfig
from objective_agent.perception.frame_network import FrameEncoderShape
from objective_agent.world_model.frame_network import FramePredictorShape


class FrameLossWeights(Strict):
    """Weights in the sum; the regularizer brings its own."""

    latent: NonNegative = Field(1.0, description="squared error of rollouts in representation space")
    inverse: NonNegative = Field(1.0, description="the action from the representations around it")
    similarity: NonNegative = Field(0.0, description="neighbours in time lie near each other")
    divergence: NonNegative = Field(0.01, description="of the latent variable, where the predictor has one")


class SceneConfig(Strict):
    """The stage in which the scene is learned, on frozen representations of the agent (encoder `cnn_map`)."""

    layouts: int = Field(32, ge=1, le=1024, description="layouts per step; the map of each is encoded once")
    sequences: int = Field(4, ge=1, le=256, description="windows of each layout per step")
    surprising: float = Field(0.6, ge=0, le=1, description="share of the windows drawn by a mapless model's surprise")
    value: NonNegative = Field(0.1, description="weight of the reachability's loss")
    goals: int = Field(12, ge=1, le=256, description="goals of each layout per step, for the reachability")


class Shares(Strict):
    """How the length of a training is divided; only the ratios count."""

    represent: NonNegative = Field(0.75, description="encoder and predictor (of the agent alone, where there is a map)")
    scene: NonNegative = Field(0.5, description="map, predictor and reachability; only where there is a map")
    reach: NonNegative = Field(0.25, description="reachability on frozen representations; 0: none")


class FrameTrainingConfig(ScheduleConfig):
    """Networks, losses, and how long which of them learn."""

    batch: int = Field(32, ge=2, le=4096, description="windows per step, of different layouts as far as there are")
    horizon: int = Field(8, ge=1, le=50, description="steps of a rollout in training")
    more_frames: int = Field(0, ge=0, le=64, description="further frames of each window's layout, for the regularizer")
    weight_decay: NonNegative = 1e-4
    report_steps: int = Field(100, ge=1, description="steps between looks at the held-out windows")
    encoder: FrameEncoderShape = FrameEncoderShape()
    predictor: FramePredictorShape = Field(
        FramePredictorShape(), description="its features, tokens, dynamic and actions follow from encoder and data"
    )
    regularizer: PluginSpec = Field(default_factory=lambda: PluginSpec(plugin="vicreg"), description="plugin and its settings")
    losses: FrameLossWeights = FrameLossWeights()
    shares: Shares = Shares()
    scene: SceneConfig = SceneConfig()
    reachability: FrameReachabilityConfig = Field(
        FrameReachabilityConfig(), description="its length follows from shares.reach, not from its minutes or steps"
    )
    probes: int = Field(4000, ge=100, description="frames from which probes are fitted at the end")

    @model_validator(mode="after")
    def _something_learns(self):
        if not self.shares.represent:
            raise ValueError("shares.represent must be above 0: nothing else makes representations and their predictor")
        return self
