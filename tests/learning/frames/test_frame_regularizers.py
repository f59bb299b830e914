"""One acceptance test for all regularizers, in a world whose state is known; without one, the collapse meter stops training."""

from __future__ import annotations

import functools

import pytest
import torch

from benchmarks.pushed_disc import Trained, collect
from objective_agent.learning.frames import auxiliary, masking
from objective_agent.learning.frames.collapse import Health
from objective_agent.learning.frames.regularizers import centred, encode_clips, make_regularizer
from objective_agent.learning.loop import CollapseError
from objective_agent.perception.frame_network import FrameEncoderShape, build_encoder
from objective_agent.types import ConfigurationError

LAYOUTS = 100
CASES = {
    "vicreg": {"name": "vicreg", "steps": 130},
    "vicreg, time similarity": {"name": "vicreg", "steps": 130, "similarity": 1.0},
    "sigreg": {"name": "sigreg", "steps": 130},
    "ema, tubes": {"name": "ema", "steps": 180, "momentum": 0.9},
    "ema, patches": {"name": "ema", "steps": 180, "momentum": 0.9, "masking": {"kind": "patches", "share": 0.3}},
}


@pytest.fixture(scope="module")
def plain():
    """(training, unseen) episodes on a plain floor."""
    return collect(200, 20, seed=0), collect(60, 20, seed=9)


@pytest.fixture(scope="module")
def train(plain):
    """`train(case)`: the model of that case, made once."""
    return functools.cache(lambda case: Trained(plain[0], **CASES[case]))


@pytest.fixture(scope="module")
def patterned():
    """(training, unseen) episodes, on backgrounds of which the unseen ones are new."""
    return collect(300, 20, seed=0, layouts=LAYOUTS), collect(60, 20, seed=9, layouts=60)


