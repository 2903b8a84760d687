"""How many threads of the CPU training computes on."""

import torch

from graphadapt.graphs.dgl_bridge import dgl_supports, load_dgl
from graphadapt.molecules.process_map import available_cores

__all__ = ["use_threads"]


def use_threads(count: int) -> None:
    """Compute on ``count`` threads from now on, DGL's kernels too, which count by themselves.

    0 is torch's own choice: a thread for each core, or what ``OMP_NUM_THREADS`` says. A container
    that may use less time than that is taken at its limit.
    """
    wanted = count or min(torch.get_num_threads(), available_cores())
    if not count and wanted == torch.get_num_threads():
        return
    torch.set_num_threads(wanted)
    if dgl_supports("cpu"):
        load_dgl().utils.set_num_threads(wanted)
