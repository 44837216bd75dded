"""The copier as a process of the money path: `python copier_service.py`, settings as usual."""

import sys

from copier import Copier

from tapeline.runtime.money import MoneyService, run_money_service
from tapeline.runtime.settings import ServiceSettings, load_settings, main_guard


def main() -> int:
    service = MoneyService(name="risk", slot=0, make_core=Copier)
    return main_guard(lambda: run_money_service(service, load_settings(ServiceSettings)))


if __name__ == "__main__":
    sys.exit(main())
