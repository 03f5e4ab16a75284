"""Every command of daam. `python launch.py --help` lists them; `daam.commands` holds them."""

import sys

from daam.commands.app import main

if __name__ == "__main__":
    sys.exit(main())
