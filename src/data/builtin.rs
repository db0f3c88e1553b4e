//! The built-in images: synthetic, drawn by this program from a seed, so that a first search needs
//! no download. Ten classes of shapes, textures and strokes under random colour, position, scale,
//! rotation, distractors and noise. Must not know how images are used.

use super::shapes::{Point, Pose, coverage};
use super::{DataError, DataSettings, Dataset};
use crate::random::{Key, Purpose, Stream};
use crate::space::ImageShape;
use rand::RngExt;
use rayon::prelude::*;

const SIZE: usize = 32;
const CLASSES: [&str; 10] = [
    "disc", "ring", "square", "triangle", "cross", "rows", "columns", "checks", "dots", "zigzag",
];

/// How many images are drawn where the settings name no sizes.
const IMAGES: usize = 12_000;
/// How many images are drawn at most.
const MAX_IMAGES: usize = 1_000_000;
/// How many images the test set has.
pub const TEST_IMAGES: usize = 2_000;

/// A figure is brighter than its background by at least this, as the mean of the channels in 0..=1.
/// Hues are drawn freely: they say nothing about the class.
const CONTRAST: f32 = 0.2;
/// Channels of a background are at most this bright.
const GROUND: f32 = 0.6;
/// Figures are turned by at most this, either way, in radians: rows stay rows and columns stay
/// columns.
const TURN: f32 = 0.35;

/// Draws as many images as the settings ask for, `[count, 3, 32, 32]`. Image i depends on the seed
/// and i alone.
///
/// # Errors
/// The settings ask for more images than are drawn at most.
pub fn draw(settings: &DataSettings, seed: u64) -> Result<Dataset, DataError> {
    let images = match (settings.train_size, settings.validation_size) {
        (Some(train), Some(validation)) => train.saturating_add(validation),
        (Some(one), None) | (None, Some(one)) => IMAGES.max(one.saturating_add(one / 5)),
        (None, None) => IMAGES,
    };
    if images > MAX_IMAGES {
        let problem = format!(
            "{images} built-in images are more than the {MAX_IMAGES} that are drawn at most"
        );
        let key = if settings.validation_size > settings.train_size {
            "data.validation_size"
        } else {
            "data.train_size"
        };
        return Err(DataError::Setting { key, problem });
    }
    Ok(draw_from(seed, 0, images))
}

/// The test set: images that no settings draw for training or validation.
pub fn draw_test(seed: u64) -> Dataset {
    draw_from(seed, MAX_IMAGES, TEST_IMAGES)
}

/// Images `first` to `first + count`.
fn draw_from(seed: u64, first: usize, count: usize) -> Dataset {
    let shape = ImageShape {
        channels: 3,
        height: SIZE,
        width: SIZE,
    };
    let mut bytes = vec![0; count * 3 * SIZE * SIZE];
    let labels = bytes
        .par_chunks_exact_mut(3 * SIZE * SIZE)
        .enumerate()
        .map(|(index, image)| draw_image(seed, (first + index) as u64, image))
        .collect();
    Dataset::new(
        shape,
        CLASSES.map(str::to_owned).to_vec(),
        bytes,
        labels,
        true,
    )
}

type Colour = [f32; 3];

/// Draws one image, `[3, 32, 32]`; returns its class.
fn draw_image(seed: u64, index: u64, image: &mut [u8]) -> u8 {
    let mut stream = Key {
        seed,
        minibatch: index,
        ..Key::default()
    }
    .stream(Purpose::Drawing);
    let class = stream.random_range(0..CLASSES.len());
    let (mut canvas, ground) = background(&mut stream);
    distract(&mut canvas, &mut stream);
    figure(class, ground, &mut canvas, &mut stream);
    let noise = stream.random_range(0.02..0.09_f32);
    for (index, pixel) in canvas.iter().enumerate() {
        for channel in 0..3 {
            // Three uniform draws are near enough to a normal one.
            let draw: f32 = (0..3).map(|_| stream.random::<f32>() - 0.5).sum();
            let value = pixel[channel] + 2.0 * noise * draw;
            image[channel * SIZE * SIZE + index] = (255.0 * value.clamp(0.0, 1.0)).round() as u8;
        }
    }
    class as u8
}

/// A colour whose channels are below `max`.
fn colour(max: f32, stream: &mut Stream) -> Colour {
    [0; 3].map(|_| max * stream.random::<f32>())
}

fn brightness(colour: Colour) -> f32 {
    colour.iter().sum::<f32>() / 3.0
}

/// A colour brighter than `ground`.
fn brighter(ground: Colour, stream: &mut Stream) -> Colour {
    loop {
        let candidate = colour(1.0, stream);
        if brightness(candidate) > brightness(ground) + CONTRAST {
            return candidate;
        }
    }
}

fn blend(canvas: &mut [Colour], colour: Colour, alpha: impl Fn(Point) -> f32) {
    for (index, pixel) in canvas.iter_mut().enumerate() {
        let alpha = alpha(Point {
            x: (index % SIZE) as f32 + 0.5,
            y: (index / SIZE) as f32 + 0.5,
        });
        for (value, new) in pixel.iter_mut().zip(colour) {
            *value += alpha * (new - *value);
        }
    }
}

