"""How many cores' worth of time the system grants, as in a container that was started with a limit.

Such a limit hides no core: a process that starts a thread for each one it sees is stopped for most
of every tenth of a second.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

__all__ = ["core_quota"]

CONTROL_GROUPS: Final = Path("/sys/fs/cgroup")
OWN_GROUPS: Final = Path("/proc/self/cgroup")


def core_quota(groups: Path = CONTROL_GROUPS, own: Path = OWN_GROUPS) -> int | None:
    """Cores that may be busy all the time, rounded up; None without a limit.

    Linux limits a control group and all below it; both versions of its files are read.

    Args:
        groups: where control groups are mounted.
        own: the file that lists this process's.
    """
    shares = [share for folder in _folders(groups, own) if (share := _share(folder)) is not None]
    return max(1, math.ceil(min(shares))) if shares else None


def _folders(groups: Path, own: Path) -> Iterator[Path]:
    """The process's groups and all above them; in a container, these may be the mount itself."""
    try:
        lines = own.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        top = groups / controllers if controllers else groups
        path = top / name.lstrip("/")
        yield from (folder for folder in (path, *path.parents) if folder.is_relative_to(top))


def _share(folder: Path) -> float | None:
    """Time that a group may use in a period, over the period."""
    try:
        if (folder / "cpu.max").exists():
            quota, period = (folder / "cpu.max").read_text("ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text("ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text("ascii").strip()
    except (OSError, ValueError):
        return None
    is_limited = quota.isdecimal() and period.isdecimal() and int(period) > 0
    return int(quota) / int(period) if is_limited else None
