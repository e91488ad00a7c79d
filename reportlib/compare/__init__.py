"""Set captures side by side: numpy on memory maps, no torch, nothing unpickled."""
