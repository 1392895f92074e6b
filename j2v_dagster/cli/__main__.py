"""``python -m j2v_dagster.cli``."""

import sys

from j2v_dagster.cli.main import main

sys.exit(main())
