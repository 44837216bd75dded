"""python -m tapeline.risk"""

import sys

from tapeline.risk.app import main

if __name__ == "__main__":
    sys.exit(main())
