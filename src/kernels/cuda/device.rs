//! One GPU as a lane uses it: context, stream, kernels, memory. Must not know networks.
//!
//! cudarc panics where there is no driver: whoever opens a device has looked for the driver first.

use super::embedded;
use super::layout::{Address, Arguments, Plain, THREADS};
use cudarc::driver::{DriverError, result, sys};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{CString, c_void};
use std::rc::Rc;

/// What a device reports, as one line: `cuda:0: out of memory (CUDA_ERROR_OUT_OF_MEMORY)`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CudaError {
    /// Its memory is used up: what was asked for, and what is free of all that it has, in bytes.
    #[error(
        "{device}: {} are needed, {} of {} are free", mebibytes(*needed), mebibytes(*free), mebibytes(*total)
    )]
    Memory {
        device: String,
        needed: u64,
        free: u64,
        total: u64,
    },
    #[error("{device}: {text}")]
    Driver { device: String, text: String },
    #[error("{device}: {problem}")]
    Kernels { device: String, problem: String },
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

/// A GPU with all kernels loaded and a stream of its own. Of one thread.
pub struct Device {
    ordinal: usize,
    name: String,
    capability: (i32, i32),
    handle: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    module: sys::CUmodule,
    functions: RefCell<HashMap<&'static str, Function>>,
}

/// A kernel, and the shared memory that it is allowed.
#[derive(Clone, Copy)]
struct Function {
    handle: sys::CUfunction,
    shared_bytes: usize,
}

/// Shared memory of a block that needs no leave.
const SHARED_BYTES: usize = 48 << 10;

/// A launch with all that it needs.
pub struct Launch {
    pub kernel: &'static str,
    pub grid: (usize, usize, usize),
    pub shared_bytes: usize,
    arguments: Box<dyn Parameter>,
}

impl Launch {
    pub fn new(
        kernel: &'static str,
        grid: (usize, usize, usize),
        shared_bytes: usize,
        arguments: impl Arguments,
    ) -> Self {
        Self {
            kernel,
            grid,
            shared_bytes,
            arguments: Box::new(arguments),
        }
    }

    /// A thread for each of `count` things.
    pub fn each(kernel: &'static str, count: usize, arguments: impl Arguments) -> Self {
        Self::new(kernel, (count.div_ceil(THREADS), 1, 1), 0, arguments)
    }
}

/// The address of an argument, as the driver takes it.
trait Parameter {
    fn pointer(&self) -> *mut c_void;
}

impl<A: Arguments> Parameter for A {
    fn pointer(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}

impl Device {
    /// The driver's device of this number, `cuda:N`.
    ///
    /// # Errors
    /// What the driver says, or there are no kernels for such a GPU.
    pub fn open(ordinal: usize) -> Result<Rc<Self>, CudaError> {
        let name = format!("cuda:{ordinal}");
        let failed = |error| driver_error(&name, error);
        let number = i32::try_from(ordinal).unwrap_or(i32::MAX);
        result::init().map_err(failed)?;
        let handle = result::device::get(number).map_err(failed)?;
        let capability = capability(handle).map_err(failed)?;
        let code = embedded::code(capability).map_err(|problem| CudaError::Kernels {
            device: name.clone(),
            problem,
        })?;
        // SAFETY: the driver gave the handle; the context is released when the device is dropped.
        let context = unsafe { result::primary_ctx::retain(handle) }.map_err(failed)?;
        // From here on the device owns what was made, so that an error gives it back.
        let mut device = Self {
            ordinal,
            capability,
            handle,
            context,
            stream: std::ptr::null_mut(),
            module: std::ptr::null_mut(),
            functions: RefCell::default(),
            name: name.clone(),
        };
        device.bind()?;
        device.stream =
            result::stream::create(result::stream::StreamKind::NonBlocking).map_err(failed)?;
        // SAFETY: the image is a whole cubin, or PTX that ends with 0.
        device.module =
            unsafe { result::module::load_data(code.as_ptr().cast()) }.map_err(failed)?;
        Ok(Rc::new(device))
    }

    /// `cuda:N`
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compute capability, as `9.0`.
    pub fn capability(&self) -> String {
        format!("{}.{}", self.capability.0, self.capability.1)
    }

    /// Bytes of a kernel's argument, as the device has it.
    #[cfg(test)]
    pub fn argument_bytes(&self, kernel: &'static str) -> Result<usize, CudaError> {
        let function = self.function(kernel, 0)?;
        let (mut offset, mut bytes) = (0, 0);
        // SAFETY: the function is of a loaded module.
        unsafe { sys::cuFuncGetParamInfo(function, 0, &raw mut offset, &raw mut bytes) }
            .result()
            .map_err(|error| self.error(error))?;
        Ok(bytes)
    }

    /// Bytes that are free, whoever uses the rest, and all.
    ///
    /// # Errors
    /// What the driver says.
    pub fn memory(&self) -> Result<(u64, u64), CudaError> {
        self.bind()?;
        let (free, total) = result::mem_get_info().map_err(|error| self.error(error))?;
        Ok((free as u64, total as u64))
    }

