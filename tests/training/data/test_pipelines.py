"""What networks see: preprocessing against NumPy and algebra, augmentation by what it may and may not do to an image."""
from __future__ import annotations

import numpy as np
import pytest
import torch
from tenfold import TenfoldError
from tenfold.training.data import PIPELINES, Images, augmentation, prepare, preprocessing
from tenfold.training.data.preprocessing import Whitening, contrast_normalized, standardized

RNG = np.random.default_rng(0)


def images(count=12, channels=3, size=32):
    x, y = RNG.integers(0, 256, (2, count, channels, size, size), np.uint8), RNG.integers(0, 10, (2, count))
    return Images("cifar10" if channels == 3 else "mnist", x[0], y[0], x[1], y[1], 10)


def generator():
    return torch.Generator().manual_seed(5)


def test_contrast_normalisation(monkeypatch):
    monkeypatch.setattr(preprocessing, "CHUNK", 5)
    x = images().train_x
    x[3] = 77
    normalized = contrast_normalized(x)
    flat = normalized.reshape(12, -1).astype(np.float64)
    norms = np.full(12, 55.0)
    norms[3] = 0  # an image of one colour
    np.testing.assert_allclose(flat.mean(1), 0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(flat, axis=1), norms, rtol=1e-5)
    centred = x[0].astype(np.float64) - x[0].mean()
    np.testing.assert_allclose(normalized[0], centred * 55 / np.linalg.norm(centred), rtol=1e-4, atol=1e-4)


def test_whitening_makes_the_covariance_the_identity(tmp_path, monkeypatch):
    monkeypatch.setattr(preprocessing, "CHUNK", 70)
    x = (RNG.standard_normal((400, 12)) @ RNG.standard_normal((12, 12))).reshape(400, 3, 2, 2).astype(np.float32) + 3
    whitening = Whitening.fit(x, bias=0)
    white = whitening(x).reshape(400, 12).astype(np.float64)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-5)
    np.testing.assert_allclose(white.T @ white / 400, np.eye(12), atol=1e-4)
    np.testing.assert_allclose(whitening.matrix, whitening.matrix.T, atol=1e-6)  # zero-phase: a whitened image looks like the image
    covariance = np.cov(x.reshape(400, 12).T, bias=True)
    regular = Whitening.fit(x)
    np.testing.assert_allclose(regular.matrix @ (covariance + 0.1 * np.eye(12)) @ regular.matrix, np.eye(12), atol=1e-4)
    regular.write(tmp_path / "w.npz")
    np.testing.assert_array_equal(Whitening.read(tmp_path / "w.npz")(x), regular(x))
    np.savez(tmp_path / "w.npz", mean=np.zeros(3))
    with pytest.raises(TenfoldError, match=r"w\.npz: not the file of a whitening"):
        Whitening.read(tmp_path / "w.npz")


def test_standardisation():
    x = images().train_x
    x[2] = 9
    expected = [(image - image.mean()) / max(image.std(), 1 / np.sqrt(3072)) for image in x.astype(np.float64)]
    np.testing.assert_allclose(standardized(x), expected, atol=1e-4)
    np.testing.assert_allclose(augmentation.standardize(torch.from_numpy(x).float()), expected, atol=1e-4)


def test_crops_are_parts_of_their_images():
    x = torch.from_numpy(images().train_x)
    cut = augmentation.crop(x, 29, generator())
    places = set()
    for image, part in zip(x, cut, strict=True):
        here = [(top, left) for top in range(4) for left in range(4) if torch.equal(image[:, top : top + 29, left : left + 29], part)]
        assert len(here) == 1
        places.add(here[0])
    assert len(places) > 4
    moved = augmentation.shift(x, 2, generator())
    padded = torch.nn.functional.pad(x, [2] * 4)
    for image, part in zip(padded, moved, strict=True):
        assert any(torch.equal(image[:, top : top + 32, left : left + 32], part) for top in range(5) for left in range(5))
    assert torch.equal(augmentation.center(x, 24), x[:, :, 4:28, 4:28])


def test_flips_mirror_some_images():
    x = torch.from_numpy(images(64).train_x)
    flipped = augmentation.flip(x, generator())
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(flipped, x, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True)) and 16 < sum(mirrored) < 48


