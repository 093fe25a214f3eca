"""What requests and answers are read and written by: a model, or another view of one."""

from typing import Protocol

from service.card import Card
from service.runtime.job import Tensor
from service.runtime.signature import Signature


class Described(Protocol):
    """The name, version and tensors that a client knows; see `Model` for each."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> int: ...

    @property
    def card(self) -> Card: ...

    @property
    def signature(self) -> Signature: ...

    @property
    def blank(self) -> Tensor: ...
