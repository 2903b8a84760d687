"""What is installed on this machine, which of it works, and what is in conflict."""

__all__: list[str] = []
