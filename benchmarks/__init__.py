"""Measures the service against the machine and other servers. ONNX Runtime's telemetry is off before it is loaded."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
