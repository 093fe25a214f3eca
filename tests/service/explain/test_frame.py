import numpy as np

from service.explain.frame import mean_color


def test_the_mean_color_hides_everything() -> None:
    frame = np.zeros((2, 4, 3), np.uint8)
    frame[:, :2] = (200, 100, 51)
    hidden = mean_color(frame)
    assert hidden.shape == frame.shape
    assert hidden.dtype == np.uint8
    assert (hidden == (100, 50, 26)).all()


def test_the_plain_frame_can_be_written_on() -> None:
    hidden = mean_color(np.full((2, 2, 3), 9, np.uint8))
    hidden[0, 0] = 1
    assert hidden[1, 1].tolist() == [9, 9, 9]
