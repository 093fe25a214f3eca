"""The goals of the fast recipe: the cases of `python -m benchmarks --goals`, each with what it must reach.

EfficientNet-Lite0 is served in fp32 with the models of the repository, as users start it, and in `fast` from the
benchmark's own repository, which has the same network with its variant. The goals of memory and start are what was
measured on 2026-11-23.
"""

from benchmarks import targets
from benchmarks.cases import CASES, Case, Load
from benchmarks.contenders import FOVEAL_FAST

ROUNDS = 5
PEERS = ("mosec", "LitServe", "naive FastAPI")
VNNI, AMX = "avx512-vnni", "amx"
CROWD = Load(32, limit=True, peers=True, quick=True)
CROWD_OF_LARGE = Load(32, limit=True, peers=True, quick=True)

GOALS = (
    Case(
        "goal-efficientnet",
        "EfficientNet-Lite0, 640×480 JPEG",
        "efficientnet-lite0",
        "640×480 JPEG",
        "/v1/classify?model=efficientnet-lite0",
        (CROWD,),
        fast=True,
        undecoded=False,
        peers=PEERS,
        targets=(
            targets.of_peers(1.25),
            targets.of_limit(0.93),
            targets.of_peers(1.45, needs=VNNI, name=FOVEAL_FAST),
            targets.of_peers(3, needs=AMX, name=FOVEAL_FAST),
            targets.memory_mib(480),
            targets.ready_seconds(3.3),
        ),
    ),
    Case(
        "goal-resnet50",
        "ResNet-50, 640×480 JPEG",
        "resnet50",
        "640×480 JPEG",
        "/v1/classify?model=resnet50",
        (CROWD,),
        seconds=5,
        few_answers=True,
        fast=True,
        undecoded=False,
        peers=PEERS,
        targets=(
            targets.of_peers(2.2, needs=VNNI, name=FOVEAL_FAST),
            targets.of_peers(4, needs=AMX, name=FOVEAL_FAST),
            targets.of_peers_with_the_int8_file(1.05, needs=VNNI),
        ),
    ),
    Case(
        "goal-12mp",
        "EfficientNet-Lite0, 4000×3000 JPEG",
        "efficientnet-lite0",
        "4000×3000 JPEG",
        "/v1/classify?model=efficientnet-lite0",
        (CROWD_OF_LARGE,),
        seconds=10,
        few_answers=True,
        undecoded=False,
        peers=PEERS,
        targets=(targets.of_peers(4),),
    ),
)
EVERY_CASE = (*CASES, *GOALS)
