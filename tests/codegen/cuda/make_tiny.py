"""Make tiny.fatbin of tiny.cu: ``python make_tiny.py``, with ``tenfold[cuda]`` installed."""
from pathlib import Path

from tenfold.codegen.cuda.toolchain import compile_fatbin

HERE = Path(__file__).parent

if __name__ == "__main__":
    compile_fatbin((HERE / "tiny.cu").read_text(), ["sm_80", "sm_90"], True, HERE / "tiny.fatbin")
