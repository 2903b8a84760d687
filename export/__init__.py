"""Trained model to a checked ONNX bundle."""

__all__: list[str] = []

if __name__ != "graphadapt.export":
    raise ImportError(
        f"imported as {__name__!r}; this folder is installed as graphadapt.export: import that name"
    )
