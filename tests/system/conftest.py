"""What all system tests share: which programs they run, and what they cannot do without."""
import os
import pathlib

import pytest

# Failed assertions in these say what was compared.
pytest.register_assert_rewrite("gateway_process", "sim_process", "engine_process")

from sim_process import busbar_path  # noqa: E402


def pytest_report_header(config):
    return f"busbar: {busbar_path()}"


def pytest_collection_modifyitems(config, items):
    if items and not os.access(busbar_path(), os.X_OK):
        raise pytest.UsageError(f"{busbar_path()} is missing: make busbar, or set BUSBAR")


@pytest.fixture
def folder(tmp_path_factory):
    """A folder whose path is short enough for a unix socket (108 bytes)."""
    path = pathlib.Path(tmp_path_factory.mktemp("s"))
    if len(str(path)) > 80:
        pytest.skip(f"the path of temporary folders is too long for sockets: {path}")
    return path
