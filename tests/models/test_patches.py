"""The patch Transformer, and images that are shown a little otherwise while training."""

from __future__ import annotations

import pytest
import torch

from mmbench.models.augment import Augment
from mmbench.models.encoders.cnn import CNN
from mmbench.models.encoders.patches import Patches
from mmbench.types import Modality

WIDTH = 16


def images(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("height", "width", "patch", "tokens"), [(32, 32, 8, 16), (30, 18, 8, 12), (9, 9, 9, 1)]
)
def test_a_token_stands_for_each_square_the_last_ones_filled_up(
    height: int, width: int, patch: int, tokens: int
) -> None:
    torch.manual_seed(0)
    encoder = Patches(Modality("image", (3, height, width)), WIDTH, patch).eval()
    found, mask = encoder(images(2, 3, height, width), None)
    assert found.shape == (2, tokens, WIDTH)
    assert mask.all()


def test_a_token_without_layers_sees_its_own_square_alone() -> None:
    torch.manual_seed(0)
    encoder = Patches(Modality("image", (3, 16, 24)), WIDTH, 8, depth=0).eval()
    one = images(1, 3, 16, 24)
    two = one.clone()
    two[:, :, 8:, 16:] = 255 - two[:, :, 8:, 16:]  # the last of 2 x 3 squares
    changed = (encoder(one, None)[0] - encoder(two, None)[0]).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [False] * 5 + [True]


def test_a_square_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="patch = 20 is larger than the image, 16 x 16"):
        Patches(Modality("image", (3, 16, 16)), WIDTH, 20)


def test_augmentation_is_for_training_only_and_one_for_each_image() -> None:
    x = images(4, 3, 16, 16)
    x[1] = x[0]
    augment = Augment(0.3)
    assert torch.equal(augment.eval()(x), x.float())
    assert torch.equal(Augment(0.0).train()(x), x.float())
    augment.train()
    torch.manual_seed(0)
    once = augment(x)
    assert once.shape == x.shape
    assert once.min() >= 0
    assert once.max() <= 255
    assert (once[0] - once[1]).abs().max() > 5
    torch.manual_seed(0)
    assert torch.equal(augment(x), once)


def test_left_and_right_change_places_in_half_of_all_cases_unless_that_is_off() -> None:
    ramp = torch.linspace(0, 255, 16).expand(400, 3, 16, 16)
    for mirror, low, high in ((True, 0.4, 0.6), (False, 0.0, 0.0)):
        torch.manual_seed(0)
        found = Augment(0.2, mirror).train()(ramp)
        turned = (found[..., :4].mean(dim=(1, 2, 3)) > found[..., -4:].mean(dim=(1, 2, 3))).float()
        assert low <= turned.mean() <= high


@pytest.mark.parametrize("kind", [CNN, Patches])
def test_encoders_augment_while_they_train(kind: type[CNN] | type[Patches]) -> None:
    torch.manual_seed(0)
    encoder = kind(Modality("image", (3, 32, 32)), WIDTH, augment=0.3)
    x = images(2, 3, 32, 32)
    assert torch.equal(encoder.eval()(x, None)[0], encoder(x, None)[0])
    assert not torch.equal(encoder.train()(x, None)[0], encoder(x, None)[0])
