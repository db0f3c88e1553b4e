//! What is read of image files and what is refused: files that are cut off, formats within formats,
//! and which way up a photograph is.

use super::{jpeg, png, put};
use crate::data::folder::decode::{Picture, decode};

/// from PIL import Image
/// image = Image.new("RGB", (24, 20))
/// image.putdata([((x * 9 + y * 2) % 256, y * 11 % 256, x * y % 256) for y in range(20) for x in range(24)])
/// image.save("a.jpg", quality=30, optimize=True)
const BASELINE: &str = "\
ffd8ffe000104a46494600010100000100010000ffdb0043001b12141714111b1716171e1c1b2028422b28252528513a3d3042605565645f555d5b6a\
7899816a7190735b5d85b586909ea3abadab6780bcc9baa6c799a8aba4ffdb0043011c1e1e2823284e2b2b4ea46e5d6ea4a4a4a4a4a4a4a4a4a4a4a4\
a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4ffc00011080014001803012200021101031101ffc400\
1800010101010100000000000000000000000004030502ffc4001c1000020203010100000000000000000000000201030411615121ffc40017010003\
010000000000000000000000000001030502ffc4001c1100020202030000000000000000000000000102031122133161ffda000c0301000211031100\
3f00e2251c374c7e1557470aabc7e0b86c1aad224c7e03a8b542fcd6e41a7c51786ca10b5e0f35247854ab10bb8800554f46fc215669522f800175ad\
4a31e8ffd9";

/// The same with `progressive=True`.
const PROGRESSIVE: &str = "\
ffd8ffe000104a46494600010100000100010000ffdb0043001b12141714111b1716171e1c1b2028422b28252528513a3d3042605565645f555d5b6a\
7899816a7190735b5d85b586909ea3abadab6780bcc9baa6c799a8aba4ffdb0043011c1e1e2823284e2b2b4ea46e5d6ea4a4a4a4a4a4a4a4a4a4a4a4\
a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4ffc20011080014001803012200021101031101ffc400\
1800010101010100000000000000000000000003040102ffc40017010003010000000000000000000000000000020401ffda000c0301000210031000\
0001c34ad54835368e54487d05a3ffc400191001010003010000000000000000000000000102111210ffda0008010100010502d39729131693c8ffc4\
00161101010100000000000000000000000000000201ffda0008010301013f019a65258fffc400191100020301000000000000000000000000000102\
213122ffda0008010201013f01567288e11c3fffc40014100100000000000000000000000000000030ffda0008010100063f021fffc4001810010100\
030000000000000000000000000100101121ffda0008010100013f21290c90d2107205ffda000c0301000200030000001087dfbfffc4001811000203\
000000000000000000000000000001101131ffda0008010301013f1037d4307fffc4001811010101010100000000000000000000000100112161ffda\
0008010201013f10a76c59f6f909ffc400191000030101010000000000000000000000000161115121ffda0008010100013f109922444809f19ac5f0\
42d24731ffd9";

/// The same with `restart_marker_blocks=1`.
const RESTARTS: &str = "\
ffd8ffe000104a46494600010100000100010000ffdb0043001b12141714111b1716171e1c1b2028422b28252528513a3d3042605565645f555d5b6a\
7899816a7190735b5d85b586909ea3abadab6780bcc9baa6c799a8aba4ffdb0043011c1e1e2823284e2b2b4ea46e5d6ea4a4a4a4a4a4a4a4a4a4a4a4\
a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4a4ffc00011080014001803012200021101031101ffc400\
17000101010100000000000000000000000000040503ffc4001c1000020203010100000000000000000000000201030411615121ffc4001801000203\
000000000000000000000000000304010205ffc4001c1100020202030000000000000000000000000102031122133161ffdd00040001ffda000c0301\
0002110311003f00c44a38774c7e1557470aabc7e0386c4d569fffd08931f80d45aa17e6b720abe28bc3668c2d783fffd1eb5247854ab10bb8800054\
f46fc13acfffd2d3a917c000a56b50b1e8ffd9";

