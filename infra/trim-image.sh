#!/bin/bash
# Take out of a virtual environment what no run needs, before it becomes a layer of the image.
# Libraries that libtorch_cuda.so is linked against stay, whether ResNet18 calls them or not: without them it does not load.
set -euo pipefail
environment=$1
packages=$("$environment/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

# triton compiles kernels for torch.compile, which the training does not use.
"$environment/bin/pip" uninstall --quiet --yes triton
# pip installs; nothing is installed later.
"$environment/bin/pip" uninstall --quiet --yes pip

cd "$packages"
# For compiling against the libraries, not for running them.
find . -name '*.a' -delete
find . -type d -name include -prune -exec rm -r {} +
rm -rf torch/bin/protoc* torch/share
# Tests of other people's packages. torch.testing is no such folder: torch imports it.
find . -type d -name tests -prune -exec rm -r {} +
# No library is linked against these: solvers for several GPUs, hardware counters for profilers, device code that
# triton links, a Fortran run-time that does not load for want of another library.
rm -f torch/lib/libgfortran.so.* nvidia/cu13/lib/libcusolverMg.so.* nvidia/cu13/lib/libnvperf_*.so nvidia/nvshmem/lib/*.bc
# Factorisations (torch.linalg) on the GPU: torch loads these two when one is first called, and training calls none.
rm -f torch/lib/libtorch_cuda_linalg.so nvidia/cu13/lib/libcusolver.so.*
# Symbol tables serve debuggers; the dynamic linker has its own.
find torch/lib nvidia -name '*.so*' -type f -exec strip --strip-unneeded {} +
