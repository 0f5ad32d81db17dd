"""What each setting of `tenfold quantize` costs on the bundled networks.

    python tests/benchmarks/quantized/study.py [--output FILE]

Accuracy on the 500 labelled images of the examples, which calibrate too; signal to noise of the scores; bytes of the files. Nothing is
timed.
"""
from __future__ import annotations

import argparse
import itertools
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import tenfold
from kept_rows import content_of
from tenfold import QuantizationSettings
from tenfold.support.files.folder import write_text

HERE = Path(__file__).parent
MODELS = Path(tenfold.__file__).parent / "examples" / "models"
NETWORKS = ("cifar10_jin_baseline", "cifar10_vgg")
SETTINGS: dict[str, dict[str, Any]] = {
    "as it comes": {},
    "`--calibration mse`": {"calibration": "mse"},
    "`--no-equalize`": {"equalize": False},
    "`feedback=False, correct_bias=False`": {"feedback": False, "correct_bias": False},
    "`--per-tensor`": {"per_channel": False},
    "`--per-tensor --no-equalize`": {"per_channel": False, "equalize": False},
    "`--calibration percentile`": {"calibration": "percentile"},
    "`--calibration kl`": {"calibration": "kl"},
    "`--clip-weights`": {"clip_weights": True},
    "`--keep-ends`": {"keep_ends": True},
}


def main() -> None:
    parser = argparse.ArgumentParser(description="Quantize the bundled networks in every way.")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "quantized" / "settings.json", metavar="FILE")
    path = parser.parse_args().output
    content = content_of(path, "quantized", 0)
    known = {row["name"] for row in content["rows"]}
    for (name, options), network in itertools.product(SETTINGS.items(), NETWORKS):
        if f"{network} {name}" in known:
            continue
        settings = QuantizationSettings(**options)
        done = tenfold.quantize(MODELS / f"{network}.onnx", data=MODELS / "cifar10_test_500.npz", settings=settings)
        (snr,) = done.snr.values()
        content["rows"].append({"name": f"{network} {name}", "network": network, "setting": name, "snr": snr, "layers": done.quantized,
                                "agreement": done.agreement, "before": asdict(done.before), "after": asdict(done.after),
                                "images": done.judged_images})  # fmt: skip
        print(f"{network} {name}: {done.after.accuracy:.1%}, {snr:.1f} dB", file=sys.stderr)
        write_text(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
