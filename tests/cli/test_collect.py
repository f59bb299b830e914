import hashlib
import json
from pathlib import Path

import pytest

from objective_agent.cli import collect
from objective_agent.cli.main import main
from objective_agent.learning.bags import read_bag
from objective_agent.learning.dataset import build

SHORT = ("--seconds", "2", "--seed", "3")


def run(*arguments) -> int:
    return main(["collect", *map(str, arguments)])


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("*.mcap"))}


@pytest.fixture
def small_bags(monkeypatch):
    monkeypatch.setattr(collect, "EPISODES_PER_BAG", 2)


def test_a_file_of_the_episodes_asked_for_that_trains(tmp_path, capsys):
    out = tmp_path / "bag.mcap"
    assert run("--task", "apartment_slip", "--episodes", 2, "--out", out, "--json", tmp_path / "made.json", *SHORT) == 0
    bag = read_bag(out)
    assert len(bag.segments) == 2 and bag.metadata["task"] == "apartment_slip" and json.loads(bag.metadata["robot"])["radius"]
    assert all(segment.info["slip"]["speed_gain"] != 1.0 for segment in bag.segments)
    made = json.loads((tmp_path / "made.json").read_text())
    assert made["episodes"] == 2 and made["frames"] in range(18, 21) and made["frames_per_second"] > 0
    assert "2 episodes" in capsys.readouterr().out
    assert len(build([out], tmp_path / "data")) >= 14


def test_minutes_are_whole_episodes(tmp_path, small_bags):
    assert run("--minutes", 0.15, "--out", tmp_path / "bags", *SHORT) == 0
    bags = [read_bag(path) for path in sorted((tmp_path / "bags").glob("*.mcap"))]
    assert [len(bag.segments) for bag in bags] == [2, 2, 1]


def test_the_bags_do_not_depend_on_the_number_of_processes_and_resuming_writes_what_is_missing(tmp_path, small_bags):
    one, two = tmp_path / "one", tmp_path / "two"
    assert run("--episodes", 4, "--out", one, *SHORT) == 0
    assert run("--episodes", 4, "--out", two, "--jobs", 2, *SHORT) == 0
    made = digests(one)
    assert len(made) == 2 and digests(two) == made
    (one / "part-00001.mcap").unlink()
    (one / ".part-00001.mcap.part").write_bytes(b"what a kill leaves")
    assert run("--episodes", 4, "--out", one, "--resume", *SHORT) == 0
    assert digests(one) == made and len(list(one.iterdir())) == 2


def test_a_world_of_ones_own(tmp_path):
    assert run("--worlds", "apartment", "--task", "apartment", "--episodes", 1, "--out", tmp_path / "a.mcap", *SHORT) == 0
    assert read_bag(tmp_path / "a.mcap").segments[0].info["world"] == "apartment"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--task", "fog", "--out", "x.mcap"], "fog"),
        (["--out", "no/such/x.mcap"], "no folder"),
        (["--worlds", "nowhere", "--out", "x.mcap"], "nowhere"),
        (["--seconds", "0.1", "--out", "x.mcap"], "per episode"),
        (["--episodes", "0", "--out", "x.mcap"], "episodes"),
        ([], "--out"),
        (
            ["--plans", "--task", "apartment", "--model", "m", "--worlds", "w.xml", "--out", "x.db"],
            "--worlds: --plans knows no",
        ),
        (["--plans", "--task", "two_room", "--model", "m", "--worlds", "w.xml", "--out", "x.db"], "--worlds: --plans knows no"),
        (["--plans", "--task", "apartment", "--model", "m", "--seconds", "9", "--out", "x.db"], "--seconds: --plans knows no"),
        (["--task", "two_room", "--worlds", "apartment", "--out", "x"], "--worlds: --task two_room knows no"),
        (["--task", "two_room", "--resume", "--out", "x"], "--resume: --task two_room knows no"),
    ],
)
def test_wrong_usage_is_one_line_and_writes_nothing(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    try:
        code = run(*arguments)
    except SystemExit as error:
        code = error.code
    line = capsys.readouterr().err.strip()
    assert code == 2 and said in line and "\n" not in line and not list(tmp_path.iterdir())


def test_bags_that_exist_are_not_overwritten(tmp_path, capsys):
    out = tmp_path / "bag.mcap"
    out.write_bytes(b"precious")
    assert run("--out", out, *SHORT) == 2 and "exists" in capsys.readouterr().err
    assert run("--out", tmp_path, *SHORT) == 2 and "--resume" in capsys.readouterr().err
    assert out.read_bytes() == b"precious"
