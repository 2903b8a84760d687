"""Low-rank adapters for graph networks, from training to serving.

Importing this package imports neither torch nor DGL: ``graphadapt.serve`` runs without them.
"""

from importlib.metadata import PackageNotFoundError, version

__all__ = ["__version__"]


def _version() -> str:
    """Of the installed package; a checkout on the path has none."""
    try:
        return version("graphadapt")
    except PackageNotFoundError:
        return "0+unknown"


__version__ = _version()
