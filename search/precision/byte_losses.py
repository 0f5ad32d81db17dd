"""What a network loses with one layer on bytes: evaluated on real images, as factored candidates are.

The layer, as it is or factored, gets quantizers, calibrated on some images. Weights are rounded to the nearest, which takes no time: the
plan that is carried out makes later weights up for earlier ones, and errs a little less.
"""
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...passes.factorize_onnx import factorize_onnx, stage_names
from ...runner.quantize.rewrite import evenly_spaced, layer_names, quantize_graph
from ...runner.quantize.settings import QuantizationSettings
from ...support.code_version import code_version
from ...support.progress import Progress
from ..calibration.evaluation import Verdict, is_verdict, verdict_of
from ..sensitivity import CODE, KEY
from ..store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from ..calibration.network_rewriter import NetworkRewriter
    from ..candidates import Candidate
    from ..sensitivity import Sensitivity

RANGE_IMAGES = 128  # that the steps of one layer's candidates come from
QUICK = QuantizationSettings(feedback=False, correct_bias=False)
WHOLE = "dense"  # what a record calls the layer as it is
CODE_OF_QUANTIZING = ("quantization", "runner/quantize", "passes/quantize", "search/precision")


class ByteLosses:
    """Losses of layers on bytes, one at a time; kept on disk as they come.

    Parameters
    ----------
    rewriter : NetworkRewriter
        With images to calibrate with.
    sensitivity : Sensitivity
        Has the factors of candidates, and the judge.
    path : Path
        Of the file of records.
    """

    def __init__(self, rewriter: NetworkRewriter, sensitivity: Sensitivity, path: Path) -> None:
        assert rewriter.images is not None  # of a search
        self._rewriter, self._sensitivity = rewriter, sensitivity
        self._images = rewriter.images[evenly_spaced(len(rewriter.images), RANGE_IMAGES)]
        self._store = Store(path, KEY, is_sound=is_verdict)
        code = code_version(*CODE, *CODE_OF_QUANTIZING)
        self._context = {"model": rewriter.network.key, "data": rewriter.calibrated.sha256, "code": code}

    def verdict(self, layer: str, candidate: Candidate | None, say: Progress) -> Verdict:
        """On the network with this one layer on bytes, as it is (None) or factored."""
        what = f"int8 verdict on {self._sensitivity.judge.digest}"
        how: dict[str, Any] = {"method": WHOLE, "ranks": [], "metric": ""}
        if candidate is not None:
            how = {"method": candidate.choice.method, "ranks": list(candidate.choice.ranks), "metric": candidate.choice.metric}
        key = {"what": what, "layer": layer, **how, **self._context}
        record = self._store.get(key)
        if record is None:
            record = {**key, **self._judged(layer, candidate, say).to_dict()}
            self._store.put(record)
        return verdict_of(record)

    def _judged(self, layer: str, candidate: Candidate | None, say: Progress) -> Verdict:
        network = self._rewriter.network
        chains = {} if candidate is None else self._sensitivity.chains_of(candidate)
        model = factorize_onnx(network.onnx, chains) if chains else network.onnx
        stages = stage_names([layer], chains)
        keep = [name for name in layer_names(model) if name not in stages]
        made = quantize_graph(network.name, model, self._images, network.inputs[0].shape[0], QUICK, say, keep)
        return self._sensitivity.judge.judge_model(made.quantized)
