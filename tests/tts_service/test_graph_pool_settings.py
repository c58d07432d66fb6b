"""What torch's allocator is told when graphs get a pool: what the environment says stays."""

import pytest

from tts_service.residency.graph_pool import allocator_settings

OURS = "release_lock_on_cudamalloc:True"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, OURS),
        ({"PYTORCH_ALLOC_CONF": "large_segment_size_mb:12"}, f"large_segment_size_mb:12,{OURS}"),
        ({"PYTORCH_CUDA_ALLOC_CONF": "max_split_size_mb:64"}, f"max_split_size_mb:64,{OURS}"),
    ],
)
def test_settings_of_the_environment_are_said_again(environment: dict[str, str], expected: str) -> None:
    """Saying one setting may undo others, whoever has set them."""
    assert expected == allocator_settings(environment)
