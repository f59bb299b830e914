# `make demo` and `make test` are all that a new machine needs: they make their own environment in .venv.

VENV ?= .venv
ARGS ?=

# Another Python's settings (a sourced ROS workspace, the ROS wheels of another environment) must not reach ours.
unexport LD_LIBRARY_PATH
unexport _ROS_WHEELS_BOOTSTRAP_COMPLETE
unexport PYTHONPATH
unexport PYTHONHOME
unexport AMENT_PREFIX_PATH
unexport RMW_IMPLEMENTATION

.PHONY: help demo test lint format environment clean

help:
	@echo "make demo         a simulated robot drives to three goals; writes demo_out/ (video, plots, bag, figures)"
	@echo "make test         all tests;  make test ARGS='tests/safety -k braking'"
	@echo "make lint         ruff check and ruff format --check"
	@echo "make format       let ruff mend what it can"
	@echo "make environment  only make or mend the environment"
	@echo "make clean        remove the environment and everything built"
	@echo
	@echo "VENV=DIR another environment folder; PYTHON=EXE another interpreter (3.10-3.13); PIP_ARGS=... more arguments to pip;"
	@echo "ARGS=... more arguments to the command (make demo ARGS=--help)"

environment:
	@.ci/environment $(VENV)

demo: environment
	$(VENV)/bin/objective-agent demo $(ARGS)

test: environment
	$(VENV)/bin/python -m pytest $(ARGS)

lint: environment
	$(VENV)/bin/python -m ruff check .
	$(VENV)/bin/python -m ruff format --check .

format: environment
	$(VENV)/bin/python -m ruff check --fix .
	$(VENV)/bin/python -m ruff format .

clean:
	@if [ -f $(VENV)/.objective_agent.made-by-make ]; then rm -rf $(VENV); fi
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find agent nodes tests launch benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
