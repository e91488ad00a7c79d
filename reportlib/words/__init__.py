"""How things are said, one rule each: numbers, lists, names of environments, precisions and operations."""
