"""Uploads: the only files that a request may name.

Two of Gradio's habits (6.31) have to be taken away. It checks the paths in a request only after
its own `launch()`, which a mounted page never calls: a request naming `/etc/passwd` as its
upload would have it copied to where Gradio serves files from, and read. And it fetches addresses
that a request names as files. Any input can carry such a name, not the upload's alone.
"""

from pathlib import Path

import gradio as gr
from gradio.blocks import Block


def guard_uploads(page: gr.Blocks) -> None:
    """Let requests name files that were uploaded here, and nothing else."""
    page.has_launched = True  # Gradio's own check asks for this
    Block.async_move_resource_to_block_cache = _uploaded  # type: ignore[method-assign]


async def _uploaded(block: Block, named: str | Path | None) -> str | None:
    """The path that a request names, if it is an upload.

    Raises:
        gr.Error: it is not; Gradio answers with this text alone.
    """
    if named is None:
        return None
    try:
        path = Path(named).resolve()
        inside = path.is_relative_to(Path(block.GRADIO_CACHE).resolve())
    except (OSError, ValueError):  # a name too long, or with a null byte
        inside = False
    if not inside:
        raise gr.Error("Please choose your file again.", print_exception=False)
    block.temp_files.add(str(path))  # so that it is deleted in time
    return str(path)
