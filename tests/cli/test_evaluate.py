import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from objective_agent.cli.main import main

WORLD = """<mujoco><worldbody>
  <geom type="box" size="0.05 1.2 0.5" pos="1 -0.5 0.5"/>
  <geom type="box" size="3 0.05 0.5" pos="1 2 0.5"/><geom type="box" size="3 0.05 0.5" pos="1 -2 0.5"/>
  <geom type="box" size="0.05 2 0.5" pos="-2 0 0.5"/><geom type="box" size="0.05 2 0.5" pos="4 0 0.5"/>
  <site name="start1" pos="0 0 0"/><site name="goal1" pos="2 0.2 0"/><site name="goal2" pos="0.3 1.4 0"/>
</worldbody></mujoco>"""

KEYS = {
    "task", "model", "episodes", "seed", "success_rate", "interval", "collisions", "collisions_without_gate", "gate_held_share",
    "guardrail_violations", "planning_ms", "deadline_misses", "baselines", "per_episode", "already_solved", "hardware",
}  # fmt: skip


@pytest.fixture
def world(tmp_path) -> Path:
    path = tmp_path / "unseen.xml"
    path.write_text(WORLD)
    return path


TIMING = ("planning_ms", "per_episode_ms", "planning_share", "deadline_misses", "hardware", "command")


def without_timing(result: dict) -> dict:
    kept = {key: value for key, value in result.items() if key not in TIMING}
    kept["rows"] = {
        name: {key: value for key, value in row.items() if key not in TIMING} for name, row in result["rows"].items()
    }
    episodes = [{key: value for key, value in episode.items() if key != "timing"} for episode in kept["per_episode"]]
    return kept | {"per_episode": episodes}


def run(tmp_path, name, *arguments) -> dict:
    out = tmp_path / name
    assert main(["evaluate", "--json", str(out), *map(str, arguments)]) == 0
    assert not Path(f"{out}.partial.jsonl").exists()
    return json.loads(out.read_text())


def test_apartments_with_all_rows_and_the_promised_keys(tmp_path, capsys):
    result = run(tmp_path, "a.json", "--episodes", 3, "--seed", 1)
    assert set(result) >= KEYS and set(result["baselines"]) == {"zero", "random", "straight_line", "map_pursuit"}
    assert result["task"] == "apartment" and result["episodes"] == 3 == len(result["per_episode"])
    assert result["success_rate"] >= 2 / 3 and result["collisions"] == 0 and result["guardrail_violations"] == 0
    low, high = result["interval"]
    assert 0 <= low <= result["success_rate"] <= high <= 1
    assert result["baselines"]["zero"]["success_rate"] == 0 and result["baselines"]["map_pursuit"]["success_rate"] == 1
    assert 0 < result["planning_ms"]["p50"] <= result["planning_ms"]["p99"]
    assert "map_pursuit" in capsys.readouterr().out


def test_an_unseen_world_is_repeatable_and_does_not_depend_on_the_number_of_processes(tmp_path, world):
    arguments = ("--world", world, "--episodes", 2, "--seed", 5, "--baselines", "random")
    one = run(tmp_path, "one.json", *arguments)
    two = run(tmp_path, "two.json", *arguments, "--jobs", 2)
    assert without_timing(one) == without_timing(two)
    assert one["task"] == "world" and one["success_rate"] == 1.0 and one["collisions"] == 0
    other = run(tmp_path, "other.json", "--world", world, "--episodes", 1, "--seed", 6, "--baselines", "none")
    assert other["baselines"] == {} and other["per_episode"][0]["rows"]["agent"] != one["per_episode"][0]["rows"]["agent"]


EPISODES = 6


@pytest.fixture(scope="module")
def uninterrupted() -> dict:
    """The result of the run that nobody stopped, once somebody has made it."""
    return {}


def start(out: Path, *arguments) -> subprocess.Popen:
    command = [sys.executable, "-m", "objective_agent.cli.main", "evaluate", "--json", str(out), *map(str, arguments)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[2])


