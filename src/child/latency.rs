//! How long a trained network takes for one image on its lane: the median of some forward passes by
//! the caller's clock. Must not know what the time is for.

use super::convnet::Passes;
use super::training::{EarlyEnd, Training};

/// Passes before and while the time is taken.
const WARM_UP: usize = 3;
const MEASURED: usize = 15;

/// A batch to be measured on.
pub struct Batch<'a> {
    /// `[batch, channels, height, width]`
    pub images: &'a [f32],
    /// `[batch, classes]`
    pub logits: &'a mut [f32],
    pub size: usize,
}

/// Milliseconds an image.
///
/// # Errors
/// What the device reports.
pub fn milliseconds(
    engine: &mut dyn Passes,
    parameters: &[f32],
    running: &[f32],
    batch: &mut Batch,
    training: &mut Training,
) -> Result<f64, EarlyEnd> {
    let mut seconds = Vec::with_capacity(MEASURED);
    for pass in 0..WARM_UP + MEASURED {
        training.heartbeat();
        let before = training.clock();
        engine.logits(parameters, running, batch.images, batch.logits)?;
        if pass >= WARM_UP {
            seconds.push(training.clock() - before);
        }
    }
    seconds.sort_by(f64::total_cmp);
    Ok(1e3 * seconds[MEASURED / 2] / batch.size.max(1) as f64)
}
