"""How fast the parts that a user waits for are, each beside another way to the same in the same run: `make bench`."""
