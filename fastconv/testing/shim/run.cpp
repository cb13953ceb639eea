// Runs a launch of a kernel, described by a file: see __init__.py.
//
// A block's threads are coroutines that run one at a time, in the order of their numbers or in reverse, each until it
// comes to a barrier or to an instruction of its whole warp. Blocks follow one another in that order, too. Whatever
// depends on the order is a race; two runs tell. Shared memory is NaN when a block begins, and AddressSanitizer watches
// every access. What cannot end well is reported and ends the process.
#include <ucontext.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "cuda_on_cpu.h"

dim3 gridDim, blockDim, blockIdx, threadIdx;
extern char shared_begin[] __asm__("__start_shared_memory") __attribute__((weak));
extern char shared_end[] __asm__("__stop_shared_memory") __attribute__((weak));

namespace on_cpu {

namespace {

constexpr size_t STACK = 64 * 1024;

enum class State { READY, AT_BARRIER, AT_MEETING, ENDED };

struct Copy {
    void* to;
    size_t size;
    char bytes[16];
};

struct Thread {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[STACK]};
    State state = State::READY;
    const char* meeting = nullptr;  // the instruction of its warp at which it waits
    void* operands = nullptr;
    std::vector<Copy> begun;
    std::vector<std::vector<Copy>> groups;
};

std::vector<Thread> threads;
int current;
ucontext_t scheduler;
std::vector<void*> places;  // of the kernel's parameters

void pause(State state)
{
    threads[current].state = state;
    swapcontext(&threads[current].context, &scheduler);
}

void run_thread()
{
    the_kernel.call(places.data());
    pause(State::ENDED);
}

// Run each thread that can go on; whether any could.
bool sweep(bool reverse)
{
    bool any = false;
    const int count = static_cast<int>(threads.size());
    for (int i = 0; i < count; ++i) {
        current = reverse ? count - 1 - i : i;
        if (threads[current].state != State::READY)
            continue;
        any = true;
        const unsigned number = current;
        threadIdx = {number % blockDim.x, number / blockDim.x % blockDim.y, number / blockDim.x / blockDim.y};
        swapcontext(&scheduler, &threads[current].context);
    }
    return any;
}

__attribute__((no_sanitize("address"))) void forget_shared_memory()
{
    if (shared_begin != nullptr)
        for (volatile char* byte = shared_begin; byte < shared_end; ++byte)
            *byte = static_cast<char>(0xff);  // NaN, as float32 and as BF16
}

void run_block(bool reverse)
{
    forget_shared_memory();
    for (Thread& thread : threads) {
        thread.state = State::READY, thread.begun.clear(), thread.groups.clear();
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.get();
        thread.context.uc_stack.ss_size = STACK;
        makecontext(&thread.context, run_thread, 0);
    }
    for (;;) {
        while (sweep(reverse)) {
        }
        size_t ended = 0, waiting = 0;
        for (const Thread& thread : threads)
            ended += thread.state == State::ENDED, waiting += thread.state == State::AT_BARRIER;
        if (ended == threads.size())
            return;
        if (waiting + ended != threads.size())
            fail("a warp's threads do not all come to an instruction of the warp; of the block have ended", ended);
        if (ended != 0)
            fail("threads wait at __syncthreads while others have ended, so many:", ended);
        for (Thread& thread : threads)
            thread.state = State::READY;
    }
}

int64_t read_number(std::FILE* file)
{
    int64_t number = 0;
    if (std::fread(&number, sizeof number, 1, file) != 1)
        fail("the job ends early, at byte", std::ftell(file));
    return number;
}

void read_bytes(std::FILE* file, char* to, size_t count)
{
    if (count != 0 && std::fread(to, 1, count, file) != count)
        fail("the job ends early, at byte", std::ftell(file));
}

}  // namespace

void fail(const char* what, long number)
{
    std::fprintf(stderr, "shim: block (%u, %u, %u): %s %ld\n", blockIdx.x, blockIdx.y, blockIdx.z, what, number);
    std::_Exit(3);
}

