"""`objective-agent imagine` from the outside: pictures, figures, what-ifs, the decoder, and one line for every mistake."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from objective_agent.cli.imagine import parse_actions
from objective_agent.cli.main import main
from objective_agent.types import InputError
from objective_agent.world_model.readouts import Nominal

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "learning"), str(ROOT / "tests")]


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    from toy_data import write_toy_data

    return write_toy_data(tmp_path_factory.mktemp("imagine") / "data", episodes=10, steps=20)


@pytest.fixture
def model(tmp_path) -> Path:
    from learned_model import write_untrained

    return write_untrained(tmp_path / "model")


def imagine(model, data, out, *more) -> int:
    return main(["imagine", "--model", str(model), "--data", str(data), "--out", str(out), *map(str, more)])


def test_a_picture_of_every_moment_and_the_figures(model, data, tmp_path, capsys):
    out = tmp_path / "pictures"
    given = ("--episode", 3, "--at", 0.4, 1.6, "--steps", 5, "--json", tmp_path / "a.json")
    assert imagine(model, data, out, *given) == 0
    said = capsys.readouterr()
    assert "position cm" in said.out and "no decoder" in said.err and "--train-decoder" in said.err
    assert sorted(path.name for path in out.iterdir()) == ["episode_003_at_000.4s.png", "episode_003_at_001.6s.png"]
    with Image.open(out / "episode_003_at_000.4s.png") as picture:
        picture.load()
        assert picture.width > 1000 and len(picture.convert("RGB").getcolors(100_000)) > 30
    found = json.loads((tmp_path / "a.json").read_text())
    assert [moment["seconds"] for moment in found["moments"]] == [0.4, 1.6] and len(found["pictures"]) == 2
    assert [at["step"] for at in found["steps"]] == [1, 2, 3, 4, 5] and found["futures"] == 3
    for name in ("position", "analytic_position", "clearance", "representation"):
        assert 0 <= found["steps"][4][name]["mean"] <= found["steps"][4][name]["p95"]


def test_a_decoder_adds_a_row_of_imagined_camera_pictures(model, data, tmp_path, capsys):
    assert imagine(model, data, tmp_path / "before", "--count", 1, "--steps", 3) == 0
    assert main(["imagine", "--model", str(model), "--data", str(data), "--train-decoder", "--batches", "4"]) == 0
    assert "grey levels" in capsys.readouterr().out
    assert sorted(path.name for path in model.glob("decoder.*")) == ["decoder.safetensors", "decoder.yaml"]
    assert imagine(model, data, tmp_path / "after", "--count", 1, "--steps", 3) == 0
    assert "no decoder" not in capsys.readouterr().err
    heights = [Image.open(next((tmp_path / name).glob("*.png"))).height for name in ("before", "after")]
    assert heights[1] > heights[0] + 100


def test_what_if_draws_the_actions_side_by_side(model, data, tmp_path):
    for number, actions in enumerate(("stop", "forward,left+right,0.1:-0.3")):
        out = tmp_path / str(number)
        assert imagine(model, data, out, "--count", 1, "--steps", 4, "--actions", actions) == 0
    widths = [Image.open(next((tmp_path / str(number)).glob("*_what_if.png"))).width for number in range(2)]
    assert widths[1] > widths[0] + 300


def test_figures_without_pictures(model, data, tmp_path):
    assert imagine(model, data, tmp_path / "none", "--count", 12, "--no-pictures", "--json", tmp_path / "a.json") == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert not (tmp_path / "none").exists() and found["pictures"] == [] and len(found["moments"]) == 12


def test_a_bag_will_do_and_leaves_nothing_behind(model, tmp_path, capsys, monkeypatch):
    bag = tmp_path / "drive.mcap"
    collect = ["collect", "--task", "apartment_people", "--episodes", "1", "--seconds", "3", "--seed", "3", "--out", str(bag)]
    assert main(collect) == 0
    there = tmp_path / "temporary"
    there.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(there))
    assert imagine(model, bag, tmp_path / "out", "--count", 1, "--steps", 2, "--video") == 0
    assert sorted(path.suffix for path in (tmp_path / "out").iterdir()) == [".mp4", ".png"]
    assert list(there.iterdir()) == []
    capsys.readouterr()
    bag.write_bytes(b"this is no bag")
    assert imagine(model, bag, tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert "drive.mcap" in err and err.count("\n") == 1


def test_ctrl_c_leaves_no_half_picture(model, data, tmp_path, capsys, monkeypatch):
    def stopped(self, path, **options):
        Path(path).write_bytes(b"half a picture")
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", stopped)
    assert imagine(model, data, tmp_path / "out", "--count", 1, "--json", tmp_path / "a.json") == 130
    assert list((tmp_path / "out").iterdir()) == [] and not (tmp_path / "a.json").exists()
    assert "stopped with Ctrl-C" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--model", "nowhere"], "model nowhere: no such folder"),
        (["--data", "nowhere.mcap"], "nowhere.mcap"),
        (["--episode", "10"], "holds episodes 0 to 9"),
        (["--at", "3"], "give --episode too"),
        (["--episode", "2", "--at", "30"], "episode 2 has moments from 0.0 to 1.8 s"),
        (["--steps", "20"], "no episode is longer than 4.0 s"),
        (["--steps", "26"], "must be 1 to 25"),
        (["--actions", "forward,fly"], "'fly': unknown; known: stop, forward"),
        (["--actions", "9:0"], "limits are 0.6 m/s and 1.8 rad/s"),
        (["--out", "/dev/null/pictures"], "can't be made"),
    ],
)
def test_a_mistake_is_one_line_with_the_mend(model, data, tmp_path, capsys, more, said):
    assert imagine(model, data, tmp_path / "out", *more) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if "no imagined camera" not in line]
    assert len(err) == 1 and said in err[0]


def test_recordings_without_a_camera_are_drawn_without_it_and_teach_no_decoder(model, tmp_path, capsys):
    from toy_data import write_toy_data

    blind = write_toy_data(tmp_path / "blind", episodes=5, steps=16)
    np.save(blind / "has_image.npy", np.zeros(5 * 16, bool))
    assert imagine(model, blind, tmp_path / "out", "--count", 1) == 0
    capsys.readouterr()
    for more in (["--train-decoder"], ["--senses", "camera"]):
        assert imagine(model, blind, tmp_path / "out", *more) == 2
        err = capsys.readouterr().err
        assert "holds no camera images" in err and err.count("\n") == 1
    assert not (model / "decoder.safetensors").exists()


def test_actions_in_words_and_numbers():
    found = parse_actions("forward+stop, left ,0.1:-0.3", 5, Nominal())
    assert list(found) == ["forward+stop", "left", "0.1:-0.3"] and all(value.shape == (5, 2) for value in found.values())
    assert found["forward+stop"][:3, 0].min() > 0 and not found["forward+stop"][3:].any()
    assert (found["left"][:, 1] > 0).all() and found["0.1:-0.3"].tolist() == [[0.1, -0.3]] * 5
    with pytest.raises(InputError, match="more parts than there are steps"):
        parse_actions("left+right+stop", 2, Nominal())
