"""What reports say in sentences: the macros of sentences.jinja, of an evaluation."""

import functools
import re
from typing import Any

from spikepropamine import statistics, words
from spikepropamine.common import CLEAN_KEY
from spikepropamine.evaluation.rows import TOLD
from spikepropamine.report.evaluation import lesion_name
from spikepropamine.report.page import templates


def sentences(name: str, *facts: Any) -> list[str]:
    """The items of a macro, plain text; its facts are an evaluation, with most."""
    items = re.split(r"^-(?=\s)", getattr(_macros(), name)(*facts), flags=re.MULTILINE)
    return [re.sub("[ \n]+", " ", item).strip() for item in items[1:]]


@functools.cache
def _macros() -> Any:
    environment = templates(extensions=["jinja2.ext.do"])
    for function in (words.number, words.percent, words.listed, words.plural, words.p_value,
                     words.with_interval, lesion_name):  # fmt: skip
        environment.filters[function.__name__] = function
        environment.globals[function.__name__] = function
    environment.globals.update(CLEAN_KEY=CLEAN_KEY, TOLD=TOLD)
    for name in ("HIGHER", "LOWER", "NO_DIFFERENCE"):
        environment.globals[name] = getattr(statistics, name)
    return environment.get_template("sentences.jinja").module
