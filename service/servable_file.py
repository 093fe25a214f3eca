"""An ONNX file on the disk → its card and its digests, held against what its certificate says.

Only pydantic and the standard library are needed: the outermost layer of the ONNX protobuf is walked by
hand, so that looking through a repository of gigabytes reads a few kilobytes.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from io import SEEK_CUR, BytesIO
from pathlib import Path
from typing import BinaryIO

from pydantic import ValidationError

from service.card import CARD_KEY, DATA_SUFFIX, Card, CardError, Digest

# The wire format of onnx.ModelProto, https://protobuf.dev/programming-guides/encoding and onnx/onnx.proto.
GRAPH_FIELD = 7
OPSET_FIELD = 8
_METADATA_FIELD = 14
FUNCTION_FIELD = 25
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # Windows has no such files
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LARGEST_CARD = 2**20
"""Longer metadata is no card: 20,000 labels take half of it. Reading it must cost little, and so must refusing it."""
_MOST_FIELDS = 100_000
"""Of the outermost layer, which holds one graph, some metadata and functions. Each costs time before it is skipped."""


def read_card(path: Path) -> Card:
    """Return the card inside an ONNX file, reading only the file's outermost layer.

    Raises:
        CardError: no card, an unreadable one, or no ONNX file.
        OSError: the file can not be read.
    """
    with _open(path) as file:
        for field, length in _fields(file, _size_of(file)):
            if field != _METADATA_FIELD or length > _LARGEST_CARD:
                file.seek(length, SEEK_CUR)
                continue
            key, value = _metadata_entry(file.read(length))
            if key == CARD_KEY:
                return _parse_card(value, path)
    raise CardError(
        f"{path} is not a Foveal servable: it carries no card. Adopt it with "
        f"`foveal-export onnx:{path.name} --task … --name …`, see exporter/README.md"
    )


def graph_sha256(path: Path, digest: Digest = 1) -> str:
    """Return the SHA-256, in hex, of the serialized graph and the model's own functions, as they lie in the file.

    The card is outside of both, so writing it does not change the digest.

    Args:
        path: the file.
        digest: 2 covers the versions of the operator sets too, with which the same graph may mean another network.
            Each part is then preceded by `part_head`, so that no byte can move from one part to the next.

    Raises:
        CardError: the file is no ONNX file.
    """
    covered = (
        {GRAPH_FIELD, FUNCTION_FIELD} if digest == 1 else {GRAPH_FIELD, OPSET_FIELD, FUNCTION_FIELD}
    )
    sha256 = hashlib.sha256()
    with _open(path) as file:
        for field, length in _fields(file, _size_of(file)):
            if field not in covered:
                file.seek(length, SEEK_CUR)
                continue
            if digest == 2:
                sha256.update(part_head(field, length))
            left = length
            while left and (chunk := file.read(min(left, 1 << 20))):
                sha256.update(chunk)
                left -= len(chunk)
            if left:
                raise CardError(f"{path} is cut short; copy it again")
    return sha256.hexdigest()


def part_head(field: int, length: int) -> bytes:
    """Return what stands before a part in a digest of kind 2: its field number and its length, 8 bytes each."""
    return field.to_bytes(8) + length.to_bytes(8)


def check_certificate(path: Path, card: Card, data: Path | None = None) -> None:
    """Refuse a file whose graph, or whose weights beside it, are not those its certificate speaks of.

    Args:
        path: the file with the graph.
        card: its card.
        data: the file with the weights of a network above 2 GiB; its usual place is beside the graph's.

    Raises:
        CardError: the digests differ, or the weights are missing.
    """
    if card.certificate.data_sha256 is not None:
        _check_data(data or path.with_name(path.name + DATA_SUFFIX), card.certificate.data_sha256)
    found = graph_sha256(path, card.certificate.digest)
    if found != card.certificate.graph_sha256:
        raise CardError(
            f"{path}: the graph was changed after it was proved (graph {found[:12]}…, "
            f"certificate {card.certificate.graph_sha256[:12]}…). Export it again with foveal-export."
        )


def _check_data(path: Path, expected: str) -> None:
    try:
        found = _digest_of(path)
    except FileNotFoundError as error:
        raise CardError(
            f"{path} is missing: it holds the weights of the network. Copy it to the same folder as the graph"
        ) from error
    if found != expected:
        raise CardError(
            f"{path}: the weights were changed after they were proved (file {found[:12]}…, certificate "
            f"{expected[:12]}…). Copy the file again, or export the network again with foveal-export."
        )


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with _open(path) as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _parse_card(text: str, path: Path) -> Card:
    try:
        return Card.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "card"
        raise CardError(f"{path}: the card is not valid: {where}: {first['msg']}") from error


def _open(path: Path) -> BinaryIO:
    """Open a regular file: a pipe would wait for its writer, and a device has no end.

    Raises:
        CardError: the path leads to something else.
        OSError: it leads nowhere, or to what can not be read.
    """
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | _NO_WAIT))  # noqa: SIM115
    mode = os.fstat(file.fileno()).st_mode
    if not stat.S_ISREG(mode):
        file.close()
        raise CardError(
            f"{path} is no regular file. Put the network's own file there, or a link to it."
        )
    return file


def _size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _fields(file: BinaryIO, size: int) -> Iterator[tuple[int, int]]:
    """Yield (field number, payload bytes) of each length-delimited field; the caller reads or skips the payload."""
    for _ in range(_MOST_FIELDS):
        tag = _varint(file)
        if tag is None:
            return
        field, kind = tag >> 3, tag & 7
        if kind == _LENGTH:
            length = _varint(file) or 0
            if length > size - file.tell():
                raise CardError(
                    "this is not an ONNX file, or it is cut short: a length in it goes beyond its end; copy it again"
                )
            yield field, length
        elif kind == _VARINT:
            _varint(file)
        elif kind in {_FIXED64, _FIXED32}:
            file.seek(8 if kind == _FIXED64 else 4, SEEK_CUR)
        else:
            raise CardError("this is not an ONNX file: its outermost layer does not parse")
    raise CardError(f"this is not an ONNX file: its outermost layer has {_MOST_FIELDS} fields")


def _varint(file: BinaryIO) -> int | None:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise CardError("this is not an ONNX file: a number in it has no end")


def _metadata_entry(payload: bytes) -> tuple[str, str]:
    """Decode a StringStringEntryProto: field 1 is the key, field 2 the value."""
    stream = BytesIO(payload)
    parts = {field: stream.read(length) for field, length in _fields(stream, len(payload))}
    return parts.get(1, b"").decode(errors="replace"), parts.get(2, b"").decode(errors="replace")
