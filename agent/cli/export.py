"""`objective-agent export`: a trained model of frames as ONNX graphs, checked against the network they were made of."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from objective_agent.cli import arguments

HELP = "write a trained model of images as ONNX graphs: encoder, predictor step and whole rollout"
EXAMPLE = "objective-agent export --model models/two_room --horizon 4"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="DIR", help="the model's folder; graphs and a section of its card go there"
    )
    parser.add_argument(
        "--horizon", type=arguments.count, default=4, metavar="H", help="steps of the whole rollout (default: 4)"
    )
    members = "futures of each candidate (default: the predictor's members)"
    parser.add_argument("--futures", type=arguments.count, metavar="K", help=members)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the section here, too")


def main(args: argparse.Namespace) -> int:
    from objective_agent import weights
    from objective_agent.learning.checkpoint import write_bytes
    from objective_agent.learning.frames.export import export_model

    folder = weights.find_model(args.model)
    about = export_model(folder, args.horizon, args.futures, lambda part: print(f"{folder}/{part}.onnx ...", flush=True))
    for part, found in about["files"].items():
        times = ", ".join(f"{name} {value:g} ms" for name, value in found["milliseconds"].items())
        print(
            f"{part}: {found['bytes'] / 1e6:.2f} MB, differs by {found['largest_difference']:g} of the largest value; {times}"
        )
    if "encoder" not in about["files"]:
        print("encoder: a frozen ONNX graph already; plugin frame_jepa runs it in onnxruntime")
    print("run it with the plugins frame_onnx (encoder, world_model)")
    if args.json is not None:
        write_bytes(args.json, (json.dumps(about, indent=2) + "\n").encode())
    return 0
