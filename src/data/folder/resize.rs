//! Scales pictures of any size to squares of one size: the middle, by the triangle filter.
//! Must not know files.

use super::decode::Picture;

/// For one pixel of the result: the first pixel of the source that counts, and the weights from
/// there on, which sum to 1.
type Taps = (usize, Vec<f32>);

/// The largest square in the middle of the picture, scaled to `size` x `size`, as planes `[3, size,
/// size]`. Bilinear where it grows; where it shrinks the filter widens with the scale, so that
/// every pixel counts (as in Pillow's and torchvision's antialiased bilinear). A square of this
/// size already stays as it is, byte by byte.
pub fn square(picture: &Picture, size: usize) -> Vec<u8> {
    let side = picture.height.min(picture.width);
    let top = (picture.height - side) / 2;
    let left = (picture.width - side) / 2;
    let taps: Vec<Taps> = (0..size).map(|index| taps(index, side, size)).collect();
    // Rows first: [size, side, 3].
    let at = |row: usize, column: usize, channel: usize| {
        f32::from(picture.pixels[((top + row) * picture.width + left + column) * 3 + channel])
    };
    let mut rows = vec![0.0_f32; size * side * 3];
    for ((first, weights), line) in taps.iter().zip(rows.chunks_exact_mut(side * 3)) {
        for (offset, weight) in weights.iter().enumerate() {
            for (index, value) in line.iter_mut().enumerate() {
                *value += weight * at(first + offset, index / 3, index % 3);
            }
        }
    }
    let mut planes = vec![0_u8; 3 * size * size];
    for (channel, plane) in planes.chunks_exact_mut(size * size).enumerate() {
        for (line, result) in rows
            .chunks_exact(side * 3)
            .zip(plane.chunks_exact_mut(size))
        {
            for ((first, weights), value) in taps.iter().zip(result) {
                let sum: f32 = weights
                    .iter()
                    .enumerate()
                    .map(|(offset, weight)| weight * line[(first + offset) * 3 + channel])
                    .sum();
                *value = sum.round().clamp(0.0, 255.0) as u8;
            }
        }
    }
    planes
}

fn taps(index: usize, source: usize, target: usize) -> Taps {
    let scale = source as f64 / target as f64;
    let reach = scale.max(1.0);
    let centre = (index as f64 + 0.5) * scale;
    let first = (centre - reach).floor().max(0.0) as usize;
    let last = ((centre + reach).ceil() as usize).min(source);
    let weight = |index: usize| (1.0 - ((index as f64 + 0.5 - centre) / reach).abs()).max(0.0);
    let weights: Vec<f64> = (first..last).map(weight).collect();
    let sum: f64 = weights.iter().sum();
    (
        first,
        weights
            .into_iter()
            .map(|weight| (weight / sum) as f32)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(height: usize, width: usize, pixel: impl Fn(usize, usize) -> [u8; 3]) -> Picture {
        let pixels = (0..height * width)
            .flat_map(|place| pixel(place / width, place % width))
            .collect();
        Picture {
            height,
            width,
            pixels,
        }
    }

    #[test]
    fn a_square_of_the_size_stays_as_it_is_and_a_constant_stays_constant() {
        let exact = picture(8, 8, |row, column| [row as u8 * 31, column as u8 * 17, 200]);
        let planes = square(&exact, 8);
        for place in 0..64 {
            let pixel = [planes[place], planes[64 + place], planes[128 + place]];
            assert_eq!(pixel, exact.pixels[3 * place..3 * place + 3]);
        }
        for (height, width, size) in [(3, 5, 8), (100, 41, 8), (1, 1, 32)] {
            assert!(
                square(&picture(height, width, |_, _| [7, 7, 7]), size)
                    .iter()
                    .all(|value| *value == 7)
            );
        }
    }

    #[test]
    fn the_middle_is_taken_and_every_pixel_of_it_counts() {
        // Only the middle 4 x 4 of 4 x 12 pixels is bright.
        let wide = picture(4, 12, |_, column| {
            [if (4..8).contains(&column) { 200 } else { 0 }; 3]
        });
        assert!(square(&wide, 2).iter().all(|value| *value == 200));
        // import torch; import torch.nn.functional as F x = torch.tensor([0., 80., 160., 240., 40.,
        // 120., 200., 20.]).view(1, 1, 1, 8).repeat(1, 1, 8, 1) F.interpolate(x, (4, 4),
        // mode="bilinear", antialias=True)[0, 0, 0]
        let row = [0_u8, 80, 160, 240, 40, 120, 200, 20];
        let shrunk = square(&picture(8, 8, |_, column| [row[column]; 3]), 4);
        assert_eq!(shrunk[..4], [57, 165, 115, 111]);
        // x = x[..., :5, :5]; F.interpolate(x, (8, 8), mode="bilinear")
        let grown = square(&picture(5, 5, |_, column| [row[column]; 3]), 8);
        assert_eq!(grown[..8], [0, 35, 85, 135, 185, 235, 128, 40]);
    }
}
