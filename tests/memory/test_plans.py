"""The log of plans: what is in it after kill -9, on a full disk, and with rows that don't belong there."""

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from objective_agent.memory.plans import PlanLog, PlanRow, read_plans, unused
from objective_agent.types import InputError

WRITER = """
import sys, numpy as np
from objective_agent.memory.plans import PlanLog, PlanRow
with PlanLog(sys.argv[1], "sha") as log:
    for step in range(10**6):
        log.append(PlanRow("run", 0, step, np.ones((1, 4)), np.ones((3, 2)), np.ones(2), goal=np.ones((1, 4))))
        print(step, flush=True)
"""


def row(step=0, episode=0, run="run", **changes) -> PlanRow:
    values = {"state": np.full((2, 4), step), "plan": np.full((3, 2), episode), "done": np.zeros(2), "goal": np.ones((1, 4))}
    return PlanRow(run=run, episode=episode, step=step, stamp=0.1 * step, **(values | changes))


def test_rows_come_back_in_order_with_their_episodes_told_apart(tmp_path):
    for name, run in (("a.db", "one"), ("b.db", "one")):
        with PlanLog(tmp_path / name, "sha", {"dt": 0.1}) as log:
            log.extend(
                [row(step, episode, run, energy=step + 0.5, feasible=step != 1) for episode in (7, 3) for step in (1, 0, 2)]
            )
    plans = read_plans([tmp_path / "a.db", tmp_path / "b.db"], "sha")
    assert plans.episode.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert plans.step.tolist() == [0, 1, 2] * 4
    assert plans.state[:3, 0, 0].tolist() == [0, 1, 2] and plans.plan[[0, 3], 0, 0].tolist() == [3, 7]
    assert plans.energy[2] == 2.5 and plans.feasible[:3].tolist() == [True, False, True]
    assert plans.first.tolist()[4] == 3 and plans.last.tolist()[4] == 5
    assert plans.velocity is None and plans.about[0]["dt"] == 0.1


def test_what_was_appended_survives_kill_9(tmp_path):
    path = tmp_path / "plans.db"
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
    said = [int(writer.stdout.readline()) for _ in range(40)]
    os.kill(writer.pid, signal.SIGKILL)
    said += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    assert len(read_plans([path], "sha")) >= said[-1] + 1 >= 40
    with PlanLog(path, "sha") as log:  # and it can be gone on with
        log.append(PlanRow("again", 0, 0, np.ones((1, 4)), np.ones((3, 2)), np.ones(2), goal=np.ones((1, 4))))
        assert log.rows >= 41


def test_a_full_disk_is_one_clear_line_and_loses_nothing(tmp_path):
    with PlanLog(tmp_path / "plans.db", "sha") as log:
        log.append(row())
        pages = log._base.execute("PRAGMA page_count").fetchone()[0]
        log._base.execute(f"PRAGMA max_page_count = {pages + 2}")  # what SQLite says then is what it says of a full disk
        with pytest.raises(InputError, match=r"full.*make room"):
            for step in range(1, 2000):
                log.append(row(step))
        kept = log.rows
    assert 1 <= kept == len(read_plans([tmp_path / "plans.db"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"plan": np.full((3, 2), np.nan)}, "plan of step 5 has NaN"),
     ({"state": np.full((2, 4), 1e6)}, "state of step 5 has NaN or inf"),
     ({"plan": np.zeros((4, 2))}, "the log has"), ({"goal": None}, "the log has")],
)  # fmt: skip
def test_rows_that_nobody_could_learn_from_are_refused(tmp_path, changes, message):
    with PlanLog(tmp_path / "plans.db", "sha") as log:
        log.append(row())
        with pytest.raises(InputError, match=message):
            log.extend([row(4), row(5, **changes)])
        assert log.rows == 1


def test_the_oldest_rows_go(tmp_path):
    with PlanLog(tmp_path / "plans.db", "sha", most_rows=500) as log:
        for first in range(0, 3000, 500):
            log.extend([row(first + step) for step in range(500)])
        assert 500 <= log.rows < 1600
    assert read_plans([tmp_path / "plans.db"]).step[-1] == 2999
    for run in range(3):  # each too short to count to a thousand
        with PlanLog(tmp_path / "plans.db", "sha", most_rows=500) as log:
            log.extend([row(step, run=str(run)) for step in range(200)])
            assert log.rows == 500


def test_another_models_log_and_files_that_are_none_are_refused(tmp_path):
    with PlanLog(tmp_path / "plans.db", "sha") as log:
        with pytest.raises(InputError, match="encoder sha, the model's is other"):
            PlanLog(tmp_path / "plans.db", "other")
        log.append(row())
    with pytest.raises(InputError, match="encoder sha, the model's is other"):
        read_plans([tmp_path / "plans.db"], "other")
    (tmp_path / "noise.db").write_bytes(b"no data base at all " * 100)
    sqlite3.connect(tmp_path / "empty.db").execute("CREATE TABLE x (y)").connection.commit()
    for name, message in (("noise.db", "not a database"), ("empty.db", "no log of plans"), ("none.db", "no such log")):
        with pytest.raises(InputError, match=message):
            read_plans([tmp_path / name])
    with PlanLog(tmp_path / "new.db", "sha"), pytest.raises(InputError, match="no rows"):
        read_plans([tmp_path / "new.db"])


def test_what_is_collected_goes_to_a_file_of_its_own(tmp_path):
    assert unused(str(tmp_path / "new.db")) == tmp_path / "new.db" and not (tmp_path / "new.db").exists()
    with PlanLog(tmp_path / "old.db", "sha") as log:
        log.append(row())
    for taken in (tmp_path / "old.db", tmp_path):
        with pytest.raises(InputError, match=f"{taken.name}: exists; remove it, or give another --out"):
            unused(taken)
    assert len(read_plans([tmp_path / "old.db"])) == 1


def test_two_writers_share_a_log(tmp_path):
    with PlanLog(tmp_path / "plans.db", "sha") as one, PlanLog(tmp_path / "plans.db", "sha") as two:
        one.append(row(0))
        two.append(row(0, run="second"))
        with pytest.raises(InputError, match="the log has"):
            two.append(replace(row(1), goal=None))
    assert len(read_plans([tmp_path / "plans.db"])) == 2
