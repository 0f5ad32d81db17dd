"""The page on the emulator: its example runs, and its mistake is the one that is shown."""
from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import tenfold
from tenfold.runner.devices.cuda import EmulationError

PAGE = (Path(tenfold.__file__).parent / "docs" / "cuda-emulator.md").read_text()


def test_the_example_runs():
    code = re.search(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1]
    names: dict = {}
    exec(compile(code, "docs/cuda-emulator.md", "exec"), names)
    np.testing.assert_array_equal(names["y"], names["x"].reshape(4, 64)[:, ::-1].ravel())
    says = re.search(r"^    (reversed: .*)…$", PAGE, re.MULTILINE)[1]
    with pytest.raises(EmulationError, match=re.escape(says)):
        exec(compile(code.replace("  __syncthreads();\n", ""), "docs/cuda-emulator.md", "exec"), names)
