"""Messages over the task graph and the adapter graph."""

__all__: list[str] = []
