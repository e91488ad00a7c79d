"""Find out what a PyTorch upgrade changed in a ColBERT index, why, and whether it matters.

The package has three rooms. `reportlib.capture` runs inside an environment, on its torch; `reportlib.compare`
and `reportlib.render` run in the host, without torch. What passes between them is a capture folder,
described by `reportlib.store`.
"""

__version__ = "0.1.0"
