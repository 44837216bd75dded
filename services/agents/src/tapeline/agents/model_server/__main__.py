"""Runs the offline model server."""

import sys

from tapeline.agents.model_server.app import main

sys.exit(main())
