//! The one thing that is read from a photograph's EXIF data: which way up it is. Must not know the
//! formats of images.

/// The orientation, 1 to 8, that EXIF data say; None: they do not, or cannot be read. `data` is a
/// TIFF header with its directories, perhaps behind `Exif\0\0`. EXIF 2.3, section 4.6.4.
pub fn orientation(data: &[u8]) -> Option<u8> {
    const TAG: u64 = 0x0112;
    let data = data.strip_prefix(b"Exif\0\0").unwrap_or(data);
    let is_little = match data.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let number = |at: usize, length: usize| -> Option<u64> {
        let bytes = data.get(at..at.checked_add(length)?)?;
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if is_little {
            bytes.iter().rev().fold(0, join)
        } else {
            bytes.iter().fold(0, join)
        })
    };
    let directory = number(4, 4)? as usize;
    let count = number(directory, 2)? as usize;
    let entry = (0..count)
        .map(|index| directory + 2 + 12 * index)
        .find(|&entry| number(entry, 2) == Some(TAG))?;
    let value = match number(entry + 2, 2)? {
        3 => number(entry + 8, 2)?,
        4 => number(entry + 8, 4)?,
        _ => return None,
    };
    u8::try_from(value)
        .ok()
        .filter(|value| (1..=8).contains(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// EXIF data whose only entry says this orientation, as a number of this type.
    fn data(is_little: bool, kind: u16, value: u16) -> Vec<u8> {
        let number = |value: u16| {
            if is_little {
                value.to_le_bytes()
            } else {
                value.to_be_bytes()
            }
        };
        let mut data = if is_little {
            b"II*\0\x08\0\0\0".to_vec()
        } else {
            b"MM\0*\0\0\0\x08".to_vec()
        };
        // Another entry stands first.
        data.extend([number(2), number(0x010F), number(2)].concat());
        data.extend([0; 8]);
        data.extend([number(0x0112), number(kind)].concat());
        data.extend(if is_little {
            [1, 0, 0, 0]
        } else {
            [0, 0, 0, 1]
        });
        let mut field = [0; 4];
        let at = if kind == 4 && !is_little { 2 } else { 0 };
        field[at..at + 2].copy_from_slice(&number(value));
        data.extend(field);
        data
    }

    #[test]
    fn an_orientation_is_read_in_both_orders_of_bytes() {
        for is_little in [true, false] {
            for kind in [3, 4] {
                for value in 1..=8 {
                    let plain = data(is_little, kind, value);
                    assert_eq!(orientation(&plain), Some(value as u8));
                    let marked = [b"Exif\0\0", plain.as_slice()].concat();
                    assert_eq!(orientation(&marked), Some(value as u8));
                }
            }
            for value in [0, 9, 300] {
                assert_eq!(orientation(&data(is_little, 3, value)), None);
            }
            let whole = data(is_little, 3, 6);
            for length in 0..whole.len() - 2 {
                assert_eq!(orientation(&whole[..length]), None, "{length} bytes");
            }
        }
        assert_eq!(orientation(b"II*\0\xff\xff\xff\xff"), None);
    }
}
