"""Run settings that come with the package, one TOML file each."""

from importlib import resources

__all__ = ["preset_names", "read_preset"]


def preset_names() -> tuple[str, ...]:
    """Names that :func:`read_preset` knows, sorted."""
    names = sorted(item.name for item in resources.files("graphadapt.presets").iterdir())
    return tuple(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read_preset(name: str) -> str:
    """The preset's text.

    Raises:
        FileNotFoundError: if there is none of that name.
    """
    return (resources.files("graphadapt.presets") / f"{name}.toml").read_text("utf-8")