/// One colour that changes a little across the image; also that colour.
fn background(stream: &mut Stream) -> (Vec<Colour>, Colour) {
    let from = colour(GROUND, stream);
    let tint = colour(GROUND, stream);
    let angle = stream.random_range(0.0..std::f32::consts::TAU);
    let (sin, cos) = angle.sin_cos();
    let mut canvas = vec![from; SIZE * SIZE];
    blend(&mut canvas, tint, |point| {
        0.25 * (0.5 + (point.x * cos + point.y * sin) / (3.0 * SIZE as f32)).clamp(0.0, 1.0)
    });
    (canvas, from)
}

/// Distractors: a few specks and strokes, whatever the class.
fn distract(canvas: &mut [Colour], stream: &mut Stream) {
    for _ in 0..stream.random_range(1..5) {
        let colour = colour(1.0, stream);
        let [x, y] = [0; 2].map(|_| stream.random_range(0.0..SIZE as f32));
        let length = stream.random_range(0.0..5.0_f32);
        let width = stream.random_range(0.6..1.4_f32);
        let (sin, cos) = stream.random_range(0.0..std::f32::consts::TAU).sin_cos();
        blend(canvas, colour, |point| {
            let dx = point.x - x;
            let dy = point.y - y;
            let along = (dx * cos + dy * sin).abs() - length;
            let across = (dy * cos - dx * sin).abs();
            (width - across.max(along) + 0.5).clamp(0.0, 1.0)
        });
    }
}

fn figure(class: usize, ground: Colour, canvas: &mut [Colour], stream: &mut Stream) {
    let colour = brighter(ground, stream);
    let radius = stream.random_range(7.0..13.0_f32);
    let free = SIZE as f32 / 2.0 - radius * 0.75;
    let [x, y] = [0; 2].map(|_| SIZE as f32 / 2.0 + stream.random_range(-free..free));
    let angle = stream.random_range(-TURN..TURN);
    let pose = Pose::new(Point { x, y }, radius, angle);
    blend(canvas, colour, |point| {
        coverage(class, pose.local(point), &pose)
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(train: usize, validation: usize) -> DataSettings {
        DataSettings {
            train_size: Some(train),
            validation_size: Some(validation),
            ..DataSettings::default()
        }
    }

    #[test]
    fn an_image_depends_on_the_seed_and_its_index_alone() {
        let few = draw(&settings(20, 10), 4).unwrap();
        let many = draw(&settings(60, 10), 4).unwrap();
        assert_eq!(few.images, many.images[..few.images.len()]);
        assert_eq!(few.labels, many.labels[..30]);
        assert_ne!(few.images, draw(&settings(20, 10), 5).unwrap().images);
        assert!(few.synthetic);
    }

    #[test]
    fn test_images_are_none_that_is_trained_on() {
        let test = draw_test(4);
        assert_eq!(test.labels.len(), TEST_IMAGES);
        let trained = draw(&settings(3_000, 10), 4).unwrap();
        let count = trained.labels.len() as u32;
        let seen: std::collections::HashSet<&[u8]> =
            (0..count).map(|index| trained.image(index)).collect();
        assert!((0..TEST_IMAGES as u32).all(|index| !seen.contains(test.image(index))));
        assert_ne!(test.images, draw_test(5).images);
    }

    #[test]
    fn classes_are_even_and_figures_are_seen() {
        let set = draw(&settings(2_000, 500), 1).unwrap();
        for class in 0..10 {
            let count = set.labels.iter().filter(|label| **label == class).count();
            assert!(
                (180..330).contains(&count),
                "{count} images of class {class}"
            );
        }
        // A figure covers a fair share of every image: with its mean colour alone an image would be
        // flat.
        for index in 0..200 {
            let image = set.image(index);
            let mean = image.iter().map(|byte| f64::from(*byte)).sum::<f64>() / image.len() as f64;
            let variance = image
                .iter()
                .map(|byte| (f64::from(*byte) - mean).powi(2))
                .sum::<f64>()
                / image.len() as f64;
            assert!(variance > 100.0, "image {index} is flat");
        }
    }

    #[test]
    fn rows_stay_rows_and_columns_stay_columns() {
        let set = draw(&settings(800, 200), 1).unwrap();
        for (index, label) in set
            .labels
            .iter()
            .enumerate()
            .filter(|(_, label)| [5, 6].contains(*label))
        {
            let image = set.image(index as u32);
            let at = |channel: usize, y: usize, x: usize| {
                i64::from(image[(channel * SIZE + y) * SIZE + x])
            };
            let places = || {
                (0..3).flat_map(|c| (1..SIZE).flat_map(move |y| (1..SIZE).map(move |x| (c, y, x))))
            };
            let down: i64 = places()
                .map(|(c, y, x)| (at(c, y, x) - at(c, y - 1, x)).pow(2))
                .sum();
            let across: i64 = places()
                .map(|(c, y, x)| (at(c, y, x) - at(c, y, x - 1)).pow(2))
                .sum();
            assert_eq!(down > across, *label == 5, "image {index}: {down} {across}");
        }
    }
}
