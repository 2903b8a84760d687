"""What the two forms of an adapted layer cost, in floating-point operations.

Shapes: N rows, D in, F out, m = KR columns of all adapters together.
"""

from dataclasses import dataclass

__all__ = ["AdapterCost"]


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterCost:
    """Matrix-product FLOP that adapters add to one forward and backward pass of their layer.

    A multiplication with its addition counts two. What the plain layer costs anyway is left out.
    With everything above frozen but the adapters, the usual case in training,

    * factored: ``6 N m (D + F)``, in proportion to the rows;
    * effective: ``6 D F m + 2 N D F``, mostly the gradient of the effective weight.

    So over many rows the effective form is cheaper as soon as ``m > DF / (3 (D + F))``, and sooner
    where that gradient is needed anyway because the layer itself is trained.
    """

    rows: int
    in_features: int
    out_features: int
    total_rank: int
    trains_adapters: bool = False
    trains_layer: bool = False
    trains_input: bool = False

    @property
    def factored(self) -> int:
        """FLOP of ``x U^T`` times the weighted ``V^T``, and of their gradients."""
        down = 2 * self.rows * self.total_rank * self.in_features
        up = 2 * self.rows * self.total_rank * self.out_features
        hidden_gradient = up * (self.trains_adapters or self.trains_input)
        return (down + up) * (1 + self.trains_adapters) + hidden_gradient + down * self.trains_input

    @property
    def effective(self) -> int:
        """FLOP of forming ``V diag(α) U``, and of its gradients."""
        product = 2 * self.in_features * self.out_features * self.total_rank
        gradient = 2 * self.rows * self.in_features * self.out_features
        needs_gradient = self.trains_adapters and not self.trains_layer
        return product * (1 + 2 * self.trains_adapters) + gradient * needs_gradient

    @property
    def prefers_effective(self) -> bool:
        """Whether the effective weight is the cheaper form."""
        return self.effective < self.factored
