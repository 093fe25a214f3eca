"""The cases: which network gets which image from how many clients, beside which contenders, and the targets."""

from dataclasses import dataclass

from benchmarks import targets
from benchmarks.contenders import FOVEAL_IN_PROCESSES, PEER_NAMES
from benchmarks.images import EIGHT
from benchmarks.targets import Target


@dataclass(frozen=True, slots=True)
class Load:
    """The number of concurrent clients, and the contenders beside the service."""

    clients: int
    limit: bool = False
    peers: bool = False
    quick: bool = False


ONE_CLIENT = Load(1, limit=True, peers=True, quick=True)
MANY_CLIENTS = Load(32, limit=True, peers=True, quick=True)


@dataclass(frozen=True, slots=True)
class Case:
    """One network with one kind of image.

    `seconds` is the time under load per contender and round. `batches` are the batch sizes that the limit tries.
    `--quick` measures the `quick` cases only. With `few_answers` the throughput is computed up to the last answer,
    because answers take a large part of a turn. With `workers` the service is measured a second time, with one process
    per core. With `fast` it is measured a second time with `FOVEAL_PRECISION=fast` and a variant in int8 beside the
    servable, and limit and peers a second time with the file of that variant. Without `undecoded` there is no limit
    without decoding.
    """

    name: str
    title: str
    model: str
    image: str
    path: str
    loads: tuple[Load, ...]
    seconds: float = 4.0
    batches: tuple[int, ...] = (1, 2, 4, 8)
    quick: bool = False
    few_answers: bool = False
    echo: bool = False
    workers: bool = False
    gpu: bool = False
    fast: bool = False
    undecoded: bool = True
    peers: tuple[str, ...] = PEER_NAMES
    targets: tuple[Target, ...] = ()


CASES = (
    Case(
        "efficientnet-640",
        "EfficientNet-Lite0, 640×480 JPEG",
        "efficientnet-lite0",
        "640×480 JPEG",
        "/v1/classify?model=efficientnet-lite0",
        (ONE_CLIENT, Load(8, peers=True), MANY_CLIENTS, Load(128)),
        quick=True,
        workers=True,
        gpu=True,
        targets=(
            targets.of_limit(0.93),
            targets.of_peers(1.8),
            targets.latency_over_limit(1.5),
            targets.latency_over_peers(),
            targets.throughput_kept(0.95),
            targets.tail_latency(4),
            targets.memory_mib(600),
            targets.ready_seconds(5),
        ),
    ),
    Case(
        "resnet50-640",
        "ResNet-50, 640×480 JPEG",
        "resnet50",
        "640×480 JPEG",
        "/v1/classify?model=resnet50",
        (ONE_CLIENT, MANY_CLIENTS),
        seconds=6,
        few_answers=True,
        gpu=True,
        targets=(
            targets.of_limit(0.95),
            targets.of_peers(4, needs="amx"),
            targets.of_peers_on_plain_cpu(1.1),
        ),
    ),
    Case(
        "efficientnet-12mp",
        "EfficientNet-Lite0, 4000×3000 JPEG",
        "efficientnet-lite0",
        "4000×3000 JPEG",
        "/v1/classify?model=efficientnet-lite0",
        (MANY_CLIENTS,),
        seconds=10,
        few_answers=True,
        targets=(targets.of_limit(0.93), targets.of_peers(5)),
    ),
    Case(
        "efficientnet-png",
        "EfficientNet-Lite0, 1024² PNG",
        "efficientnet-lite0",
        "1024² PNG",
        "/v1/classify?model=efficientnet-lite0",
        (Load(32, limit=True),),
        seconds=3,
    ),
    Case(
        "efficientnet-multipart",
        "EfficientNet-Lite0, eight 640×480 JPEGs in one form",
        "efficientnet-lite0",
        EIGHT,
        "/v1/classify?model=efficientnet-lite0",
        (Load(8, limit=True),),
        seconds=3,
        few_answers=True,
    ),
    Case(
        "lenet",
        "LeNet-5, 28² PNG",
        "lenet5",
        "28² PNG",
        "/v1/classify?model=lenet5",
        (MANY_CLIENTS,),
        seconds=3,
        batches=(1, 4, 16, 64),
        quick=True,
        echo=True,
        workers=True,
        targets=(
            targets.of_echo(0.6),
            targets.of_echo(0.6, name=FOVEAL_IN_PROCESSES),
            targets.of_peers(1.0),
            targets.of_peers(1.0, name=FOVEAL_IN_PROCESSES),
        ),
    ),
    Case(
        "ssdlite-640",
        "SSDLite-MobileNetV2, 640×480 JPEG",
        "ssdlite-mobilenet-v2",
        "640×480 JPEG",
        "/v1/detect?model=ssdlite-mobilenet-v2",
        (Load(1, limit=True), Load(32, limit=True)),
        seconds=3,
        few_answers=True,
        gpu=True,
    ),
    Case(
        "u2netp-json",
        "U²-Net-p, 640×480 JPEG, to JSON",
        "u2netp",
        "640×480 JPEG",
        "/v1/segment?model=u2netp",
        (Load(8, limit=True),),
        seconds=12,
        batches=(1, 2),
        few_answers=True,
    ),
    Case(
        "u2netp-png",
        "U²-Net-p, 640×480 JPEG, to PNG",
        "u2netp",
        "640×480 JPEG",
        "/v1/segment?model=u2netp&format=mask",
        (Load(32, limit=True),),
        seconds=15,
        batches=(1, 2),
        few_answers=True,
        gpu=True,
        targets=(targets.of_limit(0.90),),
    ),
)
