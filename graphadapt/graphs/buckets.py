"""Few batch shapes for a whole epoch: sizes rounded up to the rungs of a ladder.

Shapes: G graphs of a table, P batches.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from graphadapt.errors import ConfigError

__all__ = ["BatchSize", "BucketLadder", "UsualBuckets"]

_MULTIPLE = 8
"""Matrices whose rows come in multiples of it are multiplied at a GPU's best rate."""

_BONDS_A_NODE = 8
"""Most padding bonds that one padding node takes on, so that what passes along them stays about as
large as it is between atoms."""


class BatchSize(NamedTuple):
    """How much a batch holds."""

    nodes: int

    bonds: int
    """Each counted once; a batch has twice as many directed edges."""

    def holds(self, size: "BatchSize") -> bool:
        """Whether a batch of that size can be padded to this one.

        Padding bonds join padding nodes, so there is none of them without one of those.
        """
        nodes, bonds = self.nodes - size.nodes, self.bonds - size.bonds
        return bonds == 0 <= nodes or (bonds > 0 and nodes > 0)


@dataclass(frozen=True, slots=True)
class BucketLadder:
    """Rung k = 1, 2, … holds ``k * node_step`` nodes and ``k * bond_step`` bonds.

    Every batch fits a rung, whatever is in it and however few graphs, and batches of one number of
    graphs meet only the few rungs about their mean.

    Raises:
        ConfigError: if a step is below 1, or there are eight bonds or more a node.
    """

    node_step: int
    bond_step: int

    def __post_init__(self) -> None:
        if min(self.node_step, self.bond_step) < 1 or self._slack < 1:
            raise ConfigError(
                f"a ladder of {self.node_step} nodes and {self.bond_step} bonds a rung does not "
                f"work; use at least 1 of each, and fewer than {_BONDS_A_NODE} bonds a node"
            )

    @classmethod
    def fit(
        cls,
        atoms_G: NDArray[np.integer],
        bonds_G: NDArray[np.integer],
        batch_size: int,
        padding: float = 0.02,
    ) -> Self:
        r"""The ladder on which random batches of a table carry a given share of padding.

        A batch of b graphs has :math:`b \mu \pm \sqrt b \sigma` nodes, :math:`\mu` and
        :math:`\sigma` being the mean and deviation of one graph's. Rungs stand about
        :math:`2 p b \mu` apart, and the mean batch lies half way between two, so that the mean
        share is p. Nearly all batches keep to :math:`1 + 3 \sigma / (p \mu \sqrt b)` rungs: three
        for 512 drug-like molecules at p = 0.02, eight for 32. A rung has the bonds that its nodes
        usually have and two deviations to spare.

        Args:
            atoms_G: atoms of each molecule, on the host.
            bonds_G: bonds of each molecule.
            batch_size: b, molecules in a batch.
            padding: p, above 0, as a share of a batch's nodes.

        Raises:
            ConfigError: if there is nothing to fit, or molecules have eight bonds an atom.
        """
        if padding <= 0 or batch_size < 1 or len(atoms_G) == 0:
            raise ConfigError(
                f"padding={padding} and batches of {batch_size} out of {len(atoms_G)} molecules "
                "make no ladder; use padding above 0 and at least one molecule"
            )
        nodes = batch_size * float(np.mean(atoms_G))
        rungs_below = max(1, round(0.5 / padding + 0.5)) - 0.5
        node_step = _MULTIPLE * max(1, round(nodes / rungs_below / _MULTIPLE))
        ratio = float(np.mean(bonds_G) / np.mean(atoms_G))
        spare = 2 * float(np.std(bonds_G - ratio * atoms_G)) * math.sqrt(batch_size) / nodes
        return cls(node_step, max(1, math.ceil((ratio + spare) * node_step)))

    def bucket(self, size: BatchSize) -> BatchSize:
        """The size to pad a batch to; it has at least one padding node."""
        rung = int(self.rungs(np.array(size.nodes), np.array(size.bonds)))
        return self.size(rung)

    def size(self, rung: int) -> BatchSize:
        """What a rung holds."""
        return BatchSize(rung * self.node_step, rung * self.bond_step)

    def rungs(
        self, nodes_P: NDArray[np.integer], bonds_P: NDArray[np.integer]
    ) -> NDArray[np.integer]:
        """The lowest rung of every batch that leaves it enough padding nodes, ``(P,)``.

        At least one, and one for every eight padding bonds.
        """
        enough = _over(_BONDS_A_NODE * nodes_P - bonds_P, self._slack)
        fitting = np.maximum(_over(nodes_P + 1, self.node_step), _over(bonds_P, self.bond_step))
        return np.maximum(enough, fitting)

    def buckets(
        self, nodes_P: NDArray[np.integer], bonds_P: NDArray[np.integer]
    ) -> list[BatchSize]:
        """The size to pad every batch to."""
        return [self.size(int(rung)) for rung in self.rungs(nodes_P, bonds_P)]

    @property
    def _slack(self) -> int:
        """Padding bonds that a rung's nodes could take on, less those it has."""
        return _BONDS_A_NODE * self.node_step - self.bond_step


@dataclass(frozen=True, slots=True)
class UsualBuckets:
    """Few of a ladder's rungs, to which all batches are padded that they hold.

    So batches have few shapes, each of which comes up often. A batch whose own rung is not among
    them takes the next higher one, and one above the highest keeps its own.
    """

    ladder: BucketLadder
    rungs: tuple[int, ...]
    """Ascending."""

    @classmethod
    def fit(
        cls,
        ladder: BucketLadder,
        nodes_P: NDArray[np.integer],
        bonds_P: NDArray[np.integer],
        most: int = 4,
    ) -> Self:
        """At most ``most`` rungs, each for about as many of these batches or for more.

        Args:
            ladder: of the table that batches come from.
            nodes_P: nodes of batches such as will come, at least one.
            bonds_P: their bonds.
            most: how many rungs, at least 1.
        """
        shares = np.arange(1, most + 1) / most
        rungs = np.quantile(ladder.rungs(nodes_P, bonds_P), shares, method="higher")
        return cls(ladder, tuple(np.unique(rungs).tolist()))

    def buckets(
        self, nodes_P: NDArray[np.integer], bonds_P: NDArray[np.integer]
    ) -> list[BatchSize]:
        """The size to pad every batch to."""
        own_P = self.ladder.rungs(nodes_P, bonds_P)
        usual = np.array(self.rungs)
        place_P = np.searchsorted(usual, own_P)
        raised_P = np.maximum(own_P, usual[np.minimum(place_P, len(usual) - 1)])
        return [self.ladder.size(int(rung)) for rung in raised_P]


def _over(count_P: NDArray[np.integer], step: int) -> NDArray[np.integer]:
    """Divided and rounded up."""
    return -(-count_P // step)
