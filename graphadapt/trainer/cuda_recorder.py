"""Recording steps as CUDA graphs, and whether that is to be done."""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from graphadapt.progress import note
from graphadapt.trainer.distributed import Workers
from graphadapt.trainer.learner import Learner, PlannedLearner
from graphadapt.trainer.recorded_steps import Recorder
from graphadapt.training_config import TrainerConfig

__all__ = ["CudaRecorder", "choose_recorder", "told_apart"]

_SYNCHRONISES = "called a synchronizing CUDA operation"
"""What torch says of a call that waits for the device, when it is asked to."""

_PROTOTYPE = "Synchronization debug mode"
"""How torch begins to say, once, that asking it is a prototype."""


class CudaRecorder:
    """CUDA graphs that share one pool of memory; they are replayed one after the other.

    Steps that are not recorded run on the same side stream as the recording, as libraries' work
    space and autograd's accumulators belong to the stream that they first met. Torch's generator is
    registered with every graph, so that a replay draws what the step would from the same seed.

    Args:
        device: a GPU.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Run on the side stream, after what came before and before what comes after."""
        outer = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(outer)
        try:
            with torch.cuda.stream(self.stream):
                yield
        finally:
            outer.wait_stream(self.stream)

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Collect torch's warnings of synchronising calls, of which no graph can be captured."""
        found: list[str] = []
        before = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                yield found
            finally:
                torch.cuda.set_sync_debug_mode(before)
        found += told_apart(caught)

    def record(self, work: Callable[[], Tensor]) -> tuple[Callable[[], object], Tensor]:
        """Capture ``work``; nothing of it is run.

        Raises:
            RuntimeError: if it does what no graph can; steps can still be taken one kernel at a
                time, while no earlier recording of this object may be replayed any more.
        """
        graph, is_whole = torch.cuda.CUDAGraph(), False
        # Other threads, such as a loader's that pins memory, may do what a capture may not.
        capture = torch.cuda.graph(
            graph, pool=self._pool, stream=self.stream, capture_error_mode="thread_local"
        )
        try:
            with capture:
                result = work()
            is_whole = True
        finally:
            if not is_whole:
                self._clear_up(graph)
        return graph.replay, result

    def _clear_up(self, graph: torch.cuda.CUDAGraph) -> None:
        """Put in order what torch leaves of a capture that ended in an error.

        Its generator would wait for a capture's end for ever, and refuse to draw; its allocator
        would go on to ask whether memory is for the capture.
        """
        graph.reset()
        index = self.stream.device.index
        end = getattr(torch._C, "_cuda_endAllocateToPool", None)  # torch's own, and may be renamed
        with suppress(RuntimeError):  # it is over already where only our own code failed
            if end is not None:
                end(index, self._pool)
        generator = torch.cuda.default_generators[index]
        fresh = torch.Generator(self.stream.device)
        fresh.manual_seed(generator.initial_seed())
        generator.graphsafe_set_state(fresh)
        self._pool = torch.cuda.graph_pool_handle()


def told_apart(caught: Iterable[warnings.WarningMessage]) -> list[str]:
    """What torch says of calls that wait for the device; all else is warned of as it was."""
    found = []
    for warning in caught:
        text = str(warning.message)
        if _SYNCHRONISES in text:
            found.append(f"{text.splitlines()[0]} ({warning.filename}:{warning.lineno})")
        elif not text.startswith(_PROTOTYPE):
            warnings.warn_explicit(
                warning.message, warning.category, warning.filename, warning.lineno
            )
    return found


def choose_recorder(
    learner: Learner, settings: TrainerConfig, workers: Workers, *, shown: bool = True
) -> Recorder | None:
    """What records the learner's steps; None where there is nothing to gain or no way.

    Where a GPU trains and its steps cannot be recorded, a line says why.
    """
    if learner.device.type != "cuda" or not settings.capture:
        return None
    if workers.world > 1:
        obstacle = "several processes add up their gradients"
    elif not isinstance(learner, PlannedLearner):
        obstacle = f"{type(learner).__name__} decides each step as it comes"
    else:
        obstacle = learner.obstacle
    if not obstacle:
        return CudaRecorder(learner.device)
    note(f"steps are taken one kernel at a time: {obstacle}", shown=shown)
    return None
