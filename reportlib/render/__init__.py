"""The page: sections drawn from a report's dict and from nothing else, and the notebook turned into one HTML file.

Every function that takes the report returns an `Html`, which JupyterLab shows too. Nothing here imports torch.
"""

from reportlib.render.artifacts import final_artifacts, intermediate_artifacts, pipeline
from reportlib.render.controls import controls
from reportlib.render.growth import costs, differences, layers_truth
from reportlib.render.html import Html
from reportlib.render.layers import bert_layers
from reportlib.render.margins import margins
from reportlib.render.opening import findings, first_screen
from reportlib.render.operations import root_operations
from reportlib.render.order import sort_order, sort_probes
from reportlib.render.origins import environment_differences, provenance, reproduce
from reportlib.render.publish import publish
from reportlib.render.rankings import rankings
from reportlib.render.rivals import rivals
from reportlib.render.search import search
from reportlib.render.search_changed import changed_queries
from reportlib.render.search_lists import search_lists
from reportlib.render.search_quality import search_quality
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
