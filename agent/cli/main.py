"""`objective-agent COMMAND …`: finds the command, reads its arguments, and turns every failure into one line and an exit code.

Exit codes: 0 done; 1 failed; 2 wrong usage, a bad parameter or unusable input; 130 stopped with Ctrl-C.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable, Sequence

from objective_agent import __version__
from objective_agent.cli.discovery import Command, commands

PROGRAM = "objective-agent"
LEVELS = ("debug", "info", "warning", "error")
EXTRAS = {
    "mujoco": "sim",
    "gymnasium": "sim",
    "matplotlib": "sim",
    "imageio_ffmpeg": "sim",
    "rosbags": "train",
    "mcap": "train",
    "mcap_ros2": "train",
    "foxglove": "view",
    "onnxruntime": "cpu",
    "onnx": "export",
}
"""Which extra of the package brings an optional module."""


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which asks for its arguments only when it is really used."""

    def __init__(self, *args, fill: Callable[[Parser], None] | None = None, **kwargs):
        kwargs.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        kwargs.setdefault("conflict_handler", "resolve")
        super().__init__(*args, **kwargs)
        self._fill = fill

    def parse_known_args(self, args=None, namespace=None):
        fill, self._fill = self._fill, None
        if fill is not None:
            fill(self)
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        self.exit(2, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code; only argparse's own exits (help, wrong usage) raise SystemExit."""
    parser = build_parser(commands())
    where = PROGRAM
    level = "warning"
    try:
        args = parser.parse_args(argv)
        where = f"{PROGRAM} {args.command}"
        level = args.log_level
        logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
        code = args.run(args)
        sys.stdout.flush()
        return int(code or 0)
    except KeyboardInterrupt:
        return fail(where, "stopped with Ctrl-C", 130)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        code = own_exit_code(error)
        if level == "debug" and code is None:
            raise
        return fail(where, str(error), code) if code else fail(where, explain(error), 1)


def build_parser(found: dict[str, Command]) -> Parser:
    parser = Parser(
        prog=PROGRAM,
        description="Robot behaviour by planning in a learned world model, under guardrails no goal can argue away.",
        epilog=f"example: {PROGRAM} demo\n         {PROGRAM} COMMAND --help tells a command's arguments, with an example",
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    add_log_level(parser, "warning")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in found.values():
        subparsers.add_parser(command.name, help=command.help, description=command.help, fill=filler(command))
    return parser


def filler(command: Command) -> Callable[[Parser], None]:
    def fill(parser: Parser) -> None:
        try:
            module = command.load()
        except ImportError as error:
            parser.exit(1, f"{parser.prog}: error: {explain(error)}\n")
        add_log_level(parser, argparse.SUPPRESS)
        module.add_arguments(parser)
        example = getattr(module, "EXAMPLE", None)
        if example and not parser.epilog:
            parser.epilog = f"example: {example}"
        parser.set_defaults(run=module.main)

    return fill


def add_log_level(parser: Parser, default: str) -> None:
    parser.add_argument("--log-level", choices=LEVELS, default=default, help="what is logged to stderr (default: warning)")


def own_exit_code(error: Exception) -> int | None:
    """The exit code for an error that a user can cause; None for all others.

    The error types are looked up, not imported: `doctor` must work where NumPy, which they need, is missing.
    """
    types = sys.modules.get("objective_agent.types")
    if types is None or not isinstance(error, types.ObjectiveAgentError):
        return None
    return 2 if isinstance(error, types.ConfigurationError | types.InputError) else 1


def fail(where: str, message: str, code: int) -> int:
    """Writes one line to stderr and returns `code`."""
    print(f"{where}: error: {' '.join(message.split())}", file=sys.stderr)
    return code


def explain(error: Exception) -> str:
    """One line for an exception that is not of our own types: what failed and the mend."""
    if isinstance(error, ImportError):
        return explain_import(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"internal error: {type(error).__name__}: {error}; repeat with --log-level debug for the traceback, and report it"


def explain_import(error: ImportError) -> str:
    name = (error.name or "").partition(".")[0]
    text = str(error)
    if name == "rclpy" and isinstance(error, ModuleNotFoundError):
        return (
            "ROS 2 (rclpy) is not installed here: pip install 'objective_agent[ros]', "
            "or, where ROS 2 comes from apt: source /opt/ros/$ROS_DISTRO/setup.bash"
        )
    if "rclpy" in text or (".so" in text and "ros" in (error.path or text)):
        return (
            f"ROS 2 (rclpy) does not load: {text}; start from a fresh shell, or: "
            "unset _ROS_WHEELS_BOOTSTRAP_COMPLETE LD_LIBRARY_PATH PYTHONPATH; objective-agent doctor tells more"
        )
    if name in EXTRAS:
        return f"{name} is not installed: pip install 'objective_agent[{EXTRAS[name]}]'"
    return f"{text}; objective-agent doctor tells what is missing"


if __name__ == "__main__":
    sys.exit(main())
