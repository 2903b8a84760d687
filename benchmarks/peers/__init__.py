"""Other libraries on the same work: training the same network, and answering the same molecules."""

__all__: list[str] = []
