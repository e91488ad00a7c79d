"""Checkpoints: the model that encodes, from three kinds of source into one folder with one hash."""

from reportlib.checkpoints.preparing import Checkpoint, check_dim, prepare

__all__ = ["Checkpoint", "check_dim", "prepare"]
