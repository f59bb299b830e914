"""`objective-agent doctor`: what is installed, what is missing, and how to mend it.

Every finding is a line with its mend: `ok`, `optional` (not installed, needed for some commands), `warning` (may cause
trouble) or `MISSING` (the robot can't be run).
Nothing heavy or breakable is imported here: modules are tried in a process of their own (`probe`), and so is ROS 2.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path

HELP = "what is installed, which device, what is missing, how to fix it"
EXAMPLE = "objective-agent doctor --json doctor.json"

OK, OPTIONAL_MISSING, WARNING, MISSING = "ok", "optional", "warning", "MISSING"
PACKAGE = "objective_agent"
BASE = ("numpy", "torch", "pydantic", "yaml", "cv2", "safetensors", "rich")
OPTIONAL = {
    "mujoco": ("sim", "the simulator, demo and evaluate"),
    "gymnasium": ("sim", "the simulator, demo and evaluate"),
    "matplotlib": ("sim", "the demo's plots"),
    "imageio_ffmpeg": ("sim", "the demo's video"),
    "mcap": ("sim", "recording"),
    "rosbags": ("train", "reading bags"),
    "onnxruntime": ("cpu", "models exported to ONNX, frozen ONNX encoders"),
    "onnx": ("export", "exporting models"),
}
SHM = Path("/dev/shm")


@dataclass(frozen=True)
class Finding:
    name: str
    state: str
    detail: str
    fix: str = ""


def add_arguments(parser) -> None:
    parser.add_argument(
        "--json", nargs="?", const="-", metavar="OUT", help="write the findings as JSON to OUT (default: stdout)"
    )
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds a check may take (default: 60)")


def main(args) -> int:
    findings = []
    quiet = args.json == "-"
    for finding in examine(args.timeout):
        findings.append(finding)
        if not quiet:
            show(finding)
    missing = sum(finding.state == MISSING for finding in findings)
    if args.json:
        text = json.dumps({"ok": not missing, "findings": [asdict(finding) for finding in findings]}, indent=2)
        print(text) if quiet else Path(args.json).write_text(text + "\n")
    if not quiet:
        print(f"\n{missing} missing" if missing else "\nnothing that is needed is missing")
    return 1 if missing else 0


def show(finding: Finding) -> None:
    print(f"{finding.state:<8} {finding.name:<18} {finding.detail}", flush=True)
    if finding.fix:
        print(f"{'':<8} {'':<18} fix: {finding.fix}", flush=True)


def examine(timeout: float) -> Iterator[Finding]:
    """All findings, in the order in which they are made."""
    yield python()
    yield from modules(timeout)
    yield from environments()
    yield from ros(timeout)
    yield from shared_memory()
    yield from data()


def python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{version} ({sys.executable}), {cores} cores"
    if not (3, 10) <= sys.version_info[:2] <= (3, 13):
        return Finding("python", WARNING, detail, "use Python 3.10 to 3.13: the ROS 2 wheels exist for these")
    return Finding("python", OK, detail)


def modules(timeout: float) -> Iterator[Finding]:
    found = run_lines([sys.executable, "-m", "objective_agent.cli.probe", *BASE, *OPTIONAL], timeout)
    reports = {report["module"]: report for report in found}
    for name in (*BASE, *OPTIONAL):
        report = reports.get(name) or {"version": None, "error": "importing it crashed or took too long"}
        if report["error"] is None:
            yield Finding(name, OK, f"{report['version']}  {report['detail']}".rstrip())
        elif name in BASE:
            yield Finding(
                name, MISSING, one_line(report["error"]), f"pip install --force-reinstall --no-deps {distribution(name)}"
            )
        else:
            extra, purpose = OPTIONAL[name]
            detail = f"{one_line(report['error'])}; needed for {purpose}"
            yield Finding(name, OPTIONAL_MISSING, detail, f"pip install '{PACKAGE}[{extra}]'")


def distribution(module: str) -> str:
    return {"yaml": "pyyaml", "cv2": "opencv-python-headless"}.get(module, module)


def wheels() -> list[str]:
    """ROS distributions whose rclpy is installed as a wheel in this environment."""
    names = [(found.metadata["Name"] or "").lower().replace("_", "-").split("-") for found in distributions()]
    return sorted({parts[1] for parts in names if len(parts) == 3 and parts[0] == "ros" and parts[2] == "rclpy"})


def environments() -> Iterator[Finding]:
    """Two ROS 2 installations in one environment fight over shared libraries: crashes far from their cause."""
    distros = wheels()
    sourced = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and (Path(path) / "rclpy").is_dir()]
    if len(distros) > 1:
        yield Finding(
            "ROS environments", WARNING, f"wheels of {' and '.join(distros)} together", "make a new environment with one"
        )
    if distros and sourced:
        fix = f"open a shell that does not source {sourced[0]}, or leave the wheels out: pip install {PACKAGE} without [ros]"
        yield Finding("ROS environments", WARNING, f"ROS 2 from {sourced[0]} and wheels ({distros[0]}) together", fix)
    library_path = os.environ.get("LD_LIBRARY_PATH", "")
    if os.environ.get("_ROS_WHEELS_BOOTSTRAP_COMPLETE") and distros and sys.prefix not in library_path:
        fix = "unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH"
        yield Finding("ROS environments", WARNING, "LD_LIBRARY_PATH was set by another environment's wheels", fix)


def ros(timeout: float) -> Iterator[Finding]:
    command = [sys.executable, "-m", "objective_agent_nodes.dds_check"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        yield Finding("ROS 2", MISSING, f"the check did not end within {timeout:g} s", "close other ROS 2 programs and repeat")
        return
    report = last_json(done.stdout)
    if report is None:
        yield ros_missing(done.stderr)
        return
    yield Finding("ROS 2", OK, f"{report['distro']}, {report['rmw']}, rclpy from {report['path']}")
    if report["seconds"] is None:
        fix = (
            "allow multicast on the loopback interface (sudo ip link set lo multicast on); check the firewall and ROS_DOMAIN_ID"
        )
        yield Finding("DDS", MISSING, "a message between two processes did not arrive", fix)
    else:
        yield Finding("DDS", OK, f"a message between two processes arrived in {report['seconds']:.2f} s")
    yield profile()


def ros_missing(stderr: str) -> Finding:
    lines = stderr.strip().splitlines()
    detail = one_line(lines[-1]) if lines else "the check ended without a word"
    if "No module named 'rclpy'" in detail:
        fix = f"pip install '{PACKAGE}[ros]', or, where ROS 2 comes from apt: source /opt/ros/$ROS_DISTRO/setup.bash"
        return Finding("ROS 2", MISSING, "rclpy is not installed", fix)
    return Finding(
        "ROS 2", MISSING, detail, "unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH PYTHONPATH, or install it anew"
    )


def profile() -> Finding:
    names = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
    chosen = next((os.environ[name] for name in names if os.environ.get(name)), None)
    if chosen is None:
        return Finding("Fast DDS profile", OK, "none chosen: run, demo and the launch files bring their own")
    if not Path(chosen).is_file():
        return Finding("Fast DDS profile", WARNING, f"{chosen} does not exist", f"unset {' '.join(names)}")
    return Finding("Fast DDS profile", OK, chosen)


def shared_memory() -> Iterator[Finding]:
    """Fast DDS keeps its queues in /dev/shm; what a killed process left there can jam the next one."""
    if not SHM.is_dir():
        return
    free = shutil.disk_usage(SHM).free // 2**20
    if free < 128:
        fix = "give it more: in a container --shm-size 512m; else sudo mount -o remount,size=512M /dev/shm"
        yield Finding("/dev/shm", WARNING, f"{free} MB free: camera images may be dropped", fix)
    files = {
        str(path) for pattern in ("fastrtps_*", "sem.fastrtps_*", "fastdds_*", "sem.fastdds_*") for path in SHM.glob(pattern)
    }
    left = files - in_use() if files else files
    if left:
        fix = "when no ROS 2 program runs: rm -f /dev/shm/*fastrtps_* /dev/shm/*fastdds_*"
        yield Finding("/dev/shm", WARNING, f"{len(left)} files that no process of yours uses, left by killed programs", fix)
    else:
        yield Finding("/dev/shm", OK, f"{free} MB free, nothing left behind")


def in_use() -> set[str]:
    """Files in /dev/shm that a process maps or holds open, as far as this user may see."""
    used = set()
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # processes and their files come and go, and not all are ours to see
            lines = (process / "maps").read_text().splitlines()
            used |= {line.split(maxsplit=5)[-1] for line in lines if "/dev/shm/" in line}
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    used.add(os.readlink(link))
    return used


def data() -> Iterator[Finding]:
    """The files that ship with the package: parameter files and worlds."""
    try:
        from objective_agent import resources
    except ImportError as error:
        yield Finding("share", MISSING, one_line(str(error)), "install what is missing above")
        return
    for folder, suffix in (("config", ".yaml"), ("worlds", ".xml")):
        known = resources.listing(folder, suffix)
        place = next((str(root / folder) for root in resources.roots() if (root / folder).is_dir()), "nowhere")
        if known:
            yield Finding(folder, OK, f"{', '.join(known)}  ({place})")
        else:
            fix = "install the package anew (pip install . or colcon build), or source the workspace it is in"
            yield Finding(folder, MISSING, f"no {folder}/*{suffix} found", fix)


def run_lines(command: list[str], timeout: float) -> list[dict]:
    """The JSON lines a command wrote before it ended or ran out of time."""
    try:
        out = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=timeout).stdout
    except subprocess.TimeoutExpired as error:
        out = (error.stdout or b"").decode() if isinstance(error.stdout, bytes) else error.stdout or ""
    return [report for line in out.splitlines() if (report := last_json(line)) is not None]


def last_json(text: str) -> dict | None:
    for line in reversed(text.splitlines()):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except json.JSONDecodeError:
                continue
    return None


def one_line(text: str) -> str:
    return " ".join(text.split())[:300]
