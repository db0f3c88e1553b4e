//! The framing of TensorBoard's event files: each message behind its length, both with a masked
//! CRC-32C (tensorflow/core/lib/io/record_writer.h). Must not know what the messages say.

use super::proto::Event;
use crc::{CRC_32_ISCSI, Crc};
use prost::Message;

const CRC_32C: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);

/// What is added to a rotated checksum, so that one of data that hold checksums is no special case.
const MASK: u32 = 0xa282_ead8;

pub(super) fn masked_checksum(bytes: &[u8]) -> u32 {
    CRC_32C.checksum(bytes).rotate_right(15).wrapping_add(MASK)
}

/// Appends an event as a record.
pub(super) fn append(event: &Event, to: &mut Vec<u8>) {
    let message = event.encode_to_vec();
    let length = (message.len() as u64).to_le_bytes();
    to.extend_from_slice(&length);
    to.extend_from_slice(&masked_checksum(&length).to_le_bytes());
    to.extend_from_slice(&message);
    to.extend_from_slice(&masked_checksum(&message).to_le_bytes());
}
