#include "kernels.cuh"

ALL_KERNELS(DEFINE_KERNEL)
