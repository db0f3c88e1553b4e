//! Fast tensor operations that candle lacks, with their backward passes: the training step of a convolutional child.
//! Knows nothing of architectures, data sets or actors; imports nothing of ours but `random`.
