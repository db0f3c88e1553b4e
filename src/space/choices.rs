//! The user-defined space: an ordered list of named decisions from the config file.
use super::*;
pub struct ChoiceSpace;
impl ChoiceSpace {
    pub fn new(_settings: &SpaceSettings) -> Self {
        Self
    }
}
impl Space for ChoiceSpace {
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
