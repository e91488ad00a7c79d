"""The page: sections drawn from a report's dict and from nothing else, and the notebook turned into one HTML file.

Every function that takes the report returns an `Html`, which JupyterLab shows too. Nothing here imports torch.
"""

from reportlib.render.artifacts import bert_layers, final_artifacts, intermediate_artifacts, pipeline
from reportlib.render.controls import controls, rivals
from reportlib.render.growth import costs, differences, layers_truth
from reportlib.render.html import Html
from reportlib.render.margins import margins
from reportlib.render.measures import search_lists, search_quality
from reportlib.render.opening import findings, first_screen
from reportlib.render.operations import root_operations
from reportlib.render.order import sort_order, sort_probes
from reportlib.render.origins import environment_differences, provenance, reproduce
from reportlib.render.publish import publish
from reportlib.render.search import changed_queries, rankings, search
from reportlib.render.swaps import swaps

__all__ = [
    "Html",
    "bert_layers",
    "changed_queries",
    "controls",
    "costs",
    "differences",
    "environment_differences",
    "final_artifacts",
    "findings",
    "first_screen",
    "intermediate_artifacts",
    "layers_truth",
    "margins",
    "pipeline",
    "provenance",
    "publish",
    "rankings",
    "reproduce",
    "rivals",
    "root_operations",
    "search",
    "search_lists",
    "search_quality",
    "sort_order",
    "sort_probes",
    "swaps",
]
