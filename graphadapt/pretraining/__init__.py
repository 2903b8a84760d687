"""Train a backbone on molecules without labels, and write it as a file that others start from."""

__all__: list[str] = []
