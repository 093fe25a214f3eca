"""Turns trained networks into files that the service serves. ONNX Runtime's telemetry is off before it is loaded."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
