"""python -m fastpersist"""

import sys

from fastpersist.cli import main

if __name__ == "__main__":
    sys.exit(main())
