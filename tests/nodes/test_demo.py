"""`objective-agent demo`: its figures, its manners with folders and arguments, and the real thing, also when interrupted."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from mcap.reader import make_reader
from rich.console import Console

from objective_agent.cli.main import main
from objective_agent.types import InputError
from objective_agent.visualization.bag import read_recording
from objective_agent.visualization.recording import GoalSpan, Recording, Series
from objective_agent_nodes import demo_parameters, demo_results
from objective_agent_nodes.children import Children
from objective_agent_nodes.demo import report
from objective_agent_nodes.demo_progress import Progress, Snapshot
from objective_agent_nodes.demo_summary import interventions, summarise

KEYS = {"goals", "goals_reached", "collisions", "decision_hz", "sensor_to_command_ms", "real_time_factor", "deadline_misses"}
KEYS |= {"gate_interventions", "seconds"}
ONE_GOAL = (GoalSpan(0, (1.0, 1.0), 1.0, 9.0, True),)


@pytest.fixture(scope="module")
def made_up_mcap(tmp_path_factory):
    """The made-up run that the drawing is tested with, too."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "visualization"))
    from made_up_run import write_run

    path = tmp_path_factory.mktemp("demo") / "run.mcap"
    write_run(path)
    return path


# --- figures ----------------------------------------------------------------------------------------------------------------


def test_the_summary_has_its_keys_and_what_happened(made_up_mcap):
    summary = summarise(read_recording(made_up_mcap))
    assert set(summary) >= KEYS
    assert (summary["goals"], summary["goals_reached"], summary["collisions"]) == (2, 2, 0)
    assert summary["decision_hz"] == pytest.approx(20, abs=0.5)
    assert summary["sensor_to_command_ms"] == {"p50": 52.0, "p99": 96.0}
    assert summary["real_time_factor"] == pytest.approx(0.98, abs=0.002)
    assert (summary["deadline_misses"], summary["gate_interventions"], summary["seconds"]) == (2, 1, 8.0)
    assert summary["world"] == "apartment" and summary["exit_reason"] == "all goals reached"
    json.dumps(summary, allow_nan=False)


def test_the_summary_tells_what_became_of_the_wall(made_up_mcap):
    summary = summarise(read_recording(made_up_mcap))
    wall = summary["wall"]
    assert wall["noticed"] and wall["time"] == 5.0 and wall["seconds_to_alarm"] == pytest.approx(0.15, abs=0.01)
    assert (wall["surprise_before"], wall["surprise_peak"]) == (0.3, 2.1)
    assert wall["least_speed"] == 0.15 and wall["seconds_to_least_speed"] == pytest.approx(0.3, abs=0.01)
    words = demo_results.wall_line(summary)
    assert words.startswith("wall appeared at 5.0 s: surprise 0.30 -> 2.10 after 0.1") and "-> 0.15 m/s within 0.3 s" in words


@pytest.mark.parametrize(("peak", "code"), [(0.9, 1), (1.5, 0)])
def test_a_wall_that_is_no_surprise_fails_the_demo(peak, code, tmp_path, capsys):
    times = np.arange(0, 9, 0.05)
    values = [{"surprise": peak if 4.2 < time < 4.6 else 0.2} for time in times]
    wall = Series([4.0, 8.0], [np.array([1.0, 1.0, 0.0, 0.06, 1.0]), np.zeros(0)])
    run = Recording(goals=ONE_GOAL, end=9.0, wall=wall, surprise=Series(times, values), info={"wall": True})
    with Progress(1, plain=True) as progress:
        assert report(summarise(run), tmp_path, progress) == code
    assert ("was no surprise" in capsys.readouterr().out) is bool(code)


def test_a_wall_that_found_no_room_is_said_and_one_that_was_not_planned_is_not():
    run = Recording(goals=ONE_GOAL, end=9.0, info={"wall": True})
    assert "no room" in demo_results.wall_line(summarise(run))
    assert demo_results.wall_line(summarise(Recording(goals=ONE_GOAL, end=9.0))) == ""


