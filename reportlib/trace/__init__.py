"""Record every operation of a forward pass: ``python -m reportlib.trace``, inside an environment.

`format` says what a trace folder holds and needs the standard library only, so that the host can read it too;
the other modules need torch. ``docs/trace.md`` describes the folder for other programs.
"""
