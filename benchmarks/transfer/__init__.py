"""What pretraining is worth: parts of ``pretraining.py`` and ``starts_of_quickstart.py``."""

__all__: list[str] = []
