"""Steps and epochs, saving and resuming, many processes."""

__all__: list[str] = []
