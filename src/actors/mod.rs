//! The actors and their messages: who owns state and decides what happens next. The arithmetic is in rooms that have no actors.

mod settings;

pub use settings::{DeviceUse, DevicesSettings, RunSettings};