def test_an_intervention_is_a_climb_of_the_gate_while_there_is_a_goal():
    levels = ["STOP", "OK", "LIMIT", "LIMIT", "STOP", "LIMIT", "OK", "EMERGENCY", "STOP"]
    gate = Series(np.arange(9) + 0.5, [{"level": level} for level in levels])
    counted = interventions(Recording(gate=gate, goals=(GoalSpan(0, (0, 0), 1.0, 8.0, True),)))
    assert counted == {"LIMIT": 1, "STOP": 1, "EMERGENCY": 1, "LATCHED": 0}


def test_every_touch_is_counted_once_whoever_saw_it():
    contact = Series(range(6), [False, True, True, False, True, False])
    assert summarise(Recording(contact=contact, goals=ONE_GOAL))["collisions"] == 2
    simulator = Series([5.0], [{"contacts": 3.0}])
    assert summarise(Recording(contact=contact, simulator=simulator, goals=ONE_GOAL))["collisions"] == 3


def test_a_run_of_which_nothing_was_heard_has_nulls_and_no_nan():
    summary = summarise(Recording(goals=ONE_GOAL, end=9.0))
    assert summary["deadline_misses"] is None and summary["sensor_to_command_ms"] == {"p50": None, "p99": None}
    json.dumps(summary, allow_nan=False)
    assert "?" in demo_results.headline(summary)


