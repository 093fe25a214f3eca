"""Vision inference over HTTP. Whatever is imported from here, ONNX Runtime's telemetry is off before it is loaded."""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