    /// A piece of the device's memory, all zeros.
    ///
    /// # Errors
    /// There is not so much free, or what the driver says.
    pub fn allocate(self: &Rc<Self>, bytes: usize) -> Result<Memory, CudaError> {
        self.bind()?;
        // SAFETY: the context is current; whoever gets the address gives it back once (`Memory`).
        let address = match unsafe { result::malloc_sync(bytes.max(1)) } {
            Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                let (free, total) = self.memory()?;
                return Err(CudaError::Memory {
                    device: self.name.clone(),
                    needed: bytes as u64,
                    free,
                    total,
                });
            }
            other => other.map_err(|error| self.error(error))?,
        };
        let memory = Memory {
            device: self.clone(),
            address,
            bytes,
        };
        // SAFETY: so many bytes begin there.
        unsafe { result::memset_d8_async(address, 0, bytes, self.stream) }
            .map_err(|error| self.error(error))?;
        Ok(memory)
    }

    /// Copies numbers to the device, after all that was launched before.
    ///
    /// # Safety
    /// So many numbers have room at the address.
    ///
    /// # Errors
    /// What the driver says.
    unsafe fn upload<T: Plain>(&self, to: Address, from: &[T]) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: the caller vouches for the address. The copy of pageable memory has left `from`
        // when the call returns.
        unsafe { result::memcpy_htod_async(to, from, self.stream) }
            .map_err(|error| self.error(error))
    }

    /// Copies numbers from the device, when all that was launched before is done.
    ///
    /// # Safety
    /// So many numbers are at the address.
    ///
    /// # Errors
    /// What the driver says, also of what was launched before.
    unsafe fn download<T: Plain>(&self, to: &mut [T], from: Address) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: the caller vouches for the address; any bytes are numbers of a plain type.
        unsafe { result::memcpy_dtoh_async(to, from, self.stream) }
            .map_err(|error| self.error(error))?;
        self.synchronise()
    }

    /// Waits until all that was launched is done.
    ///
    /// # Errors
    /// What became of it.
    pub fn synchronise(&self) -> Result<(), CudaError> {
        self.bind()?;
        // SAFETY: the stream is the device's own, and lives.
        unsafe { result::stream::synchronize(self.stream) }.map_err(|error| self.error(error))
    }

    /// Begins a launch after all before it.
    ///
    /// # Safety
    /// What its arguments point to is memory of this device, as large as the kernel takes it to be,
    /// and stays until the launch is done.
    ///
    /// # Errors
    /// What the driver says.
    pub unsafe fn launch(&self, launch: &Launch) -> Result<(), CudaError> {
        let function = self.function(launch.kernel, launch.shared_bytes)?;
        let size = |n: usize| {
            u32::try_from(n).map_err(|_| CudaError::Kernels {
                device: self.name.clone(),
                problem: format!("{} would need {n} blocks", launch.kernel),
            })
        };
        let (x, y, z) = launch.grid;
        // SAFETY: the function is of a loaded module, the argument is what it takes
        // (`Arguments`); the caller vouches for what it points to.
        unsafe {
            result::launch_kernel(
                function,
                (size(x)?, size(y)?, size(z)?),
                (THREADS as u32, 1, 1),
                size(launch.shared_bytes)?,
                self.stream,
                &mut [launch.arguments.pointer()],
            )
        }
        .map_err(|error| self.error(error))
    }

    fn function(
        &self,
        name: &'static str,
        shared_bytes: usize,
    ) -> Result<sys::CUfunction, CudaError> {
        let known = self.functions.borrow().get(name).copied();
        if let Some(function) = known
            && function.shared_bytes >= shared_bytes
        {
            return Ok(function.handle);
        }
        let text = CString::new(name).unwrap_or_default();
        // SAFETY: the module is loaded.
        let handle = unsafe { result::module::get_function(self.module, text) }
            .map_err(|error| self.error(error))?;
        let allowed = shared_bytes.max(SHARED_BYTES);
        if allowed > SHARED_BYTES {
            use sys::CUfunction_attribute_enum::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let attribute = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function is of a loaded module.
            unsafe { result::function::set_function_attribute(handle, attribute, allowed as i32) }
                .map_err(|error| self.error(error))?;
        }
        let function = Function {
            handle,
            shared_bytes: allowed,
        };
        self.functions.borrow_mut().insert(name, function);
        Ok(handle)
    }

    /// The driver takes the context from the thread that calls.
    fn bind(&self) -> Result<(), CudaError> {
        // SAFETY: the context is retained until the device is dropped.
        unsafe { result::ctx::set_current(self.context) }.map_err(|error| self.error(error))
    }

    fn error(&self, error: DriverError) -> CudaError {
        driver_error(&self.name, error)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: each was made by `open`, and nobody has it any more: memory holds the device. An
        // error here is one that a call before has reported.
        unsafe {
            let _ = result::ctx::set_current(self.context);
            if !self.module.is_null() {
                let _ = result::module::unload(self.module);
            }
            if !self.stream.is_null() {
                let _ = result::stream::destroy(self.stream);
            }
            let _ = result::primary_ctx::release(self.handle);
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.ordinal)
    }
}

