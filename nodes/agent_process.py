"""All six module nodes in one process, which holds one copy of the model; they still talk through topics."""

from __future__ import annotations

import sys

from objective_agent_nodes.graph import MODULES
from objective_agent_nodes.process import run


def main(args=None) -> int:
    return run(lambda: [place.node_class()() for place in MODULES.values()], args)


if __name__ == "__main__":
    sys.exit(main())
