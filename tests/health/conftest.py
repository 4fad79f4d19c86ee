"""What the tests of the web face share."""

import pytest

from .web import Wardrobe


@pytest.fixture
def wardrobe():
    with Wardrobe() as wardrobe:
        yield wardrobe
