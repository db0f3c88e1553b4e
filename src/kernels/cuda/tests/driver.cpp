// A CUDA driver without a GPU, as libcuda.so.1: what cudarc calls, on the host's memory; kernels run
// in the emulator. Its devices are as large and as able as the environment says:
//   STAND_IN_DEVICES     how many there are (4)
//   STAND_IN_MEMORY      bytes of each (64 MiB)
//   STAND_IN_DRIVER      the version of CUDA that it knows (13000)
//   STAND_IN_CAPABILITY  compute capability of each (90)
//   STAND_IN_FAULT       D:N: device D has an illegal address at its launch N, and from then on;
//                        D:N:FILE: in one process alone, which leaves this file
//   STAND_IN_LOG         a file that takes one line a kernel's first launch on a device
#include <map>
#include <mutex>
#include <string>

#include "../kernels.cuh"

ALL_KERNELS(DEFINE_KERNEL)

namespace {

enum Result {
    SUCCESS = 0,
    INVALID_VALUE = 1,
    OUT_OF_MEMORY = 2,
    NO_DEVICE = 100,
    INVALID_DEVICE = 101,
    INVALID_IMAGE = 200,
    INVALID_CONTEXT = 201,
    NOT_FOUND = 500,
    ILLEGAL_ADDRESS = 700,
};

using Address = uint64_t;

struct Kernel {
    const char* name;
    size_t bytes;
    void (*run)(const void* arguments);
};

#define KERNEL(name, blocks, Arguments, ...)                                        \
    {#name, sizeof(Arguments), [](const void* arguments) {                          \
         Arguments p;                                                               \
         memcpy(&p, arguments, sizeof p);                                           \
         name(p);                                                                   \
     }},
const Kernel kernels[] = {ALL_KERNELS(KERNEL)};

long number(const char* name, long otherwise) {
    const char* text = getenv(name);
    return text ? atol(text) : otherwise;
}

struct Device {
    std::map<Address, size_t> pieces;
    size_t used = 0;
    long launches = 0;
    bool lost = false;
    std::map<std::string, bool> seen;
};

// One lock for all: the emulator runs one block at a time.
std::mutex mutex;
Device devices[16];
thread_local intptr_t context;
unsigned seed = 1;
// Shared memory of a block of each kernel.
std::map<const void*, unsigned> allowed;

int count() { return int(std::min(16l, number("STAND_IN_DEVICES", 4))); }
size_t capacity() { return size_t(number("STAND_IN_MEMORY", 64l << 20)); }
Device* current() { return context > 0 && context <= count() ? &devices[context - 1] : nullptr; }

Result usable(Device*& device) {
    device = current();
    if (!device) return INVALID_CONTEXT;
    return device->lost ? ILLEGAL_ADDRESS : SUCCESS;
}

// Whether all of these bytes are memory that was taken on this device.
bool holds(const Device& device, Address at, size_t bytes) {
    auto piece = device.pieces.upper_bound(at);
    if (piece == device.pieces.begin()) return false;
    --piece;
    return at + bytes <= piece->first + piece->second;
}

void note(Device& device, const char* kernel) {
    const char* path = getenv("STAND_IN_LOG");
    if (!path || device.seen[kernel]) return;
    device.seen[kernel] = true;
    if (FILE* file = fopen(path, "a")) {
        fprintf(file, "cuda:%d %s\n", int(&device - devices), kernel);
        fclose(file);
    }
}

// True from the launch on at which the environment has this device fail.
bool fails(Device& device) {
    int which = -1;
    long launch = 0;
    char once[1024] = "";
    const char* fault = getenv("STAND_IN_FAULT");
    if (!fault || sscanf(fault, "%d:%ld:%1023s", &which, &launch, once) < 2) return false;
    if (which != &device - devices || device.launches < launch) return false;
    if (!*once) return true;
    FILE* file = fopen(once, "wx");
    if (file) fclose(file);
    return file != nullptr;
}

}  // namespace