/// Image.new("CMYK", (8, 8), (0, 200, 200, 30)).save("a.jpg", quality=60, optimize=True): in RGB (226,
/// 49, 49), as PIL reads it back.
const CMYK: &str = "\
ffd8ffee000e41646f626500640000000000ffdb0043000d090a0b0a080d0b0a0b0e0e0d0f13201513121213271c1e17202e2931302e292d2c333a4a\
3e333646372c2d405741464c4e525352323e5a615a50604a51524fffc000140800080008044311004d11005911004b1100ffc4001500010100000000\
000000000000000000000607ffc40014100100000000000000000000000000000000ffda000e0443004d0059004b00003f00a709091e3fffd9";

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|place| u8::from_str_radix(&hex[2 * place..2 * place + 2], 16).unwrap())
        .collect()
}

fn reason(file: &[u8]) -> String {
    decode(file).unwrap_err()
}

/// Position right behind the header of the last scan.
fn image_data(file: &[u8]) -> usize {
    let marker = file.windows(2).rposition(|pair| pair == [0xFF, 0xDA]);
    let start = marker.unwrap() + 2;
    start + usize::from(u16::from_be_bytes([file[start], file[start + 1]]))
}

#[test]
fn whole_files_are_read_whichever_way_they_are_coded() {
    let baseline = decode(&bytes(BASELINE)).unwrap();
    assert_eq!((baseline.height, baseline.width), (20, 24));
    // Restarts change no number.
    assert_eq!(decode(&bytes(RESTARTS)).unwrap(), baseline);
    let progressive = decode(&bytes(PROGRESSIVE)).unwrap();
    let pairs = baseline.pixels.iter().zip(&progressive.pixels);
    assert!(pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 2));
    let cmyk = decode(&bytes(CMYK)).unwrap();
    let pairs = cmyk.pixels.iter().zip([226_u8, 49, 49].iter().cycle());
    assert!(
        pairs.into_iter().all(|(a, b)| a.abs_diff(*b) <= 2),
        "{cmyk:?}"
    );
}

#[test]
fn a_jpeg_that_is_cut_off_is_refused_wherever_that_is() {
    for hex in [BASELINE, PROGRESSIVE, RESTARTS] {
        let whole = bytes(hex);
        let end = whole.len() - 2;
        for length in 2..end {
            // The last byte of image data may hold nothing but filling.
            let needed = length + 1 < end;
            let cut = decode(&whole[..length]);
            assert!(cut.is_err() || !needed, "{length} of {} bytes", whole.len());
        }
        // Some programs write the marker of the end behind what is there.
        for length in image_data(&whole)..end - 1 {
            let mended = [&whole[..length], &[0xFF, 0xD9]].concat();
            assert!(
                decode(&mended).is_err(),
                "{length} of {} bytes",
                whole.len()
            );
        }
    }
    let whole = bytes(BASELINE);
    assert_eq!(
        reason(&whole[..100]),
        "is a damaged JPEG file: it ends within a header; it may have been copied in part"
    );
    assert_eq!(
        reason(&whole[..whole.len() - 20]),
        "is a damaged JPEG file: its image data end early or are wrong; it may have been copied in part"
    );
    let progressive = bytes(PROGRESSIVE);
    assert_eq!(
        reason(&progressive[..progressive.len() - 3]),
        "is a damaged JPEG file: it has no end; it may have been copied in part"
    );
}

#[test]
fn a_jpeg_that_lacks_only_the_marker_of_its_end_has_all_its_image_data() {
    for hex in [BASELINE, RESTARTS] {
        let whole = bytes(hex);
        let picture = decode(&whole).unwrap();
        assert_eq!(decode(&whole[..whole.len() - 2]).unwrap(), picture);
        assert_eq!(decode(&whole[..whole.len() - 1]).unwrap(), picture);
        // What follows the end is not looked at: cameras put videos there.
        for more in [&b"garbage"[..], &whole, &[0xFF], &[0; 100]] {
            assert_eq!(decode(&[&whole, more].concat()).unwrap(), picture);
        }
    }
    // Of a progressive file nobody can say whether another scan was to come.
    let whole = bytes(PROGRESSIVE);
    assert!(reason(&whole[..whole.len() - 2]).contains("it has no end"));
}