def wait_for_lines(path: Path, count: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        if path.exists() and path.read_text().count("\n") >= count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {count} lines in {path.name}: {process.communicate()}")


def children(pid: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (OSError, ValueError, IndexError):
                continue
            if parent == pid:
                found.append(int(entry.name))
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc")
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_leaves_no_process_behind_and_goes_on_where_it_was(tmp_path, world, stop, uninterrupted):
    world.write_text(
        WORLD.replace("2 0.2 0", "0.7 0 0").replace("0.3 1.4 0", "0 0.7 0").replace('pos="1 -0.5', 'pos="1.5 -0.5')
    )
    arguments = ("--world", world, "--episodes", EPISODES, "--seed", 5, "--baselines", "none")
    out, partial = tmp_path / "out.json", tmp_path / "out.json.partial.jsonl"
    process = start(out, *arguments, "--jobs", 2)
    wait_for_lines(partial, 2, process)
    workers = children(process.pid)
    os.kill(process.pid, stop)
    process.wait(60)
    assert process.returncode in (-signal.SIGKILL, 130) and not out.exists()
    end = time.monotonic() + 30
    while any(map(alive, workers)) and time.monotonic() < end:
        time.sleep(0.1)
    assert workers and not any(map(alive, workers))
    with partial.open("a") as file:
        file.write('{"index": 5, "rows": {"agent": {"succ')  # cut off by the kill
    kept = partial.read_text().splitlines()[1:-1]
    assert 1 <= len(kept) < EPISODES
    assert main(["evaluate", "--json", str(out), *map(str, arguments)]) == 2, "an unfinished run is not thrown away silently"
    resumed = run(tmp_path, "out.json", *arguments, "--resume")
    if not uninterrupted:
        uninterrupted.update(run(tmp_path, "whole.json", *arguments))
    assert without_timing(resumed) == without_timing(uninterrupted)
    timings = {episode["index"]: episode["timing"]["seconds"] for episode in resumed["per_episode"]}
    assert all(timings[json.loads(line)["index"]] == json.loads(line)["timing"]["seconds"] for line in kept), "not run again"


def test_resume_refuses_another_protocol(tmp_path, world, capsys):
    (tmp_path / "out.json.partial.jsonl").write_text('{"protocol": "of something else"}\n')
    assert main(["evaluate", "--json", str(tmp_path / "out.json"), "--world", str(world), "--resume"]) == 2
    assert "other parameters" in capsys.readouterr().err


def test_a_run_divided_among_controllers_gives_the_same_result(tmp_path, world, capsys):
    arguments = ("--world", world, "--episodes", 2, "--seed", 5, "--baselines", "zero,straight_line")
    whole = run(tmp_path, "whole.json", *arguments)
    command = ["evaluate", "--json", str(tmp_path / "out.json"), *map(str, arguments)]
    assert main([*command, "--part", "straight_line"]) == 0 and not (tmp_path / "out.json").exists()
    lines = [json.loads(line) for line in (tmp_path / "out.json.partial.jsonl").read_text().splitlines()[1:]]
    assert [list(line["rows"]) for line in lines] == [["straight_line"]] * 2
    assert main([*command, "--resume", "--part", "agent"]) == 0
    assert without_timing(run(tmp_path, "out.json", *arguments, "--resume")) == without_timing(whole)
    assert main(["evaluate", "--world", str(world), "--part", "agent"]) == 2 and "--json" in capsys.readouterr().err


def test_resume_refuses_rows_of_another_model(tmp_path, world, capsys):
    arguments = ("--world", world, "--episodes", 1, "--baselines", "none", "--part", "agent")
    command = ["evaluate", "--json", str(tmp_path / "out.json"), *map(str, arguments)]
    assert main(command) == 0
    partial = tmp_path / "out.json.partial.jsonl"
    partial.write_text(partial.read_text().replace("unicycle-v1", "0123456789abcdef"))
    assert main([*command, "--resume"]) == 2 and "another model (0123456789ab" in capsys.readouterr().err


BAD_PARAMETERS = "/**:\n  ros__parameters: {}\nactor:\n  ros__parameters: {horizon: -3}\n"


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--task", "appartment"], "unknown; known: apartment"),
        (["--world", "nowhere.xml"], "can't be read"),
        (["--world", "broken.xml"], "not a valid MJCF"),
        (["--world", "no_goal.xml"], "has no goal"),
        (["--world", "no_start.xml"], "has no start"),
        (["--world", "blocked.xml"], "blocked"),
        (["--params", "nowhere.yaml"], "can't be read"),
        (["--params", "bad.yaml"], "actor.horizon = -3"),
        (["--optimizer", "simplex"], "simplex"),
        (["--baselines", "zero,one"], "unknown one"),
        (["--rows", "analytic,tea"], "unknown tea"),
        (["--model", "nowhere"], "no such folder"),
        (["--resume"], "--json"),
        (["--json", "nowhere/out.json", "--episodes", "1"], "can't be written"),
    ],
)
def test_bad_input_is_refused_in_one_line_before_anything_runs(tmp_path, world, monkeypatch, capsys, arguments, words):
    monkeypatch.chdir(tmp_path)
    Path("broken.xml").write_text("<mujoco><world")
    Path("no_goal.xml").write_text(WORLD.replace('name="goal', 'name="gaol'))
    Path("no_start.xml").write_text(WORLD.replace('name="start', 'name="strat'))
    Path("blocked.xml").write_text(WORLD.replace('pos="2 0.2 0"', 'pos="1 0.2 0"'))
    Path("bad.yaml").write_text(BAD_PARAMETERS)
    assert main(["evaluate", *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert words in error and "\n" not in error


@pytest.mark.parametrize("arguments", [["--episodes", "0"], ["--episodes", "x"], ["--seed", "-1"], ["--jobs", "0"]])
def test_wrong_numbers_are_wrong_usage(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(["evaluate", *arguments])
    assert error.value.code == 2 and len(capsys.readouterr().err.strip().splitlines()) == 1
