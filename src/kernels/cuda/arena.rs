//! One piece of a device's memory that a network's buffers are laid out in, exactly and before any
//! memory is taken. Must not know what the buffers are for.

use super::layout::{Address, Plain};

/// What addresses are multiples of: as the driver's own.
const ALIGNMENT: u64 = 256;

/// A plan of addresses, one buffer after the other. First it is made from 0 on, to know how long it
/// is, and then where there is memory.
pub struct Arena {
    first: Address,
    next: Address,
    constants: Vec<(Address, Vec<u8>)>,
}

impl Arena {
    pub fn at(first: Address) -> Self {
        Self {
            first,
            next: first,
            constants: Vec::new(),
        }
    }

    /// Room for so many numbers.
    pub fn room<T: Plain>(&mut self, count: usize) -> Address {
        let address = self.next;
        let bytes = (count as u64).saturating_mul(size_of::<T>() as u64);
        let whole = bytes
            .checked_next_multiple_of(ALIGNMENT)
            .unwrap_or(u64::MAX);
        self.next = address.saturating_add(whole);
        address
    }

    /// Numbers that stay as they are.
    pub fn constant<T: Plain>(&mut self, values: &[T]) -> Address {
        let address = self.room::<T>(values.len());
        // SAFETY: numbers without padding (`Plain`) are bytes.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values))
        };
        self.constants.push((address, bytes.to_vec()));
        address
    }

    pub fn bytes(&self) -> u64 {
        self.next - self.first
    }

    /// What has to be written before the buffers are used.
    pub fn into_constants(self) -> Vec<(Address, Vec<u8>)> {
        self.constants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_stand_one_after_the_other() {
        let mut arena = Arena::at(1024);
        assert_eq!(arena.room::<f32>(64), 1024);
        assert_eq!(arena.room::<u8>(1), 1280);
        assert_eq!(arena.constant(&[1_u32, 2]), 1536);
        assert_eq!(arena.bytes(), 768);
        assert_eq!(
            arena.into_constants(),
            [(1536, vec![1, 0, 0, 0, 2, 0, 0, 0])]
        );
    }

    #[test]
    fn no_size_overflows() {
        let mut arena = Arena::at(0);
        arena.room::<f32>(usize::MAX);
        arena.room::<f32>(usize::MAX);
        assert!(arena.bytes() > u64::MAX / 2);
    }
}
