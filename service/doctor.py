"""What `foveal doctor` and `foveal models` print: the machine, its devices, the models and their proofs."""

from collections.abc import Collection, Iterator

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.card import CardError
from service.errors import DeviceError, ServableError
from service.graph.bounds import MAX_TENSOR_BYTES, check_bounds
from service.imaging.resampling import RESIZER
from service.runtime.contract import weights_beside
from service.runtime.device import DEVICES
from service.runtime.host import granted_cores, granted_memory, granted_threads
from service.runtime.probing import find_device, try_device
from service.runtime.repository import Refusal, Servable
from service.runtime.session import RUNTIME_VERSION
from service.runtime.variants import variants_beside
from service.servable_file import check_certificate

GOOD, BAD, ABSENT, DOUBTFUL = "[green]✓[/]", "[red]✗[/]", "[dim]–[/]", "[yellow]![/]"


def describe_host(console: Console, wanted: str, index: int) -> bool:
    """Print cores, memory, what resizes and each device with why it does not work; return whether `wanted` does."""
    memory = granted_memory()
    console.print(f"[bold]ONNX Runtime[/] {RUNTIME_VERSION}")
    console.print(
        f"[bold]Cores[/] {granted_cores():g}, so {granted_threads()} threads run batches   "
        f"[bold]Memory[/] {f'{memory / 2**30:.1f} GiB' if memory else 'unknown'}"
    )
    console.print(f"[bold]Resize[/] {RESIZER}")
    table = Table("", "device", "finding", title="Devices", title_justify="left", box=None)
    for name in DEVICES:
        try:
            table.add_row(GOOD, name, escape(try_device(name, index).detail))
        except DeviceError as error:
            table.add_row(BAD if name == wanted else ABSENT, name, escape(str(error)))
    console.print(table)
    try:
        device = find_device(wanted, index)
    except DeviceError:
        console.print(f"{BAD} FOVEAL_DEVICE={wanted} does not work here, see above")
        return False
    console.print(f"{GOOD} FOVEAL_DEVICE={wanted} runs on [bold]{device.name}[/]")
    return True


def describe_models(
    console: Console,
    servables: Collection[Servable],
    refusals: Collection[Refusal],
    *,
    prove: bool = False,
    max_tensor_bytes: int = MAX_TENSOR_BYTES,
) -> bool:
    """Print a row a model, with proof and graph checked where `prove`; return whether all can be served."""
    table = Table(
        "", "model", "task", "input", "classes", "MACs", "parameters", "precision", "proof",
        title="Models", title_justify="left", box=None,
    )  # fmt: skip
    healthy = not refusals
    for servable in servables:
        holds = not prove or _certificate_holds(servable)
        healthy &= holds
        table.add_row(*_row(servable, holds=holds))
    console.print(table)
    for servable in servables:
        for one in (servable.card.normalization, servable.card.boxes):
            if one is not None and one.assumption is not None:
                words = f"{servable.name} v{servable.version}: {one.assumption}."
                console.print(f"{DOUBTFUL} {escape(words)}")
        if servable.card.cut is not None:
            words = f"{servable.name} v{servable.version}: {servable.card.cut.words}."
            console.print(f"{DOUBTFUL} {escape(words)}")
        reason = _out_of_bounds(servable, max_tensor_bytes) if prove else None
        if reason is not None:
            healthy = False
            console.print(f"{BAD} {escape(reason)}")
    for refusal in refusals:
        console.print(f"{BAD} {escape(refusal.reason)}")
    if not servables and not refusals:
        console.print("The model repository is empty. Make a servable with foveal-export.")
    return healthy


def _row(servable: Servable, *, holds: bool) -> list[str]:
    card, proof = servable.card, servable.card.certificate
    size = (
        f"{card.input.width}×{card.input.height} {card.input.resize}" if card.input else "features"
    )
    return [
        GOOD if holds else BAD,
        f"{servable.name} v{servable.version}",
        card.task,
        size,
        str(sum(1 for label in card.labels if label) or "–"),
        _in_words(card.cost.macs),
        _in_words(card.cost.parameters),
        ", ".join((card.precision, *_variants(servable))),
        f"{proof.metric} {proof.agreement:.3f} on {proof.images} images, Δ {proof.max_difference:.1e}"
        if holds
        else "the graph is not the one that was proved; export it again",
    ]


def _variants(servable: Servable) -> Iterator[str]:
    """Yield the precisions of the variants beside a model, which FOVEAL_PRECISION=fast may serve."""
    for precision, found in variants_beside(servable):
        yield precision if isinstance(found, Servable) else f"{precision} (refused)"


def _certificate_holds(servable: Servable) -> bool:
    try:
        check_certificate(servable.path, servable.card)
    except CardError:
        return False
    return True


def _out_of_bounds(servable: Servable, max_tensor_bytes: int) -> str | None:
    """Return why the service would not load a graph, None where it would."""
    try:
        check_bounds(
            servable.path, data=weights_beside(servable), max_tensor_bytes=max_tensor_bytes
        )
    except ServableError as error:
        return str(error)
    return None


def _in_words(count: int) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return str(count)
