"""Checkpoints: all that an interrupted training needs to go on as if nothing had happened."""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kalecast.artifact.store import whole_file
from kalecast.model.backend import keras
from kalecast.model.callbacks import AverageWeights, Logs, assign, values

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


class Backup(keras.callbacks.Callback):
    """Leaves all that the next epoch depends on in a checkpoint, and goes on from there.

    Keras' `BackupAndRestore` keeps the model and the optimizer alone, not what other callbacks
    know, and a power loss may leave its two files torn or not of the same epoch.

    Args:
        checkpoint: where the state is left.
        network: compiled, its optimizer built.
        history: gets the losses so far at once; all else is restored when training begins.
        average: as all callbacks here, it comes before this one.
        stopping: keeps the best weights.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        network: keras.Model,
        history: keras.callbacks.History,
        average: AverageWeights,
        stopping: keras.callbacks.EarlyStopping,
    ) -> None:
        super().__init__()
        self._checkpoint, self._history = checkpoint, history
        self._average, self._stopping = average, stopping
        self._arrays, self._notes = checkpoint.load() or ({}, {})
        expected = {
            "network": network.variables,
            "optimizer": network.optimizer.variables,
            "newest": network.trainable_variables,
            "best": network.weights,
        }
        if self._notes and _shapes(self._arrays) != _shapes(expected):
            checkpoint.discard(ValueError("Expected the state of another network."))
            self._notes = {}
        history.history = self._notes.get("losses", {})
        if self._notes:
            done = len(history.history["loss"])
            print(f"going on after epoch {done} of an interrupted training", flush=True)

    def on_train_begin(self, logs: Logs | None) -> None:
        """Restore what the callbacks before this one have just begun anew."""
        if not self._notes:
            return
        assign(self.model.variables, self._arrays["network"])
        assign(self.model.optimizer.variables, self._arrays["optimizer"])
        self._average.mean = values(self.model.trainable_variables)
        self._average.newest = self._arrays["newest"]
        self._average.steps = self._notes["averaged_over"]
        errors, stopping = self._history.history[self._stopping.monitor], self._stopping
        stopping.best_epoch = int(np.argmin(errors))
        stopping.best = errors[stopping.best_epoch]
        stopping.wait = len(errors) - 1 - stopping.best_epoch
        stopping.best_weights = self._arrays["best"]
        self.model.stop_training = self._notes["ended"]

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Replace the checkpoint."""
        arrays = {
            "network": values(self.model.variables),
            "optimizer": values(self.model.optimizer.variables),
            "newest": self._average.newest,
            "best": self._stopping.best_weights,
        }
        notes = {
            "losses": self._history.history,
            "averaged_over": self._average.steps,
            "ended": self.model.stop_training,
        }
        self._checkpoint.save(arrays, notes)


def _shapes(parts: Mapping[str, Iterable[Any]]) -> dict[str, list[tuple[int, ...]]]:
    return {name: [tuple(value.shape) for value in part] for name, part in parts.items()}
