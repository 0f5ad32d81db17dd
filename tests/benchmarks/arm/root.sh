#!/bin/sh
# A folder with an AArch64 Python, ONNX Runtime and ncnn, to run under emulation: sh root.sh DIR. Needs Debian's apt and pip; about 600 MB.
set -eu
dir=$(realpath -m "$1")
mkdir -p "$dir"/apt/state/lists/partial "$dir"/apt/cache/archives/partial "$dir"/debs "$dir"/wheels "$dir"/system/site
cd "$dir"
touch apt/status
echo 'deb [arch=arm64 trusted=yes] http://deb.debian.org/debian bookworm main' > apt/sources.list
cat > apt/apt.conf <<C
APT::Architecture "arm64"; APT::Architectures {"arm64";}; Acquire::Languages "none";
Dir::State "$dir/apt/state"; Dir::State::status "$dir/apt/status"; Dir::Cache "$dir/apt/cache";
Dir::Etc::sourcelist "$dir/apt/sources.list"; Dir::Etc::sourceparts "-";
C
export APT_CONFIG="$dir/apt/apt.conf"
apt-get update -q
(cd debs && apt-get download -q libc6 libgcc-s1 libstdc++6 libgomp1 python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libpython3.11 \
  zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 liblzma5 libsqlite3-0 libuuid1 libreadline8 libtinfo6 libncursesw6 libnsl2 libtirpc3 libcrypt1 libdb5.3)
for deb in debs/*.deb; do dpkg -x "$deb" system; done
platforms=$(for each in 2_34 2_28 2_27 2_24 2_17; do printf -- '--platform manylinux_%s_aarch64 ' $each; done)
# shellcheck disable=SC2086
pip download -q --no-deps --only-binary=:all: --python-version 311 --implementation cp --abi cp311 --abi abi3 --abi none $platforms \
  --platform manylinux2014_aarch64 --platform any -d wheels onnxruntime numpy ncnn flatbuffers protobuf packaging
for wheel in wheels/*.whl; do python3 -m zipfile -e "$wheel" system/site; done
pip install -q --no-deps --target pnnx pnnx  # of this machine: it makes ncnn's files from ONNX
# ONNX Runtime looks at the CPU, and must not find this machine's.
mkdir -p system/proc
: > system/proc/cpuinfo
cpus=system/sys/devices/system/cpu
for i in 0 1 2 3; do
  mkdir -p $cpus/cpu$i/topology $cpus/cpu$i/regs/identification
  echo 0x00000000410fd083 > $cpus/cpu$i/regs/identification/midr_el1
  echo $i > $cpus/cpu$i/topology/core_id
  echo 0 > $cpus/cpu$i/topology/physical_package_id
  printf 'processor\t: %d\nFeatures\t: fp asimd evtstrm crc32 cpuid\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x0\nCPU part\t: 0xd08\nCPU revision\t: 3\n\n' $i >> system/proc/cpuinfo
done
for file in possible present online; do echo 0-3 > $cpus/$file; done
