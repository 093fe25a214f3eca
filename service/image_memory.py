"""How many pixels fit into the memory of this process: what its room for large images admits follows that."""

import logging
from collections.abc import Callable

from service.body_memory import BodyMemory
from service.imaging.room import SMALL_PIXELS, TIGHT_BYTES_PER_PIXEL, PixelRoom
from service.logs import LOGGER
from service.runtime.host import most_private_bytes, private_bytes
from service.video_memory import VideoMemory

log = logging.getLogger(LOGGER)

LEAST_HELD_BYTES = 192 << 20
"""A service with its models holds no less; it counts until they are loaded, and where the system does not say more."""
SUPERVISOR_BYTES = 96 << 20
"""What the process holds that starts the workers."""
LEAST_BODY_BYTES = 4 << 20
"""What bodies have in any case."""
NEWS_SHARE = 10
"""A limit that has changed by less than one in so many parts stays, so that it does not follow each request."""
BODY_SHARE = 3
"""Where memory is short, bodies have one in so many bytes of what is free, unless `body_bytes` are enough for them."""


class ImageMemory:
    """Bounds the pixels that are in work at once, and those of an image, to what the memory has room for beside bodies.

    It never raises a limit above the settings, and refuses no image where its operator has chosen the largest one.

    Args:
        room: for the pixels; what it admits when it is made is the most that it ever admits.
        share_bytes: the part of the memory that is this process's; None: the system does not state it.
        beside_bytes: what its decoder processes hold.
        max_pixels: of the largest image that the settings allow.
        chosen_max: whether the operator has set it.
        chosen_room: whether the operator has set how many pixels are in work at once.
        bodies: what bounds those of requests.
        videos: what bounds those that arrive and run; what these two and the room have together, they share.
        body_bytes: what is enough for bodies where not all fits.
        on_short: called once, when images of the settings' size and bodies do not fit beside each other.
        held: returns how many bytes the process holds.
        most_held: returns the most that it has held.
    """

    def __init__(
        self,
        room: PixelRoom,
        *,
        share_bytes: int | None,
        beside_bytes: int,
        max_pixels: int,
        chosen_max: bool,
        chosen_room: bool,
        bodies: BodyMemory,
        videos: VideoMemory,
        body_bytes: int,
        on_short: Callable[[], None] = lambda: None,
        held: Callable[[], int] = private_bytes,
        most_held: Callable[[], int] = most_private_bytes,
    ) -> None:
        self._room = room
        self._most = room.pixels
        self._share_bytes = share_bytes
        self._beside_bytes = beside_bytes
        self._max_pixels = max_pixels
        self._chosen_max = chosen_max
        self._chosen_room = chosen_room
        self._bodies = bodies
        self._videos = videos
        self._body_bytes = body_bytes
        self._on_short = on_short
        self._is_short = False
        self._held = held
        self._most_held = most_held
        self._least_held = LEAST_HELD_BYTES
        self._fitting: int | None = None
        self._learned = False

    def learn(self) -> None:
        """Fit when the models are loaded, and say what fits from then on.

        What the loading took at most is what the runs of all models may take later.
        """
        self._least_held = max(LEAST_HELD_BYTES, self._most_held())
        self._fitting, self._learned = None, True
        self.fit()

    def fit(self) -> None:
        """Set the limits by what the process holds now; nothing is changed while large images are in work."""
        if self._share_bytes is None or not self._room.is_idle:
            return
        counted = self._bodies.bytes + self._videos.bytes
        held = max(self._held() - counted, self._least_held) + self._beside_bytes
        wanted = max(self._max_pixels, self._most if self._chosen_room else 0)
        free = max(0, self._share_bytes - held)
        least = min(free // BODY_SHARE, self._body_bytes)
        bodies = max(LEAST_BODY_BYTES, least, free - wanted * TIGHT_BYTES_PER_PIXEL)
        found = max(SMALL_PIXELS, (free - least) // TIGHT_BYTES_PER_PIXEL)
        if self._fitting and abs(found - self._fitting) * NEWS_SHARE < self._fitting:
            return
        self._fitting = found
        self._bodies.fit(bodies)
        if found < wanted and not self._is_short:
            self._is_short = True
            self._on_short()
        most = self._most if self._chosen_room else min(self._most, found)
        admitted = max(most, found)
        refuses = not self._chosen_max and admitted < self._max_pixels
        self._room.fit(most, admitted if refuses else None)
        enough = min(bodies, max(LEAST_BODY_BYTES, self._body_bytes))
        pixels = min(most, found, wanted)
        self._videos.fit(bodies - enough, enough, pixels, is_bound=not self._chosen_max)
        if self._learned and found < wanted:
            needed = wanted * TIGHT_BYTES_PER_PIXEL + held + self._body_bytes
            self._report(found, needed, self._share_bytes)

    def _report(self, fitting: int, needed: int, share: int) -> None:
        """Log what fits, where that is less than what the settings allow."""
        if self._room.largest is not None:
            log.warning(
                "Images may have %.1f million pixels, not %g million: this process has %d MiB of memory, and needs %d. "
                "Larger images get 413 too_many_pixels. Give it more memory, or use fewer workers.",
                self._room.largest / 1e6,
                self._max_pixels / 1e6,
                share >> 20,
                needed >> 20,
            )
            return
        log.warning(
            "%s allows more than the %.1f million pixels that fit: this process has %d MiB of memory, and needs %d. "
            "The kernel may end it for a single image. Set it lower, give the process more memory, or use fewer "
            "workers.",
            "FOVEAL_MAX_PIXELS" if self._chosen_max else "FOVEAL_MAX_DECODING_PIXELS",
            fitting / 1e6,
            share >> 20,
            needed >> 20,
        )
