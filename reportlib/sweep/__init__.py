"""A sweep: which operations change their bytes over many versions of PyTorch, each installed, measured and removed."""
