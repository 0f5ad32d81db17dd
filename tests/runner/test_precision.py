"""Operands of products, and weights, in fewer bits than float32: what verification accepts, what manifests say, what is refused."""
from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import tenfold
from command_checks import tenfold_anew
from tenfold.codegen.cuda.nvcc import finds_nvcc
from tenfold.frontends.reference import Precision
from tenfold.runner.build import describe_target
from tenfold.runner.tolerance import BFLOAT16_OPERANDS, FLOAT16, OPERANDS, Tolerance
from tenfold.runner.verify import TOLERANCE
from tenfold.support.errors import TenfoldError
from tenfold.targets import resolve

MODEL = Path(tenfold.__file__).parent / "examples" / "models" / "cifar10_jin_baseline.onnx"


def test_the_tolerance_follows_the_operands():
    assert Tolerance.of(Precision("float32")).value == TOLERANCE
    for operands in ("tf32", "fp16"):
        allowed = Tolerance.of(Precision("float32"), None, operands)
        assert FLOAT16 < allowed.value == OPERANDS < 6e-3 and operands in allowed.reason
        assert Tolerance.of(Precision("float32"), 1e-3, operands) == Tolerance(1e-3, "as asked")
        assert Tolerance.of(Precision("float32", 8), None, operands).value == 2 / 255


def test_random_errors_of_deep_networks_are_within_it():
    """64 layers of random weights, their operands rounded to TF32: an eighth of the tolerance is too little, the whole is enough."""
    rng = np.random.default_rng(0)
    exact = rounded = rng.standard_normal((16, 256))
    for _ in range(64):
        weight = rng.standard_normal((256, 256)) / 16
        exact, rounded = exact @ weight, _tf32(rounded) @ _tf32(weight)
    error = np.abs(exact - rounded).max() / np.abs(exact).max()
    assert OPERANDS / 8 < error < OPERANDS


def _tf32(values: np.ndarray) -> np.ndarray:
    return _shorter(values, 11)


def _shorter(values: np.ndarray, digits: int) -> np.ndarray:
    """Rounded to so many significant bits."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 2**digits) / 2**digits, exponent)


def test_targets_refuse_what_they_lack():
    assert resolve("sm_80").with_precision("tf32").precision == "tf32" and resolve("zen4").with_precision("float32").precision == "float32"
    assert resolve("sm_75").with_precision("fp16").precision == "fp16"
    for target, precision, words in (("zen4", "tf32", "zen4 is a CPU: take bfloat16"), ("sm_75", "tf32", "no tf32: take precision fp16"),
                                     ("cuda:sm_75,sm_90", "tf32", "sm_75 have no tf32"), ("sm_80", "half", "one of float32, tf32, fp16"),
                                     ("zen3", "bfloat16", "zen3 lacks AVX-512 BF16 .avx512_bf16.: take float16"),
                                     ("neoverse-n1", "bfloat16", "lacks BFloat16 instructions .bf16.: take float16"),
                                     ("sm_80", "bfloat16", "such as sm_80"), ("zen4", "half", "one of float32, bfloat16, float16")):
        with pytest.raises(TenfoldError, match=words):
            resolve(target).with_precision(precision)


@pytest.mark.parametrize("target", ["zen4", "zen3", "cortex-a72", "sm_80"])
def test_float16_has_two_spellings(target):
    found = {resolve(target).with_precision(spelling).precision for spelling in ("fp16", "float16")}
    assert found == ({"fp16"} if target == "sm_80" else {"float16"})


def test_the_tolerance_of_bfloat16():
    """Eight digits, where float16 has eleven; and a bound for the errors as a whole, which are spread over what is allowed."""
    allowed = Tolerance.of(Precision("float32"), None, "bfloat16")
    assert allowed.value == BFLOAT16_OPERANDS == 8 * OPERANDS and allowed.rms < allowed.value and "bfloat16" in allowed.reason
    assert Tolerance.of(Precision("float32"), 1e-3, "bfloat16") == Tolerance(1e-3, "as asked")
    weights = Tolerance.of(Precision("float32"), None, "float16")
    assert weights.value == FLOAT16 and weights.reason == "weights rounded to float16"


def test_random_errors_of_bfloat16_are_within_it():
    """64 layers of random weights, as below: a tenth is too little, the whole is enough."""
    rng = np.random.default_rng(0)
    exact = rounded = rng.standard_normal((16, 256))
    for _ in range(64):
        weight = rng.standard_normal((256, 256)) / 16
        exact, rounded = exact @ weight, _shorter(rounded, 8) @ _shorter(weight, 8)
    errors, largest = np.abs(exact - rounded), np.abs(exact).max()
    allowed = Tolerance.of(Precision("float32"), None, "bfloat16")
    assert allowed.value / 10 < errors.max() / largest < allowed.value
    assert allowed.rms / 10 < np.sqrt(np.mean(errors**2)) / largest < allowed.rms


def test_a_manifest_names_a_precision_that_is_not_float32():
    target = resolve("sm_80")
    assert "precision" not in describe_target(target)
    assert describe_target(target.with_precision("fp16"))["precision"] == "fp16"
    assert dataclasses.replace(target, precision="tf32").precision == "tf32"


@pytest.mark.slow
@pytest.mark.skipif(not finds_nvcc(), reason="no nvcc of CUDA 13: pip install tenfold[cuda]")
@pytest.mark.parametrize("precision", [pytest.param("tf32", marks=pytest.mark.long), "fp16"])
def test_the_bundled_network_is_verified_under_emulation(tmp_path, precision):
    done = tenfold_anew("compile", MODEL, "-o", tmp_path / "out", "--target", "cuda", "--precision", precision, seconds=900)
    assert done.code == 0 and f"operands of products rounded to {precision}" in done.out and "kernels emulated" in done.out, done.err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["target"]["precision"] == precision
    assert 1e-6 < manifest["verification"]["max_rel_error"] < OPERANDS
    assert any(point.get("precision") == precision for point in manifest["choices"].values())
    again = tenfold_anew("verify", tmp_path / "out", seconds=900)
    assert again.code == 0, again.err
    assert f"rounded to {precision}" in again.out
