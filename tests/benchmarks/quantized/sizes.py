"""What `tenfold compile --size` saves and costs on the bundled networks.

    python tests/benchmarks/quantized/sizes.py [--output FILE]

Bytes of weights.bin, and accuracy on the 500 labelled images of the examples. Nothing is timed.
"""
from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import tenfold
from kept_rows import content_of
from tenfold.support.files.folder import write_text

HERE = Path(__file__).parent
MODELS = Path(tenfold.__file__).parent / "examples" / "models"
NETWORKS = ("cifar10_jin_baseline", "cifar10_vgg")
SIZES = (None, "8:kmeans", "5:kmeans", "5:round", "4:kmeans", "4:round")


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the bundled networks with fewer and fewer weights.")
    parser.add_argument("--output", type=Path, default=HERE.parent / "results" / "quantized" / "sizes.json", metavar="FILE")
    path = parser.parse_args().output
    content = content_of(path, "sizes", 1)
    known = {row["name"] for row in content["rows"]}
    for network in NETWORKS:
        for size in (each for each in SIZES if f"{network} {each}" not in known):
            with tempfile.TemporaryDirectory() as folder:
                data = MODELS / "cifar10_test_500.npz"
                done = tenfold.compile(MODELS / f"{network}.onnx", "zen4", f"{folder}/net", size=size, data=data, threads=1)
                stored = Path(folder, "net", "weights.bin").stat().st_size
            row = {"name": f"{network} {size}", "network": network, "size": size, "bytes": stored, "facts": done.manifest.clustering}
            content["rows"].append(row)
            print(row, file=sys.stderr)
            write_text(path, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
