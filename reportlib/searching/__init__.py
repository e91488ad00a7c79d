"""Search the plain arms' indexes inside an environment: its own, another version's, and its own with other seeds.

So that an index and the code that searches it are told apart, each version searches its own index and the other's. As a
yardstick the first environment also searches its own index made again with other seeds for k-means. Importing this
package imports no torch (`reportlib.capture.prepare_process` must come first).
"""

from __future__ import annotations

from reportlib.capture.request import SearchRequest

__all__ = ["SearchRequest"]
