"""Imports modules and writes what came of each as a line of JSON: `python -m objective_agent.cli.probe NAME…`.

`doctor` runs it in a process of its own, so that a module that crashes or hangs costs a line of the report and not the report.
"""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import PackageNotFoundError, packages_distributions, version


def probe(name: str) -> dict:
    """What is known of one module after importing it: `version`, `error` (None when it works) and a `detail`."""
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # an extension module may raise anything
        missing = isinstance(error, ModuleNotFoundError) and error.name == name
        return {"module": name, "version": None, "error": "not installed" if missing else f"{type(error).__name__}: {error}"}
    found = {"module": name, "version": version_of(module, name), "error": None, "detail": ""}
    if name == "torch":
        found["detail"] = torch_detail(module)
    elif name == "onnxruntime":
        found["detail"] = ", ".join(module.get_available_providers())
    elif name == "imageio_ffmpeg":
        found["detail"] = module.get_ffmpeg_exe()
    return found


def version_of(module, name: str) -> str:
    for distribution in packages_distributions().get(name, ()):
        try:
            return version(distribution)
        except PackageNotFoundError:
            continue
    return str(getattr(module, "__version__", "unknown version"))


def torch_detail(torch) -> str:
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return f"device {device}, {torch.get_num_threads()} threads"


if __name__ == "__main__":
    for wanted in sys.argv[1:]:
        print(json.dumps(probe(wanted)), flush=True)
