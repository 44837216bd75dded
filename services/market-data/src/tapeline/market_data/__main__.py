"""python -m tapeline.market_data"""

import sys

from tapeline.market_data.app import main

if __name__ == "__main__":
    sys.exit(main())
