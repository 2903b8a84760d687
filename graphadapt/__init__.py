"""Low-rank adapters for graph networks, from training to serving.

Importing this package imports neither torch nor DGL: ``graphadapt.serve`` runs without them.
"""

from importlib.metadata import version

__all__ = ["__version__"]

__version__ = version("graphadapt")
