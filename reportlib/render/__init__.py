"""The page: sections drawn from a report's dict and from nothing else, and the notebook turned into one HTML file.

Every function that takes the report returns an `Html`, which JupyterLab shows too. Nothing here imports torch.
"""

from reportlib.render.artifacts import (
    every_artifact,
    every_layer,
    every_step,
    every_swap,
    the_sort,
    what_changed,
    where_it_starts,
)
from reportlib.render.causes import every_operation, why
from reportlib.render.html import Html
from reportlib.render.page import first_screen
from reportlib.render.publish import publish
from reportlib.render.search import does_it_matter, every_search, one_query
from reportlib.render.trust import (
    environment_differences,
    every_finding,
    measured_on,
    provenance,
    reproduce,
    trust,
)

__all__ = [
    "Html",
    "does_it_matter",
    "environment_differences",
    "every_artifact",
    "every_finding",
    "every_layer",
    "every_operation",
    "every_search",
    "every_step",
    "every_swap",
    "first_screen",
    "measured_on",
    "one_query",
    "provenance",
    "publish",
    "reproduce",
    "the_sort",
    "trust",
    "what_changed",
    "where_it_starts",
    "why",
]
