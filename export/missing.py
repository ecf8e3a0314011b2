"""Packages that the default installation does without."""

import importlib.util

from spikepropamine.common import UsageError


def needs(extra: str, *modules: str) -> None:
    """Raises UsageError, which names the extra to install, unless all modules are there."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"{' and '.join(missing)} missing: pip install 'spikepropamine[{extra}]'")