void meet(const char* what, void* operands, void (*work)(void* const (&operands)[LANES]))
{
    Thread& me = threads[current];
    me.meeting = what, me.operands = operands;
    const size_t first = current / LANES * LANES;
    if (first + LANES > threads.size())
        fail("an instruction of a warp in one of fewer threads than 32:", threads.size() - first);
    void* all[LANES];
    int here = 1;
    for (int lane = 0; lane < LANES; ++lane) {
        const Thread& other = threads[first + lane];
        all[lane] = other.operands;
        if (&other == &me || other.state != State::AT_MEETING)
            continue;
        if (std::strcmp(other.meeting, what) != 0)
            fail("the threads of a warp come to different instructions of the warp, one of them is thread", current);
        ++here;
    }
    if (here < LANES)
        return pause(State::AT_MEETING);
    work(all);
    for (int lane = 0; lane < LANES; ++lane)
        threads[first + lane].state = State::READY;
}

void begin_copy(void* to, const void* from, size_t size)
{
    Copy copy = {to, size, {}};
    if (from != nullptr)
        std::memcpy(copy.bytes, from, size);
    threads[current].begun.push_back(copy);
}

void commit_copies()
{
    threads[current].groups.push_back(std::move(threads[current].begun));
    threads[current].begun.clear();
}

void wait_for_copies(size_t most)
{
    auto& groups = threads[current].groups;
    while (groups.size() > most) {
        for (const Copy& copy : groups.front())
            std::memcpy(copy.to, copy.bytes, copy.size);
        groups.erase(groups.begin());
    }
}

}  // namespace on_cpu

void __syncthreads()
{
    on_cpu::pause(on_cpu::State::AT_BARRIER);
}

int main(int, char** arguments)
{
    using namespace on_cpu;
    std::FILE* file = std::fopen(arguments[1], "rb");
    const bool reverse = read_number(file);
    for (dim3* size : {&gridDim, &blockDim})
        for (unsigned* n : {&size->x, &size->y, &size->z})
            *n = static_cast<unsigned>(read_number(file));
    struct Array {
        size_t size, shift;  // it begins as far behind a multiple of 16 bytes as it did where it came from
        std::unique_ptr<char[]> memory;  // ends where the array does: AddressSanitizer looks there
    };
    std::vector<Array> arrays(read_number(file));
    for (Array& array : arrays) {
        array.size = read_number(file), array.shift = read_number(file);
        array.memory.reset(new char[array.shift + array.size]);
        read_bytes(file, array.memory.get() + array.shift, array.size);
    }
    const int64_t arguments_given = read_number(file);
    if (arguments_given != the_kernel.parameters)
        fail("the kernel's parameters are not as many as the launch's arguments,", arguments_given);
    std::vector<std::vector<char>> values(the_kernel.parameters);
    for (int i = 0; i < the_kernel.parameters; ++i) {
        const int64_t number = read_number(file);
        values[i].resize(read_number(file));
        read_bytes(file, values[i].data(), values[i].size());
        if (number >= 0) {
            char* address = arrays[number].memory.get() + arrays[number].shift;
            values[i].resize(sizeof address);
            std::memcpy(values[i].data(), &address, sizeof address);
        }
        if (values[i].size() != the_kernel.sizes[i])
            fail("a parameter has not the size of the launch's argument, the one after", i);
        places.push_back(values[i].data());
    }
    std::fclose(file);
    threads = std::vector<Thread>(blockDim.x * blockDim.y * blockDim.z);
    const unsigned blocks = gridDim.x * gridDim.y * gridDim.z;
    for (unsigned i = 0; i < blocks; ++i) {
        const unsigned block = reverse ? blocks - 1 - i : i;
        blockIdx = {block % gridDim.x, block / gridDim.x % gridDim.y, block / gridDim.x / gridDim.y};
        run_block(reverse);
    }
    file = std::fopen(arguments[1], "wb");
    for (const Array& array : arrays)
        std::fwrite(array.memory.get() + array.shift, 1, array.size, file);
    return std::fclose(file);
}
