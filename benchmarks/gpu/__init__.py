"""What only a GPU can show: parts of ``gpu_suite.py``."""

__all__: list[str] = []
