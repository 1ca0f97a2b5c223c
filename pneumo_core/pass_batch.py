"""How many images go through the frozen prefix at once, by the device that computes."""

from __future__ import annotations

BATCH = 64
"""Images that go through the prefix at once where memory suffices: more gain nothing, on a processor or on a GPU."""

_WIDEST_MAP_CHANNELS = 64  # of VGG16's first block, at the images' full size


def fitted_batch(image_size: int, gpu_memory_bytes: int | None) -> int:
    """Returns how many images shall go through the prefix at once.

    It decides on last bits on a GPU, and so depends on nothing that changes from moment to moment: not on how much
    memory happens to be free, and it is not made smaller when memory runs out.

    Args:
        image_size: side of the images, in px.
        gpu_memory_bytes: of the whole GPU that computes; None without one.

    Returns:
        `BATCH` without a GPU; else the largest power of two up to it, of which input and output of the widest layer, in
        float32, take no more than a quarter of the memory; at least 1.
    """
    if gpu_memory_bytes is None:
        return BATCH
    row_bytes = 2 * 4 * _WIDEST_MAP_CHANNELS * image_size**2
    fitting = max(1, gpu_memory_bytes // 4 // row_bytes)
    return int(min(BATCH, 2 ** (fitting.bit_length() - 1)))
