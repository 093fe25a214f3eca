"""What can go wrong on the way to a servable; each message names the argument and the mend.

ExportError
├── RecipeError        the request itself does not add up
├── SourceError        the trained network can not be got
│   └── WeightsError   its weights do not fit, or would run code
├── GraphError         the network can not become the graph that a servable needs
├── ProofError         the graph is not the same network
└── WriteError         the file can not be written
"""


class ExportError(Exception):
    """No servable was written; the message is meant for the person who asked for one."""


class RecipeError(ExportError):
    """The recipe or the arguments contradict themselves or the network."""


class SourceError(ExportError):
    """The source names no network that can be loaded."""


class WeightsError(SourceError):
    """The weights do not belong to the network, or reading them would run code."""


class GraphError(ExportError):
    """The graph can not be brought to the servable's contract."""


class ProofError(ExportError):
    """The graph answers differently from the network it was made from."""


class WriteError(ExportError):
    """The file system refused; nothing half-written was left."""