#define DRIVER extern "C" __attribute__((visibility("default"))) int

DRIVER cuDriverGetVersion(int* version) {
    *version = int(number("STAND_IN_DRIVER", 13000));
    return SUCCESS;
}
DRIVER cuInit(unsigned) { return count() ? SUCCESS : NO_DEVICE; }
DRIVER cuDeviceGetCount(int* n) {
    *n = count();
    return SUCCESS;
}
DRIVER cuDeviceGet(int* device, int ordinal) {
    *device = ordinal;
    return ordinal >= 0 && ordinal < count() ? SUCCESS : INVALID_DEVICE;
}
DRIVER cuDeviceGetName(char* name, int length, int device) {
    snprintf(name, size_t(length), "Stand-in GPU %d", device);
    return SUCCESS;
}
DRIVER cuDeviceTotalMem_v2(size_t* bytes, int) {
    *bytes = capacity();
    return SUCCESS;
}
DRIVER cuDeviceGetUuid_v2(char* uuid, int device) {
    memset(uuid, 0xa0 + device, 16);
    return SUCCESS;
}
DRIVER cuDeviceGetUuid(char* uuid, int device) { return cuDeviceGetUuid_v2(uuid, device); }
DRIVER cuDeviceGetAttribute(int* value, int attribute, int) {
    const int capability = int(number("STAND_IN_CAPABILITY", 90));
    *value = attribute == 75 ? capability / 10 : attribute == 76 ? capability % 10 : 0;
    return SUCCESS;
}
DRIVER cuDevicePrimaryCtxRetain(void** context, int device) {
    *context = reinterpret_cast<void*>(intptr_t(device) + 1);
    return SUCCESS;
}
DRIVER cuDevicePrimaryCtxRelease_v2(int) { return SUCCESS; }
DRIVER cuCtxSetCurrent(void* to) {
    context = reinterpret_cast<intptr_t>(to);
    return SUCCESS;
}
DRIVER cuCtxGetCurrent(void** to) {
    *to = reinterpret_cast<void*>(context);
    return SUCCESS;
}
DRIVER cuMemGetInfo_v2(size_t* free, size_t* total) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    if (Result r = usable(device)) return r;
    *free = capacity() - device->used, *total = capacity();
    return SUCCESS;
}
DRIVER cuStreamCreate(void** stream, unsigned) {
    *stream = reinterpret_cast<void*>(context + 1000);
    return SUCCESS;
}
DRIVER cuStreamDestroy_v2(void*) { return SUCCESS; }
DRIVER cuStreamSynchronize(void*) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    return usable(device);
}
// What is taken is not a number until it is written.
DRIVER cuMemAlloc_v2(Address* address, size_t bytes) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    if (Result r = usable(device)) return r;
    if (bytes > capacity() - device->used) return OUT_OF_MEMORY;
    void* piece;
    if (!bytes || posix_memalign(&piece, 512, bytes)) return INVALID_VALUE;
    memset(piece, 0xff, bytes);
    *address = reinterpret_cast<Address>(piece);
    device->pieces[*address] = bytes;
    device->used += bytes;
    return SUCCESS;
}
DRIVER cuMemFree_v2(Address address) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device = current();
    if (!device) return INVALID_CONTEXT;
    auto piece = device->pieces.find(address);
    if (piece == device->pieces.end()) return INVALID_VALUE;
    device->used -= piece->second;
    device->pieces.erase(piece);
    free(reinterpret_cast<void*>(address));
    return SUCCESS;
}
DRIVER cuMemsetD8Async(Address to, unsigned char value, size_t bytes, void*) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    if (Result r = usable(device)) return r;
    if (!holds(*device, to, bytes)) return INVALID_VALUE;
    memset(reinterpret_cast<void*>(to), value, bytes);
    return SUCCESS;
}
DRIVER cuMemcpyHtoDAsync_v2(Address to, const void* from, size_t bytes, void*) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    if (Result r = usable(device)) return r;
    if (bytes && !holds(*device, to, bytes)) return INVALID_VALUE;
    memcpy(reinterpret_cast<void*>(to), from, bytes);
    return SUCCESS;
}
DRIVER cuMemcpyDtoHAsync_v2(void* to, Address from, size_t bytes, void*) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    if (Result r = usable(device)) return r;
    if (bytes && !holds(*device, from, bytes)) return INVALID_VALUE;
    memcpy(to, reinterpret_cast<const void*>(from), bytes);
    return SUCCESS;
}
DRIVER cuMemcpyDtoDAsync_v2(Address to, Address from, size_t bytes, void*) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    if (Result r = usable(device)) return r;
    if (bytes && (!holds(*device, to, bytes) || !holds(*device, from, bytes))) return INVALID_VALUE;
    memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
    return SUCCESS;
}
// An image for a GPU, which this driver does not read.
DRIVER cuModuleLoadData(void** module, const void* image) {
    const char* text = static_cast<const char*>(image);
    *module = reinterpret_cast<void*>(context);
    return memcmp(text, "\177ELF", 4) == 0 || memcmp(text, "//", 2) == 0 ? SUCCESS : INVALID_IMAGE;
}
DRIVER cuModuleUnload(void*) { return SUCCESS; }
DRIVER cuModuleGetFunction(const void** function, void*, const char* name) {
    for (const Kernel& kernel : kernels)
        if (!strcmp(kernel.name, name)) {
            *function = &kernel;
            std::lock_guard<std::mutex> guard(mutex);
            allowed.emplace(&kernel, 48 * 1024);
            return SUCCESS;
        }
    return NOT_FOUND;
}
DRIVER cuFuncSetAttribute(const void* function, int attribute, int value) {
    std::lock_guard<std::mutex> guard(mutex);
    if (attribute != 8 || value > 227 * 1024) return INVALID_VALUE;
    allowed[function] = unsigned(value);
    return SUCCESS;
}
DRIVER cuFuncGetParamInfo(const void* function, size_t index, size_t* offset, size_t* bytes) {
    if (index > 0) return INVALID_VALUE;
    *offset = 0, *bytes = static_cast<const Kernel*>(function)->bytes;
    return SUCCESS;
}
DRIVER cuLaunchKernel(const void* function, unsigned x, unsigned y, unsigned z, unsigned threads,
                      unsigned, unsigned, unsigned shared, void*, void** arguments, void**) {
    std::lock_guard<std::mutex> guard(mutex);
    Device* device;
    if (Result r = usable(device)) return r;
    if (!x || !y || !z || threads != unsigned(THREADS) || shared > allowed[function]) return INVALID_VALUE;
    const Kernel& kernel = *static_cast<const Kernel*>(function);
    note(*device, kernel.name);
    device->launches++;
    if (fails(*device)) {
        device->lost = true;
        return SUCCESS;
    }
    const void* argument = arguments[0];
    emulator::launch({int(x), int(y), int(z)}, int(threads), shared, seed++,
                     [&] { kernel.run(argument); });
    return SUCCESS;
}
DRIVER cuGetErrorName(int error, const char** text) {
    *text = error == OUT_OF_MEMORY     ? "CUDA_ERROR_OUT_OF_MEMORY"
            : error == ILLEGAL_ADDRESS ? "CUDA_ERROR_ILLEGAL_ADDRESS"
            : error == INVALID_VALUE   ? "CUDA_ERROR_INVALID_VALUE"
            : error == NOT_FOUND       ? "CUDA_ERROR_NOT_FOUND"
                                       : "CUDA_ERROR_UNKNOWN";
    return SUCCESS;
}
DRIVER cuGetErrorString(int error, const char** text) {
    *text = error == OUT_OF_MEMORY     ? "out of memory"
            : error == ILLEGAL_ADDRESS ? "an illegal memory access was encountered"
            : error == INVALID_VALUE   ? "invalid argument"
            : error == NOT_FOUND       ? "named symbol not found"
                                       : "unknown error";
    return SUCCESS;
}
