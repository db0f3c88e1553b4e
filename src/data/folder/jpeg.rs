//! The segments of a JPEG file: whether all image data are there, which way up the picture is, and
//! what a decoder needs of it. Must not decode pixels.

use super::exif;

/// What a JPEG file consists of.
#[derive(Debug)]
pub struct Segments {
    /// The file without what is no image data, and with a run of ones behind its image data, which
    /// no Huffman code begins with: a decoder that looks for more data than there are fails there,
    /// instead of making them up.
    pub image: Vec<u8>,
    /// As EXIF counts, 1 to 8.
    pub orientation: u8,
}

const SOI: u8 = 0xD8;
const EOI: u8 = 0xD9;
const SOS: u8 = 0xDA;
/// Application segments that change how a decoder reads the rest: JFIF or AVI1, and Adobe's.
const NEEDED: [u8; 2] = [0xE0, 0xEE];

/// Walks through the segments. A file without the marker of its end is whole if it is a baseline
/// JPEG: whether its data are complete then shows in decoding. Of a progressive one nobody can say.
///
/// # Errors
/// What is wrong with the file, in words: segments or components are missing, or it is of a kind
/// that is not read.
pub fn segments(file: &[u8]) -> Result<Segments, String> {
    let mut walk = Walk {
        rest: file.get(2..).unwrap_or_default(),
        image: vec![0xFF, SOI],
        image_data_end: None,
        components: Vec::new(),
        is_progressive: false,
        orientation: None,
    };
    let is_ended = walk.run()?;
    let Some(end) = walk.image_data_end else {
        return Err(truncated("it holds no image data"));
    };
    if !walk.components.is_empty() {
        return Err(truncated("the data of some colours are not there"));
    }
    if walk.is_progressive && !is_ended {
        return Err(truncated("it has no end"));
    }
    let mut image = walk.image;
    image.truncate(end);
    image.extend([0xFF, 0x00].repeat(8));
    image.extend([0xFF, EOI]);
    Ok(Segments {
        image,
        orientation: walk.orientation.unwrap_or(1),
    })
}

/// The message for a file that ends too early.
pub fn truncated(how: &str) -> String {
    format!("is a damaged JPEG file: {how}; it may have been copied in part")
}

struct Walk<'a> {
    rest: &'a [u8],
    image: Vec<u8>,
    /// Where in `image` the data of the last scan end.
    image_data_end: Option<usize>,
    /// Of the frame: those of which no scan has come yet.
    components: Vec<u8>,
    is_progressive: bool,
    orientation: Option<u8>,
}

impl<'a> Walk<'a> {
    /// Returns whether the marker of the end was there.
    fn run(&mut self) -> Result<bool, String> {
        while let Some(marker) = self.marker() {
            match marker {
                EOI => return Ok(true),
                // Markers without a length.
                SOI | 0x01 | 0xD0..=0xD7 => continue,
                _ => {}
            }
            let Some(segment) = self.segment() else {
                return if self.image_data_end.is_some() && !self.is_progressive {
                    Ok(false)
                } else {
                    Err(truncated("it ends within a header"))
                };
            };
            self.read(marker, segment)?;
            if !(0xE0..=0xEF).contains(&marker) && marker != 0xFE || NEEDED.contains(&marker) {
                self.image.extend([0xFF, marker]);
                self.image.extend(segment);
            }
            if marker == SOS {
                let data = self.image_data();
                self.image.extend(data);
                self.image_data_end = Some(self.image.len());
            }
        }
        Ok(false)
    }

    /// The next marker's code, what stands before it left out.
    fn marker(&mut self) -> Option<u8> {
        loop {
            let start = self.rest.iter().position(|&byte| byte == 0xFF)?;
            let fill = self.rest[start..].iter().position(|&byte| byte != 0xFF)?;
            let code = self.rest[start + fill];
            self.rest = &self.rest[start + fill + 1..];
            if code != 0 {
                return Some(code);
            }
        }
    }

    /// The segment behind a marker, with the two bytes of its length.
    fn segment(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(u16::from_be_bytes(*self.rest.first_chunk()?));
        let (segment, rest) = self.rest.split_at_checked(length.max(2))?;
        self.rest = rest;
        Some(segment)
    }

    /// The data of a scan, up to the next marker that is none of its own; what may be half a marker
    /// at the end of the file is left out.
    fn image_data(&mut self) -> &'a [u8] {
        let bytes = self.rest;
        let mut at = 0;
        let end = loop {
            let Some(start) = bytes[at..].iter().position(|&byte| byte == 0xFF) else {
                break bytes.len();
            };
            let start = at + start;
            let Some(fill) = bytes[start..].iter().position(|&byte| byte != 0xFF) else {
                break start;
            };
            // A byte of data that is 0xFF, or the mark of a restart.
            if !matches!(bytes[start + fill], 0x00 | 0xD0..=0xD7) {
                break start;
            }
            at = start + fill + 1;
        };
        let (data, rest) = bytes.split_at(end);
        self.rest = rest;
        data
    }

    fn read(&mut self, marker: u8, segment: &[u8]) -> Result<(), String> {
        let broken = || truncated("its header contradicts itself");
        match marker {
            0xC0..=0xC2 => {
                self.is_progressive = marker == 0xC2;
                let count = usize::from(*segment.get(7).ok_or_else(broken)?);
                let components = segment.get(8..8 + 3 * count).ok_or_else(broken)?;
                self.components = components.iter().step_by(3).copied().collect();
            }
            0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                let text = "is a JPEG file of a kind that is not read (lossless, hierarchical or arithmetic coding): save it as an ordinary JPEG or a PNG";
                return Err(text.into());
            }
            SOS => {
                let count = usize::from(*segment.get(2).ok_or_else(broken)?);
                let scanned = segment.get(3..3 + 2 * count).ok_or_else(broken)?;
                let is_scanned =
                    |component: &u8| scanned.iter().step_by(2).any(|id| id == component);
                self.components.retain(|component| !is_scanned(component));
            }
            0xE1 if segment[2..].starts_with(b"Exif\0\0") => {
                self.orientation = self.orientation.or(exif::orientation(&segment[2..]));
            }
            _ => {}
        }
        Ok(())
    }
}
