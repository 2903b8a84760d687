"""How fast training is: parts of ``train_speed.py`` and what ``gpu_suite.py`` shares with it."""

__all__: list[str] = []