#[test]
fn a_jpeg_of_a_kind_that_is_not_read_is_not_called_damaged() {
    let mut arithmetic = bytes(BASELINE);
    let frame = arithmetic.windows(2).position(|pair| pair == [0xFF, 0xC0]);
    arithmetic[frame.unwrap() + 1] = 0xC9;
    assert_eq!(
        reason(&arithmetic),
        "is a JPEG file of a kind that is not read (lossless, hierarchical or arithmetic coding): save it as an ordinary JPEG or a PNG"
    );
}

/// A PNG file of these bytes.
fn encoded(
    (width, height): (u32, u32),
    colour: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
    change: impl FnOnce(&mut png::Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    change(&mut encoder);
    encoder
        .write_header()
        .unwrap()
        .write_image_data(data)
        .unwrap();
    file
}

#[test]
fn every_kind_of_png_becomes_bytes_of_red_green_and_blue() {
    use png::{BitDepth, ColorType};
    let pixel = |colour, depth, data: &[u8]| {
        let file = encoded((1, 1), colour, depth, data, |_| ());
        decode(&file).unwrap().pixels
    };
    assert_eq!(
        pixel(ColorType::Rgb, BitDepth::Sixteen, &[10, 99, 20, 99, 30, 99]),
        [10, 20, 30]
    );
    assert_eq!(
        pixel(ColorType::Grayscale, BitDepth::Sixteen, &[7, 200]),
        [7, 7, 7]
    );
    assert_eq!(
        pixel(ColorType::Grayscale, BitDepth::One, &[0x80]),
        [255; 3]
    );
    assert_eq!(
        pixel(ColorType::GrayscaleAlpha, BitDepth::Eight, &[100, 51]),
        [20, 20, 20]
    );
    assert_eq!(
        pixel(ColorType::Rgba, BitDepth::Eight, &[100, 200, 50, 0]),
        [0, 0, 0]
    );
    let palette = encoded(
        (2, 1),
        ColorType::Indexed,
        BitDepth::Eight,
        &[1, 0],
        |encoder| {
            encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
        },
    );
    assert_eq!(decode(&palette).unwrap().pixels, [4, 5, 6, 1, 2, 3]);
}

#[test]
fn a_png_that_is_cut_off_is_refused_and_garbage_behind_it_is_not() {
    let noise: Vec<u8> = (0..64 * 64 * 3)
        .map(|index| (index * index % 251) as u8)
        .collect();
    let whole = encoded(
        (64, 64),
        png::ColorType::Rgb,
        png::BitDepth::Eight,
        &noise,
        |_| (),
    );
    assert_eq!(decode(&whole).unwrap().pixels, noise);
    assert_eq!(
        decode(&[&whole[..], b"garbage"].concat()).unwrap().pixels,
        noise
    );
    // Without the last chunk, which holds nothing, and the check of the one before it.
    for length in 0..whole.len() - 20 {
        assert!(
            decode(&whole[..length]).is_err(),
            "{length} of {} bytes",
            whole.len()
        );
    }
}

#[test]
fn a_webp_that_is_cut_off_is_refused() {
    let noise: Vec<u8> = (0..32 * 32 * 3)
        .map(|index| (index * index % 251) as u8)
        .collect();
    let mut whole = Vec::new();
    image_webp::WebPEncoder::new(&mut whole)
        .encode(&noise, 32, 32, image_webp::ColorType::Rgb8)
        .unwrap();
    assert_eq!(decode(&whole).unwrap().pixels, noise);
    for length in 0..whole.len() - 2 {
        assert!(
            decode(&whole[..length]).is_err(),
            "{length} of {} bytes",
            whole.len()
        );
    }
}

/// EXIF data that say this orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut data = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    data.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    data
}

/// Three rows of two pixels, each of another colour, as EXIF's orientations store them.
///
/// from PIL import Image, ImageOps: `ImageOps.exif_transpose` makes each of them the first.
const STORED: [(u8, u32, u32, [u8; 6]); 8] = [
    (1, 2, 3, [1, 2, 3, 4, 5, 6]),
    (2, 2, 3, [2, 1, 4, 3, 6, 5]),
    (3, 2, 3, [6, 5, 4, 3, 2, 1]),
    (4, 2, 3, [5, 6, 3, 4, 1, 2]),
    (5, 3, 2, [1, 3, 5, 2, 4, 6]),
    (6, 3, 2, [2, 4, 6, 1, 3, 5]),
    (7, 3, 2, [6, 4, 2, 5, 3, 1]),
    (8, 3, 2, [5, 3, 1, 6, 4, 2]),
];

