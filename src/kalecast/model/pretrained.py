"""The pretrained start: weights learnt once on many series of many rhythms, shipped with the code.

`benchmarks/accuracy/pretraining.py` makes them.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from kalecast.model.backend import keras
from kalecast.model.callbacks import assign

PRETRAINED = Path(__file__).with_name("pretrained.npz")


def start_from_pretrained(network: keras.Model) -> bool:
    """Give a network the pretrained weights; whether they fit its widths, blocks and quantiles."""
    weights = pretrained_weights()
    variables = network.trainable_variables
    if [weight.shape for weight in weights] != [tuple(one.shape) for one in variables]:
        return False
    assign(variables, weights)
    return True


def pretrained_weights() -> list[npt.NDArray[np.float32]]:
    """The weights in the order of a network's trainable variables."""
    with np.load(PRETRAINED) as file:
        return [file[name].astype(np.float32) for name in file.files]


def write_pretrained(weights: list[npt.NDArray[np.float32]], path: Path = PRETRAINED) -> None:
    """Leave weights, in half precision, where trainings start from."""
    names = (f"{at:03}" for at in range(len(weights)))
    arrays = (weight.astype(np.float16) for weight in weights)
    np.savez_compressed(path, **dict(zip(names, arrays, strict=True)))  # type: ignore[arg-type]
