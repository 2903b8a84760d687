"""Settings that come with the package, one TOML file each; those that pretrain in a folder."""

import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

from graphadapt.errors import ConfigError

__all__ = ["preset_names", "read_preset", "read_settings"]


def preset_names(folder: str = "") -> tuple[str, ...]:
    """Names that :func:`read_preset` knows, sorted; ``folder`` may be ``pretraining``."""
    place = resources.files("graphadapt.presets") / folder
    names = sorted(item.name for item in place.iterdir())
    return tuple(name.removesuffix(".toml") for name in names if name.endswith(".toml"))


def read_preset(name: str, folder: str = "") -> str:
    """The preset's text.

    Raises:
        FileNotFoundError: if there is none of that name.
    """
    return (resources.files("graphadapt.presets") / folder / f"{name}.toml").read_text("utf-8")


def read_settings(source: str | Path, folder: str = "") -> dict[str, Any]:
    """Nested tables of a TOML file, or of the preset of that name.

    Raises:
        ConfigError: if it is neither, or is not TOML.
    """
    path = Path(source)
    if path.is_file():
        text = path.read_bytes()
    elif str(source) in preset_names(folder):
        text = read_preset(str(source), folder).encode()
    else:
        raise ConfigError(
            f"{str(source)!r} is neither a file nor a preset; presets are "
            + ", ".join(preset_names(folder))
        )
    try:
        return tomllib.loads(text.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source} is not TOML: {error}") from error