/// A piece of a device's memory, given back when it is dropped.
pub struct Memory {
    device: Rc<Device>,
    address: Address,
    bytes: usize,
}

impl Memory {
    pub fn address(&self) -> Address {
        self.address
    }

    /// Copies numbers to an address within.
    ///
    /// # Panics
    /// They would stand beyond its end.
    ///
    /// # Errors
    /// What the driver says.
    pub fn upload<T: Plain>(&self, to: Address, from: &[T]) -> Result<(), CudaError> {
        self.check(to, size_of_val(from));
        // SAFETY: within this memory (checked).
        unsafe { self.device.upload(to, from) }
    }

    /// Copies numbers from an address within, when all that was launched before is done.
    ///
    /// # Panics
    /// They would stand beyond its end.
    ///
    /// # Errors
    /// What the driver says, also of what was launched before.
    pub fn download<T: Plain>(&self, from: Address, count: usize) -> Result<Vec<T>, CudaError> {
        let mut numbers = vec![T::default(); count];
        self.check(from, size_of_val(numbers.as_slice()));
        // SAFETY: within this memory (checked).
        unsafe { self.device.download(&mut numbers, from) }?;
        Ok(numbers)
    }

    /// Copies bytes from one address within to another.
    ///
    /// # Panics
    /// They would stand beyond its end.
    ///
    /// # Errors
    /// What the driver says.
    pub fn copy(&self, to: Address, from: Address, bytes: usize) -> Result<(), CudaError> {
        self.check(to, bytes);
        self.check(from, bytes);
        self.device.bind()?;
        // SAFETY: both within this memory (checked).
        unsafe { result::memcpy_dtod_async(to, from, bytes, self.device.stream) }
            .map_err(|error| self.device.error(error))
    }

    fn check(&self, at: Address, bytes: usize) {
        check_within(self.address, self.bytes, at, bytes);
    }
}

/// Panics unless bytes are within a piece of memory.
fn check_within(first: Address, room: usize, at: Address, bytes: usize) {
    assert!(
        at >= first && at + bytes as u64 <= first + room as u64,
        "{bytes} bytes at {at:#x} are not within {room} bytes at {first:#x}"
    );
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = self.device.bind();
        // SAFETY: the driver gave it, and this is its only owner. An error is one that a call
        // before has reported.
        let _ = unsafe { result::free_sync(self.address) };
    }
}

fn capability(device: sys::CUdevice) -> Result<(i32, i32), DriverError> {
    use sys::CUdevice_attribute_enum as Attribute;
    let read = |attribute| {
        // SAFETY: the driver gave the handle.
        unsafe { result::device::get_attribute(device, attribute) }
    };
    Ok((
        read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
        read(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
    ))
}

/// The name comes last, so that a reader who looks for it finds it.
fn driver_error(device: &str, error: DriverError) -> CudaError {
    let text = |text: Result<&std::ffi::CStr, DriverError>| {
        text.map_or_else(
            |_| format!("error {}", error.0 as u32),
            |text| text.to_string_lossy().into_owned(),
        )
    };
    CudaError::Driver {
        device: device.to_owned(),
        text: format!(
            "{} ({})",
            text(error.error_string()),
            text(error.error_name())
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::cuda::stand_in::on_stand_in;

    #[test]
    fn memory_is_given_back_and_what_is_too_much_is_told() {
        let test =
            "kernels::cuda::device::tests::memory_is_given_back_and_what_is_too_much_is_told";
        on_stand_in(test, &[("STAND_IN_MEMORY", "1048576")], || {
            let device = Device::open(3).unwrap();
            assert_eq!(device.memory().unwrap(), (1 << 20, 1 << 20));
            let half = device.allocate(1 << 19).unwrap();
            let at = half.address();
            assert_eq!(half.download::<u8>(at, 9).unwrap(), [0; 9]);
            half.upload(at + 4, &[1.5_f32, 2.5]).unwrap();
            assert_eq!(half.download::<f32>(at, 3).unwrap(), [0.0, 1.5, 2.5]);
            let error = device.allocate(1 << 20).err().unwrap();
            assert_eq!(
                error.to_string(),
                "cuda:3: 1.0 MiB are needed, 0.5 MiB of 1.0 MiB are free"
            );
            drop(half);
            assert_eq!(device.memory().unwrap().0, 1 << 20);
            assert!(Device::open(4).is_err(), "there are four");
        });
    }

    #[test]
    #[should_panic(expected = "are not within")]
    fn nothing_is_written_beyond_a_piece_of_memory() {
        // Checked before the driver is asked.
        check_within(100, 10, 108, 4);
    }
}
