"""LeNet-5 and the digits that it is trained on."""

import pytest
import torch

from exporter.training.lenet5 import Digits, Ink, LeNet5, accuracy, read_digits, vary


def test_ink_is_the_same_for_either_polarity_and_any_contrast() -> None:
    digit = torch.zeros(1, 1, 32, 32)
    digit[:, :, 10:20, 14:17] = 1
    strong, inverted = Ink()(digit), Ink()(1 - digit)
    faint = Ink()(0.4 + 0.3 * digit)
    torch.testing.assert_close(strong, inverted)
    torch.testing.assert_close(strong, faint, atol=0.1, rtol=0)


def test_the_network_has_the_parameters_of_the_paper_with_a_full_c3() -> None:
    assert sum(part.numel() for part in LeNet5().parameters()) == 61_706


def test_variations_keep_shape_and_range_and_differ() -> None:
    torch.manual_seed(0)
    digits = torch.rand(6, 1, 32, 32)
    varied = vary(digits)
    assert varied.shape == digits.shape
    assert 0 <= float(varied.min()) < float(varied.max()) <= 1
    assert not torch.equal(varied, digits)


def test_the_accuracy_is_the_share_of_right_classes() -> None:
    digits = Digits((), torch.rand(4, 1, 32, 32), torch.arange(4))
    layer = torch.nn.Linear(1024, 10)
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    layer.bias.data[2] = 1
    always_two = torch.nn.Sequential(torch.nn.Flatten(), layer)
    assert accuracy(always_two, digits) == pytest.approx(0.25)


def test_a_fifth_of_the_digits_is_held_out_and_the_split_is_always_the_same() -> None:
    (train, held_out), (_, again) = read_digits(), read_digits()
    assert (len(train.classes), len(held_out.classes)) == (4000, 1000)
    assert held_out.encoded == again.encoded
    assert set(train.encoded).isdisjoint(held_out.encoded)
