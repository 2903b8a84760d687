"""What a pretrained network is worth: parts of ``pretraining.py``."""

__all__: list[str] = []
