"""What a person reads of a run: tables, routing, allocation, gaps, pictures."""

__all__: list[str] = []
