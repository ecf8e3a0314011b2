"""Where the page of `play` is, once `make page` has built it."""

from pathlib import Path

ASSETS = Path(__file__).with_name("assets")
"""The built page."""
DATA = "data"
INDEX = "index.json"
"""In it: the folder of the policies, and what the page reads first there."""
