//! The convolutional space (paper §3.2, §3.3).
use super::*;
pub struct ConvSpace;
impl ConvSpace {
    pub fn new(_settings: &SpaceSettings, _image: ImageShape, _classes: usize) -> Self {
        Self
    }
}
impl Space for ConvSpace {
    fn kinds(&self) -> &[Kind] {
        unimplemented!()
    }
    fn has_anchors(&self) -> bool {
        unimplemented!()
    }
    fn next(&self, _layers: usize, _decisions: &[Decision]) -> Next {
        unimplemented!()
    }
    fn build(&self, _layers: usize, _decisions: &[Decision]) -> Result<Architecture, DecisionError> {
        unimplemented!()
    }
    fn layers(&self, _sampled: u64) -> usize {
        unimplemented!()
    }
    fn log10_size(&self, _layers: usize) -> f64 {
        unimplemented!()
    }
    fn describe(&self, _layers: usize, _decisions: &[Decision]) -> Vec<(String, String)> {
        unimplemented!()
    }
}
