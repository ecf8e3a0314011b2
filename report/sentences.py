"""What reports say in sentences: the macros of sentences.jinja."""

import functools
import re
from typing import Any

from spikepropamine import statistics, words
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.measures import measure_named
from spikepropamine.evaluation.tabulation import TOLD
from spikepropamine.report import page
from spikepropamine.report.evaluation import lesion_name


def sentences(name: str, *facts: Any) -> list[str]:
    """The items of a macro, plain text.

    Args:
        name: of the macro.
        facts: its arguments: the results of an evaluation, with most.
    """
    macro = getattr(_macros(), name)
    items = re.split(r"^-(?=\s)", macro(*facts), flags=re.MULTILINE)
    return [re.sub("[ \n]+", " ", item).strip() for item in items[1:]]


def measure_label(name: str) -> str:
    """The name of a measure in a sentence."""
    return measure_named(name).label


@functools.cache
def _macros() -> Any:
    environment = page.templates(extensions=["jinja2.ext.do"])
    for function in (
        words.number,
        words.percent,
        words.listed,
        words.plural,
        words.p_value,
        words.with_interval,
        lesion_name,
        measure_label,
    ):
        environment.filters[function.__name__] = function
        environment.globals[function.__name__] = function
    environment.globals.update(CLEAN_KEY=CLEAN_KEY, TOLD=TOLD)
    for name in ("HIGHER", "LOWER", "NO_DIFFERENCE"):
        environment.globals[name] = getattr(statistics, name)
    return environment.get_template("sentences.jinja").module
