"""The media types of responses."""

JSON, NDJSON, SSE = "application/json", "application/x-ndjson", "text/event-stream"
PNG, JPEG, MP4, FLOATS = "image/png", "image/jpeg", "video/mp4", "application/octet-stream"
