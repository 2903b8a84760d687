"""What is minimised, and what is reported."""

__all__: list[str] = []
