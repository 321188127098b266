"""`python -m scumble_bench.rooms.methods`."""

import sys

from scumble.errors import ScumbleError
from scumble_bench.rooms.methods.command import main

try:
    sys.exit(main())
except ScumbleError as error:
    sys.exit(str(error))