#[test]
fn a_picture_is_turned_as_its_exif_data_say_in_png_and_webp() {
    let upright = Picture {
        height: 3,
        width: 2,
        pixels: [1, 2, 3, 4, 5, 6].map(|value| [value * 40; 3]).concat(),
    };
    for (orientation, width, height, values) in STORED {
        let pixels = values.map(|value| [value * 40; 3]).concat();
        let png = encoded(
            (width, height),
            png::ColorType::Rgb,
            png::BitDepth::Eight,
            &pixels,
            |_| (),
        );
        let png = with_png_exif(&png, &exif(orientation));
        assert_eq!(decode(&png).unwrap(), upright, "PNG, {orientation}");
        let mut webp = Vec::new();
        let mut encoder = image_webp::WebPEncoder::new(&mut webp);
        encoder.set_exif_metadata(exif(orientation));
        encoder
            .encode(&pixels, width, height, image_webp::ColorType::Rgb8)
            .unwrap();
        assert_eq!(decode(&webp).unwrap(), upright, "WebP, {orientation}");
    }
}

/// Puts a chunk `eXIf` behind the header.
fn with_png_exif(png: &[u8], exif: &[u8]) -> Vec<u8> {
    let (head, rest) = png.split_at(8 + 25);
    let chunk = [b"eXIf", exif].concat();
    let mut file = head.to_vec();
    file.extend((exif.len() as u32).to_be_bytes());
    file.extend(&chunk);
    file.extend(crc(&chunk).to_be_bytes());
    file.extend(rest);
    file
}

/// CRC-32, as PNG has it (ISO 3309).
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xEDB8_8320 * (crc & 1))
        })
    })
}

#[test]
fn a_photograph_is_turned_as_its_camera_was_held() {
    let stored = bytes(BASELINE);
    let picture = decode(&stored).unwrap();
    let at = |picture: &Picture, row: usize, column: usize| {
        picture.pixels[3 * (row * picture.width + column)..][..3].to_vec()
    };
    for orientation in 0..=9 {
        let segment = [b"Exif\0\0", exif(orientation).as_slice()].concat();
        let length = (segment.len() as u16 + 2).to_be_bytes();
        let photo = [&stored[..2], &[0xFF, 0xE1], &length, &segment, &stored[2..]].concat();
        let turned = decode(&photo).unwrap();
        // Where the stored picture's first and last pixel come to lie (EXIF 2.3, 4.6.4).
        let (last_row, last_column) = (turned.height - 1, turned.width - 1);
        let (first, last) = ((0, 0), (last_row, last_column));
        let (right, left) = ((0, last_column), (last_row, 0));
        let corners = match orientation {
            2 | 6 => (right, left),
            3 | 7 => (last, first),
            4 | 8 => (left, right),
            // 0 and 9 say nothing; 5 keeps these two.
            _ => (first, last),
        };
        let is_turned = (5..=8).contains(&orientation);
        assert_eq!(
            (turned.height, turned.width),
            if is_turned { (24, 20) } else { (20, 24) }
        );
        assert_eq!(
            at(&turned, corners.0.0, corners.0.1),
            at(&picture, 0, 0),
            "{orientation}"
        );
        assert_eq!(
            at(&turned, corners.1.0, corners.1.1),
            at(&picture, 19, 23),
            "{orientation}"
        );
    }
}

#[test]
fn files_that_cannot_be_read_are_refused_with_their_names() {
    let folder = super::folder(3);
    let cut = bytes(BASELINE);
    put(folder.path(), "cats/001.jpg", &cut[..cut.len() - 20]);
    put(folder.path(), "dogs/002.jpg", &jpeg()[..400]);
    put(folder.path(), "dogs/003.png", &png(8, [0; 3], 0)[..40]);
    assert_eq!(
        super::message(folder.path()),
        "DIR/cats/001.jpg: is a damaged JPEG file: its image data end early or are wrong; it may have been copied in part; \
         3 of the 9 images in DIR cannot be read: cats/001.jpg, dogs/002.jpg, dogs/003.png"
    );
}
