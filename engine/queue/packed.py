"""Compressed bytes that a stranger may have written in; what is in them, up to a size that the reader names, out."""

import zstandard


def unpack(packed: bytes, most: int) -> bytes:
    """Raises ZstdError. A frame says itself how large it becomes, and the library would make room for whatever it says."""
    if zstandard.frame_content_size(packed) > most:
        raise zstandard.ZstdError(f"it becomes larger than {most:,} bytes")
    return zstandard.ZstdDecompressor().decompress(packed, max_output_size=most)
