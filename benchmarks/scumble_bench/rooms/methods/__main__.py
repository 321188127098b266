"""`python -m scumble_bench.rooms.methods`."""

import sys

from scumble_bench.rooms.methods.command import main

sys.exit(main())
