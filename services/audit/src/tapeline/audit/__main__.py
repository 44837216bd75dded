"""python -m tapeline.audit"""

import sys

from tapeline.audit.app import main

sys.exit(main())
