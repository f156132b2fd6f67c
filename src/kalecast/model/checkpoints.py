"""Checkpoints: all that an interrupted training needs to go on as if nothing had happened."""

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kalecast.artifact.store import whole_file

DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """A file in which a training leaves its state after every epoch.

    Args:
        path: the file; its name distinguishes trainings by data and settings.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, *identity: Any) -> "Checkpoint":
        """The checkpoint, in a folder, of the training of this identity.

        Args:
            folder: made where it does not exist.
            identity: arrays, and what has a `repr` that identifies it: data, settings, versions.
        """
        digest = hashlib.sha256()
        for part in identity:
            content = part if isinstance(part, np.ndarray) else repr(part).encode()
            digest.update(content.data if isinstance(content, np.ndarray) else content)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"training-{digest.hexdigest()[:16]}.npz")

    def save(self, arrays: dict[str, list[Any]], notes: dict[str, Any]) -> None:
        """Replace the file at once: an interruption at any moment leaves a whole one, on the disk.

        Where it cannot be written, such as on a full disk, that is said, and training goes on.
        """
        flat = {
            f"{name}.{at}": value
            for name, values in arrays.items()
            for at, value in enumerate(values)
        }
        content = io.BytesIO()
        np.savez(content, notes=np.array(json.dumps(notes)), **flat)
        try:
            with whole_file(self.path) as file:
                file.write(content.getbuffer())
                file.write(hashlib.sha256(content.getbuffer()).digest())
        except OSError as error:
            print(
                f"The training's state could not be written to '{self.path}' ({error.strerror}): "
                "it goes on, but interrupted now it would begin anew.",
                flush=True,
            )

    def load(self) -> tuple[dict[str, list[Any]], dict[str, Any]] | None:
        """What `save` was given last; nothing where there is no whole file, which is said."""
        if not self.path.exists():
            return None
        try:
            with np.load(_checked(self.path.read_bytes()), allow_pickle=False) as file:
                notes: dict[str, Any] = json.loads(str(file["notes"]))
                arrays: dict[str, list[Any]] = {}
                for key in file.files:
                    if key != "notes":
                        arrays.setdefault(key.partition(".")[0], []).append(file[key])
                return arrays, notes
        except Exception as error:  # whatever a power loss or a bad disk has left
            self.discard(error)
            return None

    def discard(self, error: Exception) -> None:
        """Say that the file is not what `save` wrote, and forget it."""
        print(
            f"The state of an interrupted training in '{self.path}' is damaged "
            f"({type(error).__name__}) and not used: the training begins anew.",
            flush=True,
        )
        self.remove()

    def remove(self) -> None:
        """Forget the training."""
        self.path.unlink(missing_ok=True)


def _checked(content: bytes) -> io.BytesIO:
    """What a file holds before the digest at its end."""
    held, digest = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if hashlib.sha256(held).digest() != digest:
        raise ValueError("the digest is that of another content")
    return io.BytesIO(held)
