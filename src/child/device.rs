//! Which errors of a device are sticky: after one, every later call of the same process fails as
//! well. Must not know its callers.

/// Names of CUDA errors after which the context is corrupt (CUDA driver API, "the process must be
/// terminated and relaunched").
const STICKY: [&str; 10] = [
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
];

/// True if no later call of this process can use the device.
pub fn is_lost(error: &str) -> bool {
    STICKY.iter().any(|name| error.contains(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_illegal_address_sticks_and_too_little_memory_does_not() {
        assert!(is_lost(
            "DriverError(CUDA_ERROR_ILLEGAL_ADDRESS, \"an illegal memory access was encountered\")"
        ));
        assert!(!is_lost(
            "DriverError(CUDA_ERROR_OUT_OF_MEMORY, \"out of memory\")"
        ));
    }
}
