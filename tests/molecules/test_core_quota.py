"""A container's limit on time, from files as Linux writes them."""

import sys

import pytest

from graphadapt.molecules import process_map
from graphadapt.molecules.core_quota import core_quota


@pytest.fixture
def system(tmp_path):
    """Write a process's groups and their files; returns the arguments of ``core_quota``."""

    def write(own, **files):
        (tmp_path / "own").write_text(own)
        for name, text in files.items():
            path = tmp_path / "groups" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / "groups", tmp_path / "own"

    return write


@pytest.mark.parametrize(
    ("text", "cores"),
    [("200000 100000\n", 2), ("150000 100000\n", 2), ("10000 100000\n", 1), ("max 100000\n", None)],
)
def test_a_container_sees_its_limit_at_the_mount(system, text, cores):
    assert core_quota(*system("0::/\n", **{"cpu.max": text})) == cores


def test_the_least_of_a_group_and_all_above_it_counts(system):
    files = {
        "user.slice/cpu.max": "300000 100000\n",
        "user.slice/job.scope/cpu.max": "max 100000\n",
        "other.slice/cpu.max": "100000 100000\n",
    }
    assert core_quota(*system("0::/user.slice/job.scope\n", **files)) == 3


def test_the_older_files_are_read_too(system):
    files = {
        "cpu,cpuacct/cpu.cfs_quota_us": "400000\n",
        "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
    }
    own = "7:cpuset:/x\n3:cpu,cpuacct:/docker/1f\n0::/\n"
    assert core_quota(*system(own, **files)) == 4
    files["cpu,cpuacct/cpu.cfs_quota_us"] = "-1\n"
    assert core_quota(*system(own, **files)) is None


def test_without_such_files_there_is_no_limit(tmp_path, system):
    assert core_quota(tmp_path, tmp_path / "nowhere") is None
    assert core_quota(*system("0::/\n", **{"cpu.max": "damaged"})) is None


@pytest.mark.skipif(sys.platform != "linux", reason="needs control groups, which Linux has")
def test_cores_that_may_be_used_are_no_more_than_the_limit(monkeypatch):
    seen = process_map.available_cores()
    monkeypatch.setattr(process_map, "core_quota", lambda: 1)
    assert process_map.available_cores() == 1
    monkeypatch.setattr(process_map, "core_quota", lambda: 10_000)
    assert process_map.available_cores() >= seen
    monkeypatch.setattr(process_map, "core_quota", lambda: None)
    assert process_map.available_cores() >= seen
