"""``python -m lowlight``: the same as the command ``lowlight``."""

from lowlight.cli import main

if __name__ == "__main__":
    main()
