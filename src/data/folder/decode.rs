//! PNG, JPEG and WebP files become red, green and blue bytes. Must not know where files lie or what
//! they show.

use super::{exif, jpeg};
use std::io::Cursor;
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Larger images are refused rather than decoded: a small file may claim to be huge.
const MAX_PIXELS: usize = 100_000_000;

/// `[height, width, 3]`, as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    pub height: usize,
    pub width: usize,
    pub pixels: Vec<u8>,
}

/// Decodes a file by what it begins with, whatever its name. Grey becomes three equal channels, 16
/// bits become 8; transparency is laid over black; the picture is turned as its EXIF data say (all
/// three formats may have some); colour profiles are not applied. What follows the end of an image
/// is not looked at.
///
/// # Errors
/// What is wrong with the file, in words: also where image data are missing that a decoder could
/// fill with grey.
pub fn decode(file: &[u8]) -> Result<Picture, String> {
    if file.starts_with(b"\x89PNG") {
        png(file)
    } else if file.starts_with(&[0xFF, 0xD8]) {
        jpeg_file(file)
    } else if file.starts_with(b"RIFF") && file.get(8..12) == Some(b"WEBP") {
        webp(file)
    } else if file.is_empty() {
        Err("the file is empty".into())
    } else {
        Err("is no PNG, JPEG or WebP file".into())
    }
}

/// Refuses sizes of nothing and of more than memory should hold; `channels` bytes make a pixel.
fn picture(width: usize, height: usize, channels: usize, bytes: &[u8]) -> Result<Picture, String> {
    if bytes.len() != width * height * channels {
        return Err("its pixels do not fit its size".into());
    }
    let over_black = |value: u8, alpha: u8| (u16::from(value) * u16::from(alpha) / 255) as u8;
    let pixels = match channels {
        1 => bytes.iter().flat_map(|&grey| [grey; 3]).collect(),
        2 => bytes
            .as_chunks::<2>()
            .0
            .iter()
            .flat_map(|&[grey, alpha]| [over_black(grey, alpha); 3])
            .collect(),
        3 => bytes.to_vec(),
        _ => bytes
            .as_chunks::<4>()
            .0
            .iter()
            .flat_map(|&[red, green, blue, alpha]| {
                [red, green, blue].map(|value| over_black(value, alpha))
            })
            .collect(),
    };
    Ok(Picture {
        height,
        width,
        pixels,
    })
}

impl Picture {
    /// The picture the right way up: `orientation` is EXIF's, which says where its first row and
    /// column belong.
    fn upright(self, orientation: u8) -> Self {
        if orientation == 1 {
            return self;
        }
        let Self {
            height,
            width,
            pixels,
        } = self;
        let (rows, columns) = if orientation < 5 {
            (height, width)
        } else {
            (width, height)
        };
        // Row and column of the stored picture.
        let source = |row: usize, column: usize| match orientation {
            2 => (row, width - 1 - column),
            3 => (height - 1 - row, width - 1 - column),
            4 => (height - 1 - row, column),
            5 => (column, row),
            6 => (height - 1 - column, row),
            7 => (height - 1 - column, width - 1 - row),
            _ => (column, width - 1 - row),
        };
        let mut turned = Vec::with_capacity(pixels.len());
        for row in 0..rows {
            for column in 0..columns {
                let (row, column) = source(row, column);
                turned.extend_from_slice(&pixels[3 * (row * width + column)..][..3]);
            }
        }
        Self {
            height: rows,
            width: columns,
            pixels: turned,
        }
    }
}

fn fits(width: usize, height: usize) -> Result<(), String> {
    match width.saturating_mul(height) {
        0 => Err("has no pixels".into()),
        1..=MAX_PIXELS => Ok(()),
        _ => Err(format!(
            "has {width} x {height} pixels; at most {MAX_PIXELS} are read"
        )),
    }
}

/// Quotes the decoder's message if it is a sentence, and not if it shows the decoder's own types.
fn damaged(format: &str, error: &dyn std::fmt::Display) -> String {
    match error.to_string() {
        text if text.contains('{') => format!("is a damaged {format} file"),
        text => format!("is a damaged {format} file: {text}"),
    }
}

fn png(file: &[u8]) -> Result<Picture, String> {
    let fail = |error: png::DecodingError| damaged("PNG", &error);
    let mut decoder = png::Decoder::new_with_limits(
        Cursor::new(file),
        png::Limits {
            bytes: 4 * MAX_PIXELS,
        },
    );
    decoder.set_transformations(png::Transformations::normalize_to_color8());
    let mut reader = decoder.read_info().map_err(fail)?;
    let width = reader.info().width as usize;
    let height = reader.info().height as usize;
    fits(width, height)?;
    let mut bytes = vec![
        0;
        reader
            .output_buffer_size()
            .ok_or("is a PNG file too large to read")?
    ];
    let frame = reader.next_frame(&mut bytes).map_err(fail)?;
    let exif = reader.info().exif_metadata.as_deref();
    let orientation = exif.and_then(exif::orientation).unwrap_or(1);
    let picture = picture(
        width,
        height,
        frame.color_type.samples(),
        &bytes[..frame.buffer_size()],
    )?;
    Ok(picture.upright(orientation))
}

fn jpeg_file(file: &[u8]) -> Result<Picture, String> {
    let fail = |error: zune_jpeg::errors::DecodeErrors| damaged("JPEG", &error);
    let segments = jpeg::segments(file)?;
    let options = DecoderOptions::default()
        .set_strict_mode(true)
        .set_max_width(1 << 16)
        .set_max_height(1 << 16)
        .jpeg_set_out_colorspace(ColorSpace::RGB);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&segments.image), options);
    decoder.decode_headers().map_err(fail)?;
    let (width, height) = decoder
        .dimensions()
        .ok_or("is a JPEG file without a size")?;
    fits(width, height)?;
    let pixels = decoder.decode().map_err(|error| {
        tracing::debug!("a JPEG file is refused: {error}");
        jpeg::truncated("its image data end early or are wrong")
    })?;
    Ok(picture(width, height, 3, &pixels)?.upright(segments.orientation))
}

fn webp(file: &[u8]) -> Result<Picture, String> {
    let fail = |error: image_webp::DecodingError| damaged("WebP", &error);
    let mut decoder = image_webp::WebPDecoder::new(Cursor::new(file)).map_err(fail)?;
    let (width, height) = decoder.dimensions();
    let width = width as usize;
    let height = height as usize;
    fits(width, height)?;
    let mut bytes = vec![
        0;
        decoder
            .output_buffer_size()
            .ok_or("is a WebP file too large to read")?
    ];
    decoder.read_image(&mut bytes).map_err(fail)?;
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let exif = decoder.exif_metadata().ok().flatten();
    let orientation = exif.as_deref().and_then(exif::orientation).unwrap_or(1);
    Ok(picture(width, height, channels, &bytes)?.upright(orientation))
}
