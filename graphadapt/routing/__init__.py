"""Temperature, threshold, and compositions of tasks."""

__all__: list[str] = []