def test_brightness_and_contrast():
    x = torch.rand(200, 3, 8, 8)
    change = (augmentation.brightness(x, 63.0, generator()) - x).flatten(1)
    assert (change.amax(1) - change.amin(1)).max() < 1e-4 and change[:, 0].abs().max() <= 63 and change[:, 0].std() > 30
    stretched = augmentation.contrast(x, 0.2, 1.8, generator())
    np.testing.assert_allclose(stretched.mean((2, 3)), x.mean((2, 3)), atol=1e-5)
    factors = (stretched.std((2, 3)) / x.std((2, 3))).numpy()
    np.testing.assert_allclose(factors, factors[:, :1] * np.ones(3), rtol=1e-3)  # one factor an image
    assert 0.2 <= factors.min() < 0.3 and 1.7 < factors.max() <= 1.8 + 1e-3


@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("channels, size", [(3, 32), (1, 28)])
def test_pipelines(pipeline, channels, size, tmp_path):
    if pipeline == "jin" and channels == 3:
        pytest.skip("the whitening of whole images takes long: below, on small ones")
    prepared = prepare(images(channels=channels, size=size), pipeline, tmp_path)
    batch = prepared.train_x[:4]
    seen = batch if prepared.augment is None else prepared.augment(batch, generator(), 0.7)
    assert seen.dtype == torch.float32 and seen.shape == (4, *prepared.shape) == prepared.seen(batch).shape
    again = batch if prepared.augment is None else prepared.augment(batch, generator(), 0.7)
    assert torch.equal(seen, again)
    assert pipeline != "calli" or prepared.shape == (channels, 24, 24)
    assert pipeline != "pixels" or (torch.equal(prepared.train_y, prepared.train_x) and seen.min() == -1 and seen.max() == 1)


def test_images_grow():
    prepared = prepare(images(), "growing")
    sizes = [prepared.augment(prepared.train_x, generator(), done).shape[-1] for done in (0.0, 0.59, 0.6, 1.0)]
    assert sizes == [24, 24, 32, 32]


def test_channels_are_normalised():
    prepared = prepare(images(), "plain")
    np.testing.assert_allclose(prepared.train_x.mean((0, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(prepared.train_x.std((0, 2, 3), correction=0), 1, atol=1e-4)


def test_the_whitening_is_kept(tmp_path):
    said = []
    small = images(size=6)
    first = prepare(small, "jin", tmp_path, said.append)
    again = prepare(small, "jin", tmp_path, said.append)
    assert said == ["fitting the whitening"] and torch.equal(first.test_x, again.test_x)
    direct = contrast_normalized(small.test_x)
    whitening = Whitening.fit(contrast_normalized(small.train_x))
    assert not np.allclose(direct, first.test_x) and np.allclose(whitening(direct), first.test_x, atol=1e-3)


def test_mistakes():
    with pytest.raises(TenfoldError, match=r"pipeline 'zca': there are jin, calli"):
        prepare(images(), "zca")
    with pytest.raises(TenfoldError, match="smaller than its crops"):
        prepare(images(size=20), "calli")


def test_augmentations_by_name():
    """Images of any shape: mirrored ones, and those moved by up to an eighth of the shorter side, zeros behind them."""
    x = torch.rand(40, 2, 8, 24) + 1
    flipped = augmentation.combined(["flip"])(x, generator(), 0.5)
    assert {torch.equal(a, b.flip(2)) for a, b in zip(flipped, x, strict=True)} == {True, False}
    moved = augmentation.combined(["shift"])(x, generator(), 0.5)
    assert moved.shape == x.shape
    for after, before in zip(moved, x, strict=True):
        padded = torch.nn.functional.pad(before, [1] * 4)
        places = [(top, left) for top in range(3) for left in range(3) if torch.equal(padded[:, top : top + 8, left : left + 24], after)]
        assert len(places) == 1
    many = augmentation.combined(["flip", "shift"])(x[:1].expand(30, -1, -1, -1), generator(), 0.0)
    assert len({tuple(image.flatten().tolist()) for image in many}) > 6
    with pytest.raises(TenfoldError, match="augmentation 'turn': there are flip, shift"):
        augmentation.combined(["flip", "turn"])
