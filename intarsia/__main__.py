"""``python -m intarsia``, for torchrun and for machines whose PATH lacks the command."""

import sys

from intarsia.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
