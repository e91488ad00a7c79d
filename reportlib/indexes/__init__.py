"""Plain ColBERT index folders, read without torch and without unpickling freely."""

from reportlib.indexes.folder import IndexFolder
from reportlib.indexes.torchfile import StoredTensor, load, tensors_of

__all__ = ["IndexFolder", "StoredTensor", "load", "tensors_of"]
