"""The model class where Seldon Core's Python wrapper looks for it.

cd seldon && MODEL_URI=../models/forecaster.onnx seldon-core-microservice ForecastModel
"""

from kalecast.serving.stock_wrapper import ForecastModel

__all__ = ["ForecastModel"]
