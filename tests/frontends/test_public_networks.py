"""Networks that public packages bring with them, where these are installed: compiled, verified, and their convolutions can be factored.

To run it, put rapidocr-onnxruntime, nudenet and ddddocr beside Tenfold (``pip install --no-deps``); they are never imported.
"""
import importlib.util
from pathlib import Path

import pytest
import tenfold
from tenfold.support.errors import TenfoldError

# package, file, sizes of the input, how many layers at least can be factored
NETWORKS = [
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_det_infer.onnx", {"x": (1, 3, 320, 320)}, 40),
    ("rapidocr_onnxruntime", "models/ch_PP-OCRv4_rec_infer.onnx", {"x": (1, 3, 48, 320)}, 30),
    ("rapidocr_onnxruntime", "models/ch_ppocr_mobile_v2.0_cls_infer.onnx", {"x": (1, 3, 48, 192)}, 40),
    ("nudenet", "320n.onnx", {"images": (1, 3, 320, 320)}, 50),
    ("ddddocr", "common.onnx", {"input1": (1, 1, 64, 160)}, 20),  # an LSTM behind convolutions
    ("ddddocr", "common_det.onnx", None, 70),
]
IDS = [f"{package}-{Path(name).stem}" for package, name, *_ in NETWORKS]


def _find(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed")
    path = Path(spec.submodule_search_locations[0]) / name
    if not path.is_file():
        pytest.skip(f"this version of {package} has no {name}")
    return path


IDS = [f"{package}-{Path(name).stem}" for package, name, *_ in NETWORKS]


@pytest.mark.slow
@pytest.mark.parametrize("package, name, shapes, factorable", NETWORKS, ids=IDS)
def test_compiled_and_verified(package, name, shapes, factorable, tmp_path):
    path = _find(package, name)
    layers = tenfold.inspect(path, input_shapes=shapes)
    assert sum(layer.reason is None for layer in layers) >= factorable
    artifact = tenfold.compile(path, "host", tmp_path / "artifact", input_shapes=shapes)
    assert artifact.manifest.verification["max_rel_error"] < 1e-4
    assert artifact.manifest.unscheduled == ()


@pytest.mark.slow
def test_an_operator_of_one_engine_is_refused_with_what_to_do():
    path = _find("ddddocr", "common_old.onnx")
    with pytest.raises(TenfoldError, match=r"operator com\.microsoft\.DynamicQuantizeLSTM .* cut the network before"):
        tenfold.inspect(path, input_shapes={"input1": (1, 1, 64, 160)})
