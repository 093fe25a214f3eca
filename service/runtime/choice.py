"""What was measured of each way to serve a model, and which one serves."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Way(BaseModel):
    """One way to serve a model, with what was measured of it on this machine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    precision: str
    device: str
    seven_bits: Annotated[
        bool,
        Field(
            description="Weights are read with seven bits: the processor's products overflow with eight"
        ),
    ] = False
    milliseconds: Annotated[
        float | None,
        Field(description="Shortest time of an image in the network, on one thread of a CPU"),
    ] = None
    speedup: Annotated[
        float | None,
        Field(description="How many times as fast as the first way, measured by turns"),
    ] = None
    agreement: Annotated[
        dict[str, float],
        Field(description="Against fp32 on the CPU's plain kernels, on reference frames"),
    ] = {}
    refused: Annotated[str, Field(description="Why it may not serve; empty where it may")] = ""
    serves: bool = False

    def __str__(self) -> str:
        bits = " with seven bits" if self.seven_bits else ""
        where = f" on {self.device}" if self.device else ""
        return f"{self.precision}{bits}{where}"

    def timed(self, seconds: float, first: float | None) -> "Way":
        """Return the same with the seconds of an image, beside those of the first way where it was timed."""
        speedup = None if first is None else round(first / seconds, 3)
        return self.model_copy(update={"milliseconds": round(seconds * 1e3, 4), "speedup": speedup})

    @property
    def figures(self) -> str:
        """What was measured, for the log."""
        parts = [f"{self.speedup:.2f} times as fast"] if self.speedup is not None else []
        parts += [f"{name} {figure:.4g}" for name, figure in self.agreement.items()]
        return ", ".join(parts)


class Choice(BaseModel):
    """The ways that were tried, with the one that serves."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    chip: str
    frames: Annotated[int, Field(description="Reference frames that the figures come from")]
    ways: tuple[Way, ...]

    @property
    def place(self) -> int:
        """The index of the way that serves."""
        return [way.serves for way in self.ways].index(True)

    @property
    def served(self) -> Way:
        """The way that serves."""
        return self.ways[self.place]

    def serving(self, index: int) -> "Choice":
        """Return the same with the way at `index` as the one that serves."""
        ways = tuple(
            way.model_copy(update={"serves": place == index}) for place, way in enumerate(self.ways)
        )
        return self.model_copy(update={"ways": ways})

    def without_served(self, reason: str) -> "Choice":
        """Return the same with the first way in place of the one that was to serve, and why that one can not."""
        ways = list(self.ways)
        ways[self.place] = self.served.model_copy(update={"refused": reason})
        return self.model_copy(update={"ways": tuple(ways)}).serving(0)
