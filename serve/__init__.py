"""Answers from a bundle with NumPy, RDKit and ONNX Runtime; never torch."""

__all__: list[str] = []

if __name__ != "graphadapt.serve":
    raise ImportError(
        f"imported as {__name__!r}; this folder is installed as graphadapt.serve: import that name"
    )
