"""The tests of the service and the exporter. ONNX Runtime's telemetry is off before it is loaded."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
