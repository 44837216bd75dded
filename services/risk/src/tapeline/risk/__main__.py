"""python -m tapeline.risk"""

import sys

from tapeline.runtime import trip_signal

if __name__ == "__main__":
    # Before what takes its time to import: the signal would end a process that does not know it.
    trip_signal.block()
    from tapeline.risk.app import main

    sys.exit(main())
