"""Record every operation of a forward pass: ``python -m reportlib.trace``, inside an environment.

`format`, `stream` and `switches` need the standard library only, so that the host can use them too; the other
modules need torch. ``docs/trace.md`` describes the folders for other programs.
"""
