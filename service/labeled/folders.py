"""Folders of labeled images: one folder a class, or images beside masks of the same names."""

from pathlib import Path

from service.errors import LabelsError
from service.labeled.image_files import image_files
from service.labeled.truth import LabeledImage, LabeledImages

IMAGES, MASKS = "images", "masks"

PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
"""Folders of a set that is divided, each with the folders of the classes in it."""

OTHERS = {"__MACOSX"}
"""Folders that an archive made on macOS has beside its own."""


def read_class_folders(folder: Path) -> LabeledImages:
    """Return the images of a folder that has one subfolder for each class.

    Raises:
        LabelsError: it has none, or one of them holds no image.
    """
    subfolders = sorted(
        entry
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in OTHERS
    )
    if not subfolders:
        raise LabelsError(
            f"{folder}: there is no folder in it. Make one for each class, with its images inside, or give a "
            "table with the columns file and label"
        )
    if {entry.name.lower() for entry in subfolders} <= PARTS and (
        len(subfolders) > 1 or _has_folders(subfolders[0])
    ):
        names = ", ".join(entry.name for entry in subfolders)
        parts = f"folders {names} are parts" if len(subfolders) > 1 else f"folder {names} is a part"
        raise LabelsError(
            f"{folder}: its {parts} of a set, not classes. Give one of them: {folder / subfolders[-1].name}"
        )
    found = {entry.name: image_files(entry) for entry in subfolders}
    empty = [name for name, files in found.items() if not files]
    if empty:
        one = len(empty) == 1
        raise LabelsError(
            f"{folder}: there is no image in {', '.join(empty)}. Put images of the class there, or remove "
            f"{'this folder' if one else 'these folders'}"
        )
    images = (LabeledImage(file, (name,)) for name, files in found.items() for file in files)
    return LabeledImages(folder.name, tuple(images))


def _has_folders(folder: Path) -> bool:
    return any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir())


def read_mask_folders(folder: Path, images: Path | None) -> LabeledImages:
    """Return the images with a mask: `masks/NAME.png` in the folder belongs to `images/NAME.*`.

    Where the images have a folder of their own, the masks may lie in the folder itself.

    Raises:
        LabelsError: there are no masks, or one has no image, or may have two.
    """
    masks = _masks_in(folder / MASKS)
    if images is not None and not (folder / MASKS).is_dir():
        masks = _masks_in(folder)
    if not masks:
        raise LabelsError(
            f"{folder}: task segment needs the folder {MASKS} in it, with a PNG of class indices for each "
            f"image, and the folder {IMAGES} beside it; or a table with the columns file and mask"
            f"{_other_formats(folder / MASKS)}"
        )
    by_stem = _by_stem(images or folder / IMAGES, masks)
    alone = [mask.name for mask in masks if mask.stem not in by_stem]
    if alone:
        raise LabelsError(
            f"{folder}: {len(alone)} masks have no image of the same name in {images or IMAGES}, the first "
            f"is {alone[0]}"
        )
    pairs = (LabeledImage(by_stem[mask.stem], mask=mask) for mask in masks)
    return LabeledImages(folder.name, tuple(pairs))


def _other_formats(folder: Path) -> str:
    """Return what is said of masks that are no PNG, of which a JPEG has other values than were written."""
    others = image_files(folder) if folder.is_dir() else []
    if not others:
        return ""
    return (
        f". {MASKS} holds {others[0].name}, and only PNG are read. A JPEG changes the values, which are the indices of "
        "classes: write the masks as PNG from what they were made of"
    )


def _by_stem(folder: Path, masks: list[Path]) -> dict[str, Path]:
    """Return the images of a folder and its subfolders by their names without extensions; masks in it are none.

    Raises:
        LabelsError: a mask may belong to two of them.
    """
    own = {mask.resolve() for mask in masks}
    stems = {mask.stem for mask in masks}
    found: dict[str, Path] = {}
    for file in image_files(folder):
        if file.resolve() in own:
            continue
        first = found.setdefault(file.stem, file)
        if first != file and file.stem in stems:
            raise LabelsError(
                f"the mask {file.stem}.png may belong to {first} or {file}. Give a table with the columns file and mask"
            )
    return found


def read_masks(folder: Path) -> LabeledImages:
    """Return the masks `masks/NAME.png` of a folder, or those in it; `file` is NAME, because the images are elsewhere.

    Raises:
        LabelsError: there are none.
    """
    inside = folder / MASKS
    masks = _masks_in(inside if inside.is_dir() else folder)
    if not masks:
        raise LabelsError(f"{folder}: there is no mask, a PNG of class indices, in it")
    images = (LabeledImage(Path(mask.stem), mask=mask) for mask in masks)
    return LabeledImages(folder.name, tuple(images))


def _masks_in(folder: Path) -> list[Path]:
    """Return the masks of a folder, sorted; hidden files, as macOS writes them beside others, are none."""
    return sorted(one for one in folder.glob("*.png") if not one.name.startswith("."))
