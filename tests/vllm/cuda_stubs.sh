#!/usr/bin/env bash
# usage: cuda_stubs.sh SITE_PACKAGES/torch/lib
# Libraries with the names that torch's CUDA build wants, in which every function aborts: none is called on a CPU.
set -euo pipefail
lib=$1
work=$(mktemp -d)
trap 'rm -r "$work"' EXIT
for object in torch_cuda torch_cuda_linalg torch_nvshmem torch_python torch_cpu c10_cuda caffe2_nvrtc; do
  nm -D --undefined-only "$lib/lib$object.so"
done | awk '{sub(/@.*/, "", $2); print $2}' | sort -u >"$work/wanted"
stub() { # file name, pattern of its functions
  { echo 'void abort(void);'; { grep -E "$2" "$work/wanted" || true; } | sed 's/.*/void &(void) { abort(); }/'; } >"$work/stub.c"
  gcc -w -shared -fPIC -O0 "$work/stub.c" -Wl,-soname,"$1" -o "$lib/$1"
}
stub libcublas.so.13 '^cublas([^L]|Logger)'
stub libcublasLt.so.13 '^cublasLt'
stub libcudnn.so.9 '^cudnn'
stub libcufft.so.12 '^cufft'
stub libcurand.so.10 '^curand'
stub libcusolver.so.12 '^cusolver'
stub libcusparse.so.12 '^cusparse[^L]'
stub libcusparseLt.so.0 '^cusparseLt'
stub libnccl.so.2 '^p?nccl'
stub libnvrtc.so.13 '^nvrtc'
stub libnvshmem_host.so.3 '^nvshmem'
