"""The doctor: what it finds on this machine, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from objective_agent.cli import doctor, main

ROOT = Path(__file__).resolve().parents[2]


def find(findings, name: str) -> doctor.Finding:
    return next(finding for finding in findings if finding.name == name)


def test_the_doctor_finds_what_is_here_and_writes_it_for_machines(domain, tmp_path, capsys):
    pytest.importorskip("rclpy", reason="ROS 2 (rclpy) is not installed")
    out = tmp_path / "doctor.json"
    assert main.main(["doctor", "--json", str(out)]) == 0, capsys.readouterr().out
    report = json.loads(out.read_text())
    states = {finding["name"]: finding["state"] for finding in report["findings"]}
    assert report["ok"]
    assert states["torch"] == states["ROS 2"] == states["DDS"] == states["worlds"] == "ok"
    assert "apartment.xml" in capsys.readouterr().out


def test_a_module_that_does_not_import_costs_a_line_and_not_the_report(tmp_path, monkeypatch):
    (tmp_path / "brokenmodule.py").write_text("raise OSError('libGL.so.1: cannot open shared object file')\n")
    (tmp_path / "crashing.py").write_text("import os\nos.abort()\n")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{tmp_path}")
    monkeypatch.setattr(doctor, "BASE", ("yaml", "brokenmodule", "nowhere"))
    monkeypatch.setattr(doctor, "OPTIONAL", {"crashing": ("sim", "crashing")})
    findings = list(doctor.modules(60))
    assert [finding.state for finding in findings] == [doctor.OK, doctor.MISSING, doctor.MISSING, doctor.OPTIONAL_MISSING]
    assert "libGL" in find(findings, "brokenmodule").detail
    assert find(findings, "nowhere").detail == "not installed"
    assert "crashed" in find(findings, "crashing").detail
    assert all(finding.fix for finding in findings if finding.state != doctor.OK)


def test_two_ros_installations_in_one_environment_are_noticed(tmp_path, monkeypatch):
    (tmp_path / "rclpy").mkdir()
    monkeypatch.setattr(doctor, "wheels", lambda: ["jazzy"])
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("LD_LIBRARY_PATH", sys.prefix)
    (clash,) = doctor.environments()
    assert clash.state == doctor.WARNING and str(tmp_path) in clash.detail
    monkeypatch.delenv("PYTHONPATH")
    assert list(doctor.environments()) == []


def test_the_libraries_of_another_environment_are_noticed(monkeypatch):
    monkeypatch.setattr(doctor, "wheels", lambda: ["jazzy"])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    monkeypatch.setenv("_ROS_WHEELS_BOOTSTRAP_COMPLETE", "1")
    monkeypatch.setenv("LD_LIBRARY_PATH", "/elsewhere/lib")
    (clash,) = doctor.environments()
    assert "unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH" in clash.fix


def test_files_left_in_shared_memory_are_told_from_those_in_use(tmp_path, monkeypatch):
    left, used = tmp_path / "fastrtps_left", tmp_path / "fastrtps_used"
    left.touch()
    with used.open("w"):
        monkeypatch.setattr(doctor, "SHM", tmp_path)
        finding = list(doctor.shared_memory())[-1]
    assert finding.state == doctor.WARNING and finding.detail.startswith("1 files")
    left.unlink()
    used.unlink()
    assert list(doctor.shared_memory())[-1].state == doctor.OK


def test_missing_ros_is_missing_with_both_mends():
    finding = doctor.ros_missing("Traceback …\nModuleNotFoundError: No module named 'rclpy'\n")
    assert finding.state == doctor.MISSING
    assert "objective_agent[ros]" in finding.fix and "setup.bash" in finding.fix


def test_a_profile_that_does_not_exist_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setenv("FASTRTPS_DEFAULT_PROFILES_FILE", str(tmp_path / "none.xml"))
    assert doctor.profile().state == doctor.WARNING


def test_missing_numpy_does_not_keep_the_doctor_from_starting(tmp_path):
    (tmp_path / "numpy.py").write_text("raise ModuleNotFoundError(\"No module named 'numpy'\", name='numpy')\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    code = "import sys\nfrom objective_agent.cli import main, doctor\n"
    code += "doctor.ros = lambda timeout: []\nsys.exit(main.main(['doctor']))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=90, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "MISSING  numpy" in done.stdout and "pip install" in done.stdout
    assert "Traceback" not in done.stderr
