//! A data set in a device's memory. Must not know networks.

use super::arena::Arena;
use super::device::{CudaError, Device, Memory};
use super::layout::{Address, Position};
use std::rc::Rc;

/// What an image is whitened by.
#[derive(Clone, Debug)]
pub enum WhitenedBy {
    /// Mean and 1/deviation of each channel.
    Channels(Vec<[f32; 2]>),
    /// Mean and 1/deviation of each image of the data set.
    Images(Vec<[f32; 2]>),
    /// Those of what is cut out of it.
    Itself,
}

/// A data set as it is prepared for training.
#[derive(Clone, Debug)]
pub struct ImageTables<'a> {
    /// `[images, channels, height, width]` and `[images]`
    pub images: &'a [u8],
    pub labels: &'a [u8],
    /// Of an upsampled image's rows and columns; of one that is not, the rows and columns
    /// themselves.
    pub rows: Vec<Position>,
    pub columns: Vec<Position>,
    pub height: usize,
    pub width: usize,
    pub whitening: WhitenedBy,
}

/// A data set on a device.
pub struct DeviceImages {
    /// Held for as long as the addresses are used.
    _memory: Memory,
    pub(super) images: Address,
    pub(super) labels: Address,
    /// Of rows and columns: as images are cropped for training, and as they are.
    pub(super) training: [Address; 2],
    pub(super) whole: [Address; 2],
    pub(super) channel_statistics: Address,
    pub(super) image_statistics: Address,
}

impl DeviceImages {
    /// Copies it there.
    ///
    /// # Errors
    /// There is no room, or what the driver says.
    pub fn new(device: &Rc<Device>, tables: &ImageTables) -> Result<Self, CudaError> {
        let (_, _, arena) = Self::plan(tables, 0);
        let memory = device.allocate(usize::try_from(arena.bytes()).unwrap_or(usize::MAX))?;
        let ([images, labels, rows, columns, all_rows, all_columns], [channels, each], arena) =
            Self::plan(tables, memory.address());
        memory.upload(images, tables.images)?;
        for (address, bytes) in arena.into_constants() {
            memory.upload(address, &bytes)?;
        }
        device.synchronise()?;
        Ok(Self {
            _memory: memory,
            images,
            labels,
            training: [rows, columns],
            whole: [all_rows, all_columns],
            channel_statistics: channels,
            image_statistics: each,
        })
    }

    fn plan(tables: &ImageTables, first: Address) -> ([Address; 6], [Address; 2], Arena) {
        let mut arena = Arena::at(first);
        let whole = |size: usize| -> Vec<Position> {
            (0..size as i32)
                .map(|left| Position { left, share: 0.0 })
                .collect()
        };
        let addresses = [
            arena.room::<u8>(tables.images.len()),
            arena.constant(tables.labels),
            arena.constant(&tables.rows),
            arena.constant(&tables.columns),
            arena.constant(&whole(tables.height)),
            arena.constant(&whole(tables.width)),
        ];
        let statistics = match &tables.whitening {
            WhitenedBy::Channels(channels) => [arena.constant(channels.as_flattened()), 0],
            WhitenedBy::Images(images) => [0, arena.constant(images.as_flattened())],
            WhitenedBy::Itself => [0, 0],
        };
        (addresses, statistics, arena)
    }
}
