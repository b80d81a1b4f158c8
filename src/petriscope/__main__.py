"""`python -m petriscope` equals the `petriscope` command."""

import sys

from petriscope.cli import main

sys.exit(main())
