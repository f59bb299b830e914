import pytest
from made_up_run import write_run


@pytest.fixture(scope="session")
def run_mcap(tmp_path_factory):
    """Path of the made-up run's MCAP file."""
    path = tmp_path_factory.mktemp("run") / "run.mcap"
    write_run(path)
    return path