def random_numbers(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("case", CASES)
def test_what_is_learned_tells_the_state_and_predicts_it(plain, train, case):
    model = train(case)
    model.health(plain[1]).refuse(CASES[case]["steps"])
    worth = model.worth(*plain)
    assert worth["r2"] > 0.98, worth
    assert worth["one"] < 0.05 and worth["all"] < 0.1 < 0.3 < worth["still"], worth


def test_switched_off_all_images_come_to_look_alike(plain):
    model = Trained(plain[0], "none", steps=80, inverse=0.0)
    health = model.health(plain[1])
    assert health.rank > 10, "a shrunk representation keeps its rank: that alone is no meter"
    with pytest.raises(CollapseError, match="all images look alike"):
        health.refuse(80)


def test_self_distillation_collapses_without_batch_normalisation(plain):
    model = Trained(plain[0], "ema", steps=80, inverse=0.0, batch_norm=False)
    with pytest.raises(CollapseError):
        model.health(plain[1]).refuse(80)


def test_many_layouts_need_their_means_taken_away(patterned):
    """The layout satisfies variance, covariance and the latent loss; rank and spread look healthy, and nothing moves in it."""
    model = Trained(patterned[0], "vicreg", steps=220, within_layout=True)
    model.health(patterned[1]).refuse(220)
    assert model.worth(*patterned)["r2"] > 0.6
    model = Trained(patterned[0], "vicreg", steps=80)
    health = model.health(patterned[1])
    assert health.rank > 5 and health.std > 0.3
    with pytest.raises(CollapseError, match="nothing that moves is represented"):
        health.refuse(80)
    assert model.worth(*patterned)["r2"] < 0.2


def test_long_rollouts_in_training_make_long_predictions_better(plain, train):
    short = Trained(plain[0], **CASES["vicreg"], rollout=1)
    assert train("vicreg").worth(*plain)["all"] < 0.85 * short.worth(*plain)["all"]


def test_the_meter_goes_by_training_windows_when_new_ones_are_unknown():
    health = Health(rank=9.0, std=1.0, inverse=1.02)
    health.refuse(10, known=True)
    for broken in (health, Health(float("nan"), 1.0, 0.1), Health(9.0, float("nan"), 0.1), Health(9.0, 1.0, float("nan"))):
        with pytest.raises(CollapseError):
            broken.refuse(10)


def test_layouts_means_are_taken_away_token_by_token():
    layouts = torch.tensor([7, 7, 3, 3])
    noise = torch.randn(4, 9, 3, 5, generator=random_numbers())
    shifted = noise + 10 * torch.randn(8, 1, 3, 5, generator=random_numbers(1))[layouts]
    flat = centred(shifted, layouts)
    assert torch.allclose(flat, centred(noise, layouts), atol=1e-5)
    for tokens in flat.view(2, 18, 3, 5).mean(1):
        assert torch.allclose(tokens, torch.zeros(3, 5), atol=1e-5)
    few = torch.randn(400, 2, 1, 8, generator=random_numbers())
    assert centred(few, torch.arange(400)).var() == pytest.approx(1.0, abs=0.05), "two frames each: the variance is not halved"


def test_tubes_hide_the_same_in_all_frames_and_patches_do_not():
    images = torch.zeros(40, 5, 64, 64, 3, dtype=torch.uint8)
    for kind, still in (("tubes", True), ("patches", False)):
        settings = masking.Masking(kind=kind, share=0.5, blocks=2, area=0.1)
        hidden = masking.hide(images, settings, random_numbers())[..., 0] == masking.GREY
        touched = hidden.flatten(1).any(1)
        assert 8 < touched.sum() < 32
        assert bool((hidden == hidden[:, :1]).all()) == still
        assert 0.05 < hidden[touched].float().mean() < 0.25
        squares = hidden.unflatten(2, (8, 8)).unflatten(4, (8, 8)).float().mean((3, 5))
        assert set(squares.unique().tolist()) <= {0.0, 1.0}, "whole patches only"
    assert not images.any(), "the clips that were given stay"
    assert masking.hide(images, masking.Masking(kind="none"), random_numbers()) is images


def test_the_slow_copy_follows_and_gets_no_gradient():
    encoder = build_encoder(FrameEncoderShape(size=32, features=8, width=4, hidden=16, batch_norm=True))
    regularizer = make_regularizer("ema", encoder, momentum=0.5)
    images = torch.randint(0, 256, (4, 3, 32, 32, 3), generator=random_numbers()).to(torch.uint8)
    encoded = encode_clips(encoder, regularizer.view(images, random_numbers()))
    targets = regularizer.targets(images, encoded)
    assert not targets.requires_grad and encoded.requires_grad
    regularizer.penalty(encoded, targets, None, random_numbers()).backward()
    assert all(each.grad is None for each in regularizer.target.parameters())
    with torch.no_grad():
        for each in encoder.parameters():
            each += 1
    gaps = []
    for share in (0.0, 0.0, 1.0, 1.0):
        pairs = zip(encoder.parameters(), regularizer.target.parameters(), strict=True)
        gaps.append(torch.cat([(fast - slow).flatten() for fast, slow in pairs]).mean().item())
        regularizer.update(encoder, share)
    assert gaps == pytest.approx([1, 0.5, 0.25, 0.25], abs=1e-3)


def test_patch_tokens_can_be_regularized_and_read():
    encoder = build_encoder(FrameEncoderShape(kind="vit", size=32, features=16, hidden=32, depth=1, batch_norm=True))
    images = torch.randint(0, 256, (3, 4, 32, 32, 3), generator=random_numbers()).to(torch.uint8)
    head = auxiliary.InverseDynamics(encoder.tokens, 16, 2)
    for name in ("vicreg", "sigreg", "ema", "none"):
        regularizer = make_regularizer(name, encoder)
        encoded = encode_clips(encoder, regularizer.view(images, random_numbers()))
        assert encoded.shape == (3, 4, 16, 16)
        targets = regularizer.targets(images, encoded)
        loss = regularizer.penalty(encoded, targets, torch.tensor([0, 0, 1]), random_numbers())
        error, uninformed = head.loss(encoded, torch.randn(3, 3, 2, generator=random_numbers()))
        (loss + error).backward()
        assert torch.isfinite(loss) and float(uninformed) > 0


def test_wrong_names_and_settings_are_one_clear_line():
    encoder = build_encoder(FrameEncoderShape(size=32, features=8, width=4, hidden=16))
    with pytest.raises(ConfigurationError, match="regularizer plugin 'barlow' is unknown; known: ema, none, sigreg, vicreg"):
        make_regularizer("barlow", encoder)
    with pytest.raises(ConfigurationError, match="within_layouts: unknown parameter"):
        make_regularizer("vicreg", encoder, within_layouts=True)
