// One kernel as run.cpp calls it: g++ -DKERNEL_FILE='"....cu"' -DKERNEL=name.
#include "cuda_on_cpu.h"

#include KERNEL_FILE

const on_cpu::Kernel on_cpu::the_kernel = on_cpu::describe<KERNEL>(KERNEL);
