// NVIDIA's own calculation of occupancy, for lines of: major minor warps shared_bytes reserved_bytes, threads registers
// shared_bytes barriers. Prints the blocks of each.
#include <cstdio>
#include "cuda_occupancy.h"

int main() {
  int major, minor, warps, shared, reserved, threads, registers, asked, barriers;
  while (scanf("%d %d %d %d %d %d %d %d %d", &major, &minor, &warps, &shared, &reserved, &threads, &registers, &asked,
               &barriers) == 9) {
    cudaOccDeviceProp device;
    device.computeMajor = major;
    device.computeMinor = minor;
    device.maxThreadsPerBlock = 1024;
    device.maxThreadsPerMultiprocessor = 32 * warps;
    device.regsPerBlock = device.regsPerMultiprocessor = 65536;
    device.warpSize = 32;
    device.sharedMemPerBlock = 48 << 10;
    device.sharedMemPerMultiprocessor = shared;
    device.sharedMemPerBlockOptin = shared - reserved;
    device.reservedSharedMemPerBlock = reserved;
    device.numSms = 1;
    cudaOccFuncAttributes kernel;
    kernel.maxThreadsPerBlock = 1024;
    kernel.numRegs = registers;
    kernel.sharedSizeBytes = 0;
    kernel.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
    kernel.maxDynamicSharedSizeBytes = asked;
    kernel.numBlockBarriers = barriers;
    cudaOccDeviceState state;
    cudaOccResult result;
    if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &kernel, &state, threads, asked)) return 1;
    printf("%d\n", result.activeBlocksPerMultiprocessor);
  }
}
