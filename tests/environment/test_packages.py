"""Requirements are read from the distribution and compared as versions, not as text."""

import tomllib

import pytest

from graphadapt.environment.packages import (
    Package,
    extra_names,
    extras_included,
    packages,
    python_fits,
    version_fits,
)
from graphadapt.errors import ConfigError


def test_the_requirements_are_those_of_the_project_file(repository):
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    written = {"base": project["dependencies"], **project["optional-dependencies"]}
    expected = {
        (extra, requirement.partition("[")[0].partition(">")[0].strip())
        for extra, requirements in written.items()
        for requirement in requirements
        if not requirement.startswith("graphadapt")
    }
    assert {(package.extra, package.name) for package in packages()} == expected
    assert set(extra_names()) == set(project["optional-dependencies"])


def test_an_extra_brings_those_that_it_names():
    assert extras_included(["test"]) == {"base", "test", "export", "serve", "train"}
    assert extras_included([]) == {"base"}


def test_an_unknown_extra_is_refused():
    with pytest.raises(ConfigError, match="no extra 'trian'; there are export"):
        extras_included(["trian"])


@pytest.mark.parametrize(
    ("found", "wanted", "fits"),
    [
        ("2.13.0+cpu", ">=2.11,<=2.13.0", True),
        ("2.13.1", ">=2.11,<=2.13.0", False),
        ("2.9", ">=2.11", False),
        ("2.11", ">=2.11.0", True),
        ("3.0.0", "<3", False),
        ("2.1.0", ">=2.1,<3", True),
        ("2025.9.1", ">=2025.3", True),
        ("1.2", "==1.2.0", True),
        ("1.2", "!=1.2", False),
        ("0.0.1", "", True),
    ],
)
def test_versions_compare_by_number(found, wanted, fits):
    assert version_fits(found, wanted) is fits


def test_a_package_that_is_absent_does_not_fit():
    assert not Package("x", "train", "", "").fits


def test_this_python_is_supported():
    assert python_fits()
