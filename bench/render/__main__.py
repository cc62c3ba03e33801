"""`python -m bench.render [FOLDER]`."""

import sys
from pathlib import Path

from bench.render import write

if __name__ == "__main__":
    print(write(*map(Path, sys.argv[1:])))
