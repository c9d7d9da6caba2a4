"""A copy of the project for the tests of one module that leave no results in it, or their own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.project import copy_of_the_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_of_the_project(tmp_path_factory.mktemp("project"))
