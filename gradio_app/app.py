"""The forecast page as its image starts it: `kalecast page`."""

import sys

from kalecast.page.app import main

if __name__ == "__main__":
    sys.exit(main())
