"""How fast training is on a CPU: parts of ``train_speed.py``."""

__all__: list[str] = []
