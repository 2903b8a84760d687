"""Every error that a user can cause, as one tree.

::

    GraphAdaptError
    ├── ConfigError       (also ValueError)   a setting that cannot work
    ├── DataError         (also ValueError)   a file, a column, a label, a molecule
    ├── CheckpointError   (also ValueError)   a run folder or its weights
    ├── BundleError       (also ValueError)   an exported bundle that cannot be trusted
    └── DependencyError   (also ImportError)  a package that is missing or broken

The command line prints any of them as one line and leaves with exit code 1.
"""

__all__ = [
    "BundleError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DependencyError",
    "GraphAdaptError",
]


class GraphAdaptError(Exception):
    """Root of what a user can cause; its text says what was given and what would work."""


class ConfigError(GraphAdaptError, ValueError):
    """A setting or argument that cannot work."""


class DataError(GraphAdaptError, ValueError):
    """A file, column, label or molecule that cannot be used."""


class CheckpointError(GraphAdaptError, ValueError):
    """A run folder or weight file that does not fit."""


class BundleError(GraphAdaptError, ValueError):
    """An exported bundle that is damaged, foreign or too new."""


class DependencyError(GraphAdaptError, ImportError):
    """A package that is missing, too old or in conflict with another."""
