"""What animations of a large canvas cost: of each, a canvas and a displayed frame are held, and no more."""

import subprocess
import sys

import pytest

MEASURED = """
import resource, struct, sys
from io import BytesIO
from PIL import Image
from service.video.opening import open_clip
from service.video.reader import VideoLimits
from service.video.sampling import Sampling
from tests.animations import Part, parts
from tests.pngs import RGB_ALPHA, SIGNATURE, chunk, header, stream
from tests.service.video import test_gif, test_webp

SIDE = 4000

def gif():
    images = b"".join(test_gif.image((left, 0, 4, 2), 2) for left in range(4))
    return test_gif.screen(SIDE, SIDE) + images + b";"

def webp():
    body = bytearray(test_webp.encoded(parts(0, 0, seed=1)))
    at = body.index(b"VP8X") + 12
    body[at : at + 6] = test_webp.small(SIDE - 1) * 2
    return bytes(body)

def png():
    body = SIGNATURE + header((SIDE, SIDE), 8, RGB_ALPHA) + chunk(b"acTL", bytes([0, 0, 0, 4] * 2))
    body += chunk(b"IDAT", stream([bytes(4 * SIDE)] * SIDE))
    for number in range(4):
        fields = (2 * number, 4, 4, number, 0, 1, 10, 0, 1)
        body += chunk(b"fcTL", struct.pack(">IIIIIHHBB", *fields))
        body += chunk(b"fdAT", struct.pack(">I", 2 * number + 1) + stream([bytes(16)] * 4))
    return body + chunk(b"IEND")

body = {"gif": gif, "webp": webp, "png": png}[sys.argv[1]]()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
count = 0
for frame in open_clip(BytesIO(body), Sampling(every_n=1), VideoLimits()):
    assert frame.image().size == (SIDE, SIDE)
    count += 1
    del frame
assert count >= 4
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.parametrize("kind", ["gif", "webp", "png"])
def test_small_frames_on_a_large_canvas_need_two_images_of_it(kind: str) -> None:
    """Sixteen million pixels take 64 MB in Pillow."""
    run = subprocess.run(
        [sys.executable, "-c", MEASURED, kind], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 170
