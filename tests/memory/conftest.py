import pytest
from memory.dnc_cases import OPTIONS, small_config

from memagent.memory import MemoryConfig


@pytest.fixture(params=OPTIONS.values(), ids=OPTIONS.keys())
def config(request: pytest.FixtureRequest) -> MemoryConfig:
    """A small config with every option in turn."""
    return small_config(**request.param)
