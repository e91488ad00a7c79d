"""``python -m reportlib.cli``: the command, where it is not on the path."""

from reportlib.cli import main

if __name__ == "__main__":
    main()
