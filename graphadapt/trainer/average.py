"""A moving average of weights, which is what gets evaluated and saved as best."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WeightAverage"]


class WeightAverage:
    r"""Exponential moving average of every floating-point weight and buffer.

    .. math:: \bar\theta \leftarrow d_s \bar\theta + (1 - d_s)\,\theta, \qquad
              d_s = \min\left(d, \frac{1 + s}{10 + s}\right)

    so that the first steps do not drag the random start along.

    Args:
        model: whose weights are averaged; integer buffers are copied.
        decay: d in (0, 1).
        capturable: whether steps are recorded and replayed: then :math:`1 - d_s` is a tensor beside
            the weights, which a replay reads anew.
    """

    def __init__(self, model: nn.Module, decay: float, *, capturable: bool = False) -> None:
        self.decay = decay
        self.tensors = {name: t.detach().clone() for name, t in model.state_dict().items()}
        self._share: float | Tensor = 0.0
        if capturable:
            device = next(t.device for t in self.tensors.values())
            self._share = torch.zeros((), device=device)

    def set_step(self, step: int) -> None:
        """Which optimiser step, from 0, the next move comes after."""
        share = 1 - min(self.decay, (1 + step) / (10 + step))
        if isinstance(self._share, Tensor):
            self._share.fill_(share)
        else:
            self._share = share

    @torch.no_grad()
    def follow(self, model: nn.Module) -> None:
        """Move towards the model's weights."""
        own, new = [], []
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                own.append(self.tensors[name])
                new.append(tensor)
            else:
                self.tensors[name].copy_(tensor)
        if isinstance(self._share, Tensor):
            # The form of foreach_lerp that takes a tensor launches a kernel a weight.
            steps = torch._foreach_sub(new, own)
            torch._foreach_mul_(steps, self._share)
            torch._foreach_add_(own, steps)
        else:
            torch._foreach_lerp_(own, new, self._share)

    @contextmanager
    def swapped_in(self, model: nn.Module) -> Iterator[None]:
        """Give the model the averaged weights for a while."""
        live = {name: t.detach().clone() for name, t in model.state_dict().items()}
        model.load_state_dict(self.tensors)
        try:
            yield
        finally:
            model.load_state_dict(live)

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Continue from saved averages."""
        for name, tensor in tensors.items():
            self.tensors[name].copy_(tensor)
