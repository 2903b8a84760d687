"""Low-rank adapter banks and the layers they sit at."""

__all__: list[str] = []
