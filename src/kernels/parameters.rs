//! How trained tensors lie in one packed vector. Knows nothing of what they are for.

/// Where one tensor lies in a packed vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSlot {
    pub name: String,
    pub shape: Vec<usize>,
    pub offset: usize,
}

impl ParameterSlot {
    /// How many numbers the tensor has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no numbers (never so in a network that was accepted).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
