"""The page: sections drawn from a report's dict and from nothing else, and the notebook turned into one HTML file.

Every function that takes the report returns an `Html`, which JupyterLab shows too. Nothing here imports torch.
"""

from reportlib.render.artifacts import final_artifacts, intermediate_artifacts, pipeline
from reportlib.render.html import Html
from reportlib.render.layers import bert_layers
from reportlib.render.opening import findings, first_screen
from reportlib.render.order import sort_order, sort_probes
from reportlib.render.origins import environment_differences, provenance, reproduce
from reportlib.render.publish import publish
from reportlib.render.search import rankings
from reportlib.render.swaps import swaps

__all__ = [
    "Html",
    "bert_layers",
    "environment_differences",
    "final_artifacts",
    "findings",
    "first_screen",
    "intermediate_artifacts",
    "pipeline",
    "provenance",
    "publish",
    "rankings",
    "reproduce",
    "sort_order",
    "sort_probes",
    "swaps",
]
