"""Collections: four kinds of source, brought into one folder with one hash.

`prepare` is for the host. The reading half (`read_passages`, `read_queries`, `read_judgements`,
`queries_within`) is what runs inside an environment.
"""

from reportlib.collections.preparing import Collection, prepare
from reportlib.collections.reading import (
    Judgement,
    Passage,
    Query,
    queries_within,
    read_judgements,
    read_passages,
    read_queries,
)

__all__ = [
    "Collection",
    "Judgement",
    "Passage",
    "Query",
    "prepare",
    "queries_within",
    "read_judgements",
    "read_passages",
    "read_queries",
]
