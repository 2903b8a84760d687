"""How fast molecules are read and prepared: ``featurise_speed.py`` and ``prepare_speed.py``."""

__all__: list[str] = []
