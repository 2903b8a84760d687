"""How fast molecules are read and prepared: figures of ``prepare_speed.py``."""

__all__: list[str] = []
