"""Keras on TensorFlow, started the same way by whichever module comes first.

Importing this instead of Keras sets what TensorFlow reads when it is first imported, and keeps the
lines to itself with which it opens every log.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")
# Sums come out the same every time only where one thread adds them up in one order. Networks as
# small as these gain a quarter of the time from a second thread; a seed that holds is worth more.
os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

# Logged before TensorFlow has read the level above: that there is no GPU, and which instructions
# this processor has.
CHATTER = re.compile(
    rb"^(WARNING: All log messages before absl|[IWE]\d{4} .*(oneDNN|cudart|cuda_platform|cuInit))"
    rb".*\n?",
    re.MULTILINE,
)


@contextlib.contextmanager
def _without_chatter() -> Iterator[None]:
    """Hold back what is written to standard error, and pass on what is not TensorFlow's chatter."""
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        error = os.dup(2)
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(error, 2)
            held.seek(0)
            os.write(error, CHATTER.sub(b"", held.read()))
            os.close(error)


with _without_chatter():
    import keras
    import tensorflow
    from keras import layers, ops

    tensorflow.constant(0)  # its devices are looked for now, or later with the same words

__all__ = ["keras", "layers", "ops"]
