"""python -m tapeline.execution"""

import sys

from tapeline.execution.app import main

if __name__ == "__main__":
    sys.exit(main())
