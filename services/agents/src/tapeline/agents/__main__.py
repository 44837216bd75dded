"""python -m tapeline.agents"""

import sys

from tapeline.agents.app import main

if __name__ == "__main__":
    sys.exit(main())
