# A box that compiles, verifies and reports: networks for x86-64, and for AArch64 with the cross compiler and the emulator.
#   docker build -t tenfold .
#   docker run --rm -v "$PWD:/work" tenfold compile net.onnx -o out --target raspberry-pi-4
FROM python:3.11-slim

RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ g++-aarch64-linux-gnu qemu-user \
    && rm -rf /var/lib/apt/lists/*

COPY . /src/tenfold
# PyTorch only reads .pt2 files and modules; "tenfold[torch]" adds it.
RUN pip install --no-cache-dir "/src/tenfold[report,tune]" && rm -rf /src

# Not root: what a compiled network does is its maker's to say. The cache may be mounted too: -v tenfold-cache:/cache
RUN useradd --create-home tenfold && mkdir /cache /work && chown tenfold /cache /work
USER tenfold
ENV TENFOLD_CACHE=/cache
WORKDIR /work
ENTRYPOINT ["tenfold"]
CMD ["doctor"]
