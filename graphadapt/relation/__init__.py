"""The task-by-task relation matrix, however it is made."""

__all__: list[str] = []
