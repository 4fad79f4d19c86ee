"""The entry point: the hash seed first, then the command line."""

import sys

from khronos_fast.bench.cli import INTERRUPTED, main
from khronos_fast.bench.hash_seed import restart_with_fixed_seed

if __name__ == "__main__":
    restart_with_fixed_seed()
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the run began, or for the second time
        sys.exit(INTERRUPTED)
