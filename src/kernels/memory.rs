//! Memory for groups of images: aligned to a vector register and a cache line, kept between steps.
//! Knows nothing of what lies in it.

/// Images are worked on in groups of this many: one image a vector lane.
pub const LANES: usize = 16;

/// One number of each image of a group.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Group([f32; LANES]);

/// A buffer of f32, a whole number of groups long.
pub struct Buffer(Vec<Group>);

impl Buffer {
    /// Zeros; `numbers` is rounded up to whole groups.
    pub fn new(numbers: usize) -> Self {
        Self(vec![Group([0.0; LANES]); numbers.div_ceil(LANES)])
    }

    pub fn as_ptr(&self) -> *const f32 {
        self.0.as_ptr().cast()
    }

    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }

    /// The numbers, in order.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: a Group is exactly LANES numbers without padding (16 · 4 = 64 bytes, its
        // alignment).
        unsafe { std::slice::from_raw_parts(self.as_ptr(), self.0.len() * LANES) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: a Group is exactly LANES numbers without padding, and the borrow is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.as_mut_ptr(), self.0.len() * LANES) }
    }

    pub fn bytes(&self) -> usize {
        size_of_val(self.0.as_slice())
    }
}

/// Pointers that tasks on several threads share; each task says which disjoint part of the memory
/// is its own.
pub struct Shared<T>(T);

// SAFETY: `new`'s caller vouches that the value may be sent.
unsafe impl<T> Send for Shared<T> {}
// SAFETY: `new`'s caller vouches that the value may be shared.
unsafe impl<T> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// # Safety
    /// The value is addresses and what may be shared anyway; whoever follows the addresses shows
    /// that no other thread writes the same numbers meanwhile.
    pub unsafe fn new(value: T) -> Self {
        Self(value)
    }

    /// A method, so that closures capture the wrapper and not the bare value in it.
    pub fn get(&self) -> &T {
        &self.0
    }
}
