"""The model file under MLServer, which imports this module and writes its answers."""

from mlserver import MLModel  # type: ignore[import-not-found, unused-ignore]
from mlserver.codecs import NumpyCodec  # type: ignore[import-not-found, unused-ignore]
from mlserver.types import (  # type: ignore[import-not-found, unused-ignore]
    InferenceRequest,
    InferenceResponse,
)
from mlserver.utils import get_model_uri  # type: ignore[import-not-found, unused-ignore]

from kalecast.artifact.contract import OUTPUT_NAME
from kalecast.artifact.runtime import Forecaster


class ForecastRuntime(MLModel):  # type: ignore[misc, unused-ignore]
    """Answers forecasts in the Open Inference Protocol v2."""

    async def load(self) -> bool:
        """Open the model file."""
        self._forecaster = Forecaster(await get_model_uri(self._settings))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Forecast the windows of one request, or of several that MLServer has batched."""
        windows = NumpyCodec.decode_input(payload.inputs[0])
        forecast = self._forecaster.forecast_windows(windows)
        output = NumpyCodec.encode_output(OUTPUT_NAME, forecast)
        return InferenceResponse(model_name=self.name, outputs=[output])