# --- manners ----------------------------------------------------------------------------------------------------------------


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match=r"holds files that no demo wrote \(thesis.txt\); give a new folder with --out"):
        demo_results.prepare_folder(tmp_path)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_the_folder_of_an_earlier_demo_is_emptied(tmp_path):
    for name in [*demo_results.FILES, ".run.partial.mp4"]:
        (tmp_path / name).write_text("old")
    demo_results.prepare_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--goals", "0"], "must be greater than 0"),
        (["--goals", "99"], "has 3 goals"),
        (["--timeout", "nan"], "must be greater than 0"),
        (["--world", "nowhere"], "nowhere"),
        (["--seed", "-1"], "--seed -1"),
        (["--from", "none.mcap"], "can't be read"),
        (["--model", "models/nowhere"], "objective-agent train makes one; or drive with the classical parts: demo --model"),
    ],
)
def test_bad_arguments_are_refused_in_one_line_and_leave_no_folder(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--out", "out", *arguments]) == 2
    said = capsys.readouterr().err.strip()
    assert words in said and len(said.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_the_learned_model_drives_unless_another_is_asked_for(tmp_path):
    path, above, name = demo_parameters.choose(None, None)
    assert (path.name, name) == ("learned.yaml", "models/apartment")
    encoder, predictor = above["perception"]["encoder"], above["world_model"]["world_model"]
    assert encoder["plugin"] == predictor["plugin"] == "jepa" and encoder["model"] == predictor["model"]
    assert Path(encoder["model"]).is_absolute() and encoder["sweep_reach"] == 1.3, "the file's other settings stay"
    path, above, name = demo_parameters.choose("analytic", None)
    assert (path.name, above, name) == ("sim.yaml", {}, "analytic")
    own = tmp_path / "own.yaml"
    own.write_text("actor:\n  ros__parameters: {period: 0.1}\n")
    assert demo_parameters.choose(None, own) == (own, {}, "analytic")


def test_an_earlier_run_is_drawn_again_beside_its_recording(made_up_mcap, tmp_path, capsys):
    (tmp_path / "run.mcap").write_bytes(made_up_mcap.read_bytes())
    assert main(["demo", "--from", str(tmp_path / "run.mcap"), "--no-video"]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"run.mcap", "dashboard.png", "summary.json"}
    assert set(json.loads((tmp_path / "summary.json").read_text())) >= KEYS
    assert "2 of 2 goals reached" in capsys.readouterr().out


def test_without_a_terminal_there_is_a_plain_line_with_everything_in_it(tmp_path):
    with open(tmp_path / "out.txt", "w") as file, Progress(3, Console(file=file, width=300)) as progress:
        progress.update(Snapshot(1, 2.345, 19.6, "optimizer", 0.123, "STOP", "obstacle ahead", 0.98, 0))
        progress.update(Snapshot(1, 2.0))
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert len(lines) == 1, "at most one line a second"
    for words in (
        "goal 2/3",
        "2.35 m away",
        "19.6 decisions/s",
        "Mode-2",
        "+12 cm",
        "STOP (obstacle ahead)",
        "x 0.98",
        "0 collisions",
    ):
        assert words in lines[0]


# --- the real thing ---------------------------------------------------------------------------------------------------------


def start_demo(folder: Path, log: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "objective_agent.cli.main", "demo", "--out", str(folder), *arguments]
    environment = {key: value for key, value in Children().environment.items() if key != "ROS_DOMAIN_ID"}
    with open(log, "w") as output:
        return subprocess.Popen(command, env=environment, stdout=output, stderr=output, start_new_session=True)


def processes_of(demo: subprocess.Popen) -> set[int]:
    """The demo and all its descendants that are alive."""
    parents = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parents[int(pid)] = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
    family = {demo.pid}
    while grown := {pid for pid, parent in parents.items() if parent in family} - family:
        family |= grown
    return family


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_ctrl_c_in_the_middle_leaves_a_readable_recording_and_no_process(tmp_path):
    log = tmp_path / "log.txt"
    demo = start_demo(tmp_path / "out", log, "--headless")
    try:
        deadline = time.monotonic() + 60
        while "goal 1/3" not in log.read_text() and time.monotonic() < deadline and demo.poll() is None:
            time.sleep(0.2)
        assert "goal 1/3" in log.read_text(), log.read_text()
        family = processes_of(demo)
        assert len(family) >= 6, "demo, recorder, simulator, gate, agent, manager"
        demo.send_signal(signal.SIGINT)
        time.sleep(0.3)
        demo.send_signal(signal.SIGINT)  # an impatient person
        assert demo.wait(40) == 130
        assert [pid for pid in family if alive(pid)] == []
    finally:
        if demo.poll() is None:
            demo.kill()
    assert f"what was recorded is in {tmp_path / 'out' / 'run.mcap'}" in log.read_text().replace("\n", " ")
    with open(tmp_path / "out" / "run.mcap", "rb") as stream:
        assert make_reader(stream).get_summary().statistics.message_count > 500
    run = read_recording(tmp_path / "out" / "run.mcap")
    assert run.info["exit_reason"] == "interrupted" and not run.goals[0].reached


@pytest.mark.slow
def test_goals_are_reached_over_dds_past_a_wall_that_nobody_expects_and_everything_is_written(tmp_path):
    log = tmp_path / "log.txt"
    demo = start_demo(tmp_path / "out", log, "--goals", "2", "--no-video")
    try:
        code = demo.wait(300)
    finally:
        if demo.poll() is None:
            demo.send_signal(signal.SIGTERM)
            demo.wait(30)
    assert code == 0, log.read_text()[-3000:]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"run.mcap", "dashboard.png", "summary.json", "graph.log"}
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert (summary["goals"], summary["goals_reached"], summary["collisions"]) == (2, 2, 0)
    assert summary["model"] == "models/apartment"
    wall = summary["wall"]
    assert wall["noticed"] and wall["surprise_peak"] > 1 and wall["least_speed"] < wall["speed_before"]
    assert summary["decision_hz"] > 5 and summary["sensor_to_command_ms"]["p50"] > 0 and summary["real_time_factor"] > 0.5
    run = read_recording(tmp_path / "out" / "run.mcap")
    for topic in (
        "pose",
        "true_pose",
        "scan",
        "image",
        "route",
        "plan",
        "candidates",
        "energies",
        "status",
        "gate",
        "people",
        "surprise",
    ):
        assert len(getattr(run, topic)) > 5, topic
    goal = run.goals[0]
    assert np.linalg.norm(run.true_pose.at(goal.end)[:2] - goal.position) <= 0.31
