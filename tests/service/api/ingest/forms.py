"""Multipart forms for tests."""

FORM = "multipart/form-data; boundary=b0"
NOTE = b'--b0\r\nContent-Disposition: form-data; name="note"\r\n\r\nhello\r\n'
"""A field that is not a file."""
END = b"--b0--\r\n"


def file_part(content: bytes) -> bytes:
    head = b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a"\r\nContent-Type: image/png\r\n\r\n'
    return head + content + b"\r\n"


def form(*files: bytes) -> bytes:
    return b"".join(map(file_part, files)) + END
