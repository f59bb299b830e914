"""The command line's frame: finding commands, cheap help, one-line errors, exit codes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from objective_agent.cli import bench, discovery, main
from objective_agent.types import ConfigurationError, InputError, ObjectiveAgentError

ROOT = Path(__file__).resolve().parents[2]
COMMAND = """
HELP = "does what the test asks"
EXAMPLE = "objective-agent {name} --what 1"

def add_arguments(parser):
    parser.add_argument("--what", type=int, default=0)

def main(args):
    return _main(args)
"""


def run(*arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "objective_agent.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60, **options)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """`command(main)` installs a third party's command `third` and returns a function that runs it."""

    def install(action, text: str = COMMAND.format(name="third"), preamble: str = ""):
        (tmp_path / "third_party_command.py").write_text(preamble + text)
        monkeypatch.syspath_prepend(str(tmp_path))
        sys.modules.pop("third_party_command", None)
        monkeypatch.setattr("builtins._main", action, raising=False)
        point = EntryPoint("third", "third_party_command", discovery.GROUP)
        monkeypatch.setattr(discovery, "entry_points", lambda group: [point])
        return lambda *arguments: main.main(["third", *arguments])

    yield install
    sys.modules.pop("third_party_command", None)


def raising(error: BaseException):
    def action(args):
        raise error

    return action


def test_help_names_every_command_and_imports_neither_torch_nor_numpy_nor_ros():
    code = (
        "import sys\nfrom objective_agent.cli.main import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'numpy', 'rclpy', 'mujoco'} & set(sys.modules)\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert done.returncode == 0, done.stderr
    for name in discovery.commands():
        assert f"\n    {name}" in done.stdout
    assert {"bench", "doctor"} <= discovery.commands().keys()
    assert "example:" in done.stdout


@pytest.mark.parametrize("name", sorted(discovery.commands()))
def test_every_command_has_a_help_page_with_an_example(name):
    done = run(name, "--help")
    if done.returncode == 1 and "not installed" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    assert f"example: objective-agent {name}" in " ".join(done.stdout.split())


def test_helper_modules_beside_the_commands_are_no_commands():
    assert not {"main", "discovery", "probe", "__init__"} & discovery.commands().keys()


def test_a_third_party_command_is_found_by_its_entry_point_and_gets_its_arguments(command):
    seen = []
    third = command(lambda args: seen.append(args.what) or 0)
    assert third("--what", "7") == 0
    assert seen == [7]
    assert discovery.commands()["third"].help == "does what the test asks"


def test_looking_for_commands_does_not_import_them(command):
    command(raising(AssertionError()), preamble="raise SystemExit('imported')\n")
    assert "third" in discovery.commands()
    assert "third_party_command" not in sys.modules


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ObjectiveAgentError("the graph did not come up"), 1),
        (ConfigurationError("sim.yaml: actor.horizon = -1"), 2),
        (InputError("no such world"), 2),
        (KeyboardInterrupt(), 130),
        (PermissionError(13, "Permission denied", "/out/x.json"), 1),
        (ModuleNotFoundError("No module named 'mujoco'", name="mujoco"), 1),
        (ModuleNotFoundError("No module named 'rclpy'", name="rclpy"), 1),
        (ZeroDivisionError("division by zero"), 1),
    ],
)
def test_every_failure_is_one_line_with_its_exit_code(command, capsys, error, code):
    assert command(raising(error))() == code
    err = capsys.readouterr().err
    assert err.startswith("objective-agent third: error: ")
    assert err.count("\n") == 1


def test_missing_modules_name_their_extra(command, capsys):
    command(raising(ModuleNotFoundError("No module named 'mujoco.rollout'", name="mujoco.rollout")))()
    assert "objective_agent[sim]" in capsys.readouterr().err


def test_a_command_that_needs_ros_says_how_to_get_it(command, capsys):
    third = command(lambda args: 0, preamble="raise ModuleNotFoundError(\"No module named 'rclpy'\", name='rclpy')\n")
    with pytest.raises(SystemExit) as end:
        third()
    assert end.value.code == 1
    err = capsys.readouterr().err
    assert "objective_agent[ros]" in err and "setup.bash" in err and err.count("\n") == 1


def test_a_bug_shows_its_traceback_on_request(command):
    with pytest.raises(ZeroDivisionError):
        command(raising(ZeroDivisionError()))("--log-level", "debug")


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("doctor", "--nonsense"), ("third", "--what", "x"), ("--log-level", "loud")]
)
def test_wrong_usage_is_one_line_and_exit_code_2(command, capsys, arguments):
    command(lambda args: 0)
    with pytest.raises(SystemExit) as end:
        main.main(arguments)
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "error: " in err and "--help" in err


def test_a_command_may_have_a_log_level_of_its_own(command):
    text = COMMAND.format(name="third").replace('"--what", type=int, default=0', '"--log-level", choices=["fatal"]')
    seen = []
    third = command(lambda args: seen.append(args.log_level), text)
    with pytest.raises(SystemExit):
        third("--log-level", "debug")
    assert seen == []


def test_ctrl_c_ends_a_real_process_with_130_and_one_line(tmp_path):
    (tmp_path / "sleeper.py").write_text(
        "import time\nHELP = 'sleeps'\ndef add_arguments(parser): pass\n"
        "def main(args):\n    print('asleep', flush=True)\n    time.sleep(30)\n"
    )
    code = textwrap.dedent("""
        import sys
        from importlib.metadata import EntryPoint
        from objective_agent.cli import discovery, main
        discovery.entry_points = lambda group: [EntryPoint("sleeper", "sleeper", group)]
        sys.exit(main.main(["sleeper"]))
    """)
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}"}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout.readline() == "asleep\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert err == "objective-agent sleeper: error: stopped with Ctrl-C\n"


def test_a_closed_pipe_is_not_a_traceback():
    command = f"{sys.executable} -m objective_agent.cli.main doctor --json | head -c 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=ROOT, timeout=90)
    assert "Traceback" not in done.stderr


def test_bench_runs_a_benchmark_of_the_clone_and_writes_its_figures(tmp_path, monkeypatch, capsys):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks" / "adding.py").write_text(
        "HELP = 'adds'\ndef add_arguments(parser):\n    parser.add_argument('--n', type=int)\n"
        "def main(args):\n    return {'sum': sum(range(args.n))}\n"
    )
    (tmp_path / "benchmarks" / "helper.py").write_text("VALUE = 1\n")
    monkeypatch.setattr(bench.objective_agent, "__file__", str(tmp_path / "agent" / "__init__.py"))
    assert list(bench.benchmarks()) == ["adding"]
    out = tmp_path / "out.json"
    assert main.main(["bench", "adding", "--n", "4", "--json", str(out)]) == 0
    assert out.read_text() == capsys.readouterr().out == '{\n  "sum": 6\n}\n'


def test_bench_says_where_benchmarks_are_when_installed_without_them(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bench.objective_agent, "__file__", str(tmp_path / "objective_agent" / "__init__.py"))
    with pytest.raises(SystemExit) as end:
        main.main(["bench", "planning"])
    assert end.value.code == 1
    assert "clone" in capsys.readouterr().err


def test_help_is_quick():
    started = time.monotonic()
    run("--help")
    assert time.monotonic() - started < 5
