"""Checkpoints: all that an interrupted training needs to go on as if nothing had happened."""

import hashlib
import json
import os
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Checkpoint:
    """A file in which a training leaves its state after every epoch.

    Args:
        path: the file; its name tells trainings of other data or settings apart.
    """

    path: Path

    @classmethod
    def of(cls, folder: Path, *identity: Any) -> "Checkpoint":
        """The checkpoint, in a folder, of the training of this identity.

        Args:
            folder: made where it does not exist.
            identity: arrays, and what has a telling `repr`: data, settings, versions.
        """
        digest = hashlib.sha256()
        for part in identity:
            content = part if isinstance(part, np.ndarray) else repr(part).encode()
            digest.update(content.data if isinstance(content, np.ndarray) else content)
        folder.mkdir(parents=True, exist_ok=True)
        return cls(folder / f"training-{digest.hexdigest()[:16]}.npz")

    def save(self, arrays: dict[str, list[Any]], notes: dict[str, Any]) -> None:
        """Replace the file at once: whoever stops at any moment leaves a whole one."""
        flat = {
            f"{name}.{at}": value
            for name, values in arrays.items()
            for at, value in enumerate(values)
        }
        beside = self.path.with_suffix(f".{os.getpid()}.tmp")
        try:
            with beside.open("wb") as file:
                np.savez(file, notes=np.array(json.dumps(notes)), **flat)
            beside.replace(self.path)
        finally:
            beside.unlink(missing_ok=True)

    def load(self) -> tuple[dict[str, list[Any]], dict[str, Any]] | None:
        """What `save` was given last; nothing where there is no whole file."""
        try:
            with np.load(self.path, allow_pickle=False) as file:
                notes: dict[str, Any] = json.loads(str(file["notes"]))
                arrays: dict[str, list[Any]] = {}
                for key in file.files:
                    if key != "notes":
                        arrays.setdefault(key.partition(".")[0], []).append(file[key])
                return arrays, notes
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def remove(self) -> None:
        """Forget the training."""
        self.path.unlink(missing_ok=True)
