"""Names of sites as module keys: torch allows no dot in one."""

__all__ = ["key_of", "site_of"]


def key_of(site: str) -> str:
    """Module key of a site."""
    return site.replace(".", "/")


def site_of(key: str) -> str:
    """Site name of a module key."""
    return key.replace("/", ".")
