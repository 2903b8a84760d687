"""Save chemprop's default network, not trained, to the file that is named; in its environment."""

import sys

__all__ = ["main"]


def main() -> None:
    from chemprop import models, nn
    from chemprop.models.utils import save_model

    network = models.MPNN(nn.BondMessagePassing(), nn.MeanAggregation(), nn.RegressionFFN())
    save_model(sys.argv[1], network)


if __name__ == "__main__":
    main()
