//! Preparing batches: whitening, then for training upsampling, a random crop and a random
//! horizontal flip (paper §4.1, in this order). Each image's draw depends on (seed, epoch, index) alone, so batches may be
//! prepared in any order and in parallel.

use super::{
    DataSettings, Dataset, Flip, ImageInput, Normalisation, Split, Whitening, WhiteningOrder,
};
use crate::random::{Key, Purpose};
use crate::space::ImageShape;
use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;

/// A smaller variance is rounding: one value of 3,072 that differs by 1 has three times as much.
const MIN_VARIANCE: f64 = 1e-4;

/// How one set's images are prepared.
#[derive(Clone, Debug)]
pub struct Batches {
    train: Vec<u32>,
    augment: bool,
    flip: Flip,
    /// For each row and column of the upsampled image: the source position on its left, and the
    /// share of the one on its right.
    rows: Vec<(usize, f32)>,
    columns: Vec<(usize, f32)>,
    /// Mean and 1/deviation of each channel over the training set; None: each image by its own.
    channels: Option<Vec<(f32, f32)>>,
    order: WhiteningOrder,
}

/// Where in the upsampled image an image is cut out, and whether it is flipped then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    pub top: usize,
    pub left: usize,
    pub flipped: bool,
}

/// Means and 1/deviations that images are whitened by.
#[derive(Clone, Debug, PartialEq)]
pub enum WhiteningTable {
    /// Of each channel.
    Channels(Vec<(f32, f32)>),
    /// Of each image of the data set, before it is cropped.
    Images(Vec<(f32, f32)>),
    /// Each image's own, once it is cropped.
    Cropped,
}

impl Batches {
    /// Statistics are taken from the training images alone.
    pub fn new(dataset: &Dataset, split: &Split, settings: &DataSettings) -> Self {
        let channels = match settings.whiten {
            Whitening::Image => None,
            Whitening::Channel => Some(channel_statistics(dataset, &split.train)),
        };
        let shape = dataset.shape;
        Self {
            train: split.train.clone(),
            augment: settings.augment,
            flip: settings.flip,
            rows: positions(shape.height, settings.upsample.max(shape.height)),
            columns: positions(shape.width, settings.upsample.max(shape.width)),
            channels,
            order: settings.whiten_order.unwrap_or_default(),
        }
    }

    /// How an image is prepared for evaluation, as plain data.
    pub fn input(&self, dataset: &Dataset, settings: &DataSettings) -> ImageInput {
        let normalisation = match &self.channels {
            None => Normalisation::Image {
                min_variance: MIN_VARIANCE,
            },
            Some(channels) => {
                let (mean, scale) = channels.iter().copied().unzip();
                Normalisation::Channel { mean, scale }
            }
        };
        ImageInput {
            shape: dataset.shape,
            class_names: dataset.class_names.clone(),
            normalisation,
            source: settings.kind,
        }
    }

    /// The training indices in the order of one epoch (from 1).
    pub fn shuffled(&self, seed: u64, epoch: usize) -> Vec<u32> {
        let mut order = self.train.clone();
        order.shuffle(
            &mut Key {
                seed,
                controller: epoch as u64,
                ..Key::default()
            }
            .stream(Purpose::Shuffle),
        );
        order
    }

    /// Whitened, and augmented if the settings say so: images `[n, channels, height, width]` and
    /// labels `[n]`, for n indices. Runs in the caller's rayon pool; depends on nothing but the
    /// arguments.
    pub fn training(
        &self,
        dataset: &Dataset,
        indices: &[u32],
        seed: u64,
        epoch: usize,
        images: &mut [f32],
        labels: &mut [u8],
    ) {
        self.fill(dataset, indices, images, labels, |index, image| {
            if self.augment {
                self.crop(dataset, index, seed, epoch, image);
            } else {
                copy(dataset.image(index), image);
            }
        });
    }

    /// The images as they are, whitened; shapes as in [`Self::training`].
    pub fn evaluation(
        &self,
        dataset: &Dataset,
        indices: &[u32],
        images: &mut [f32],
        labels: &mut [u8],
    ) {
        self.fill(dataset, indices, images, labels, |index, image| {
            copy(dataset.image(index), image);
        });
    }

    fn fill(
        &self,
        dataset: &Dataset,
        indices: &[u32],
        images: &mut [f32],
        labels: &mut [u8],
        prepare: impl Fn(u32, &mut [f32]) + Sync,
    ) {
        assert_eq!(
            (images.len(), labels.len()),
            (indices.len() * dataset.image_size(), indices.len()),
            "room for exactly one batch"
        );
        for (label, index) in labels.iter_mut().zip(indices) {
            *label = dataset.labels[*index as usize];
        }
        let plane = dataset.shape.height * dataset.shape.width;
        images
            .par_chunks_exact_mut(dataset.image_size())
            .zip(indices)
            .for_each(|(image, index)| {
                prepare(*index, image);
                self.whiten(dataset.image(*index), plane, image);
            });
    }

    /// Where an image is cut out in an epoch (counted from 1) of a child with this seed.
    pub fn cut(&self, shape: ImageShape, index: u32, seed: u64, epoch: usize) -> Cut {
        if !self.augment {
            return Cut::default();
        }
        let mut stream = Key {
            seed,
            controller: epoch as u64,
            minibatch: index.into(),
            slot: 0,
        }
        .stream(Purpose::Augmentation);
        Cut {
            top: stream.random_range(0..=self.rows.len() - shape.height),
            left: stream.random_range(0..=self.columns.len() - shape.width),
            flipped: match self.flip {
                Flip::Random => stream.random::<bool>(),
                Flip::Alternating => starts_flipped(seed, index) == (epoch % 2 == 1),
            },
        }
    }

    /// For each row and each column of an image as it is upsampled for training: the source
    /// position on its left, and the share of the one on its right. None: it is taken as it is.
    pub fn upsampling(&self) -> Option<[&[(usize, f32)]; 2]> {
        self.augment.then_some([&self.rows, &self.columns])
    }

    /// What images are whitened by.
    pub fn whitening(&self, dataset: &Dataset) -> WhiteningTable {
        match (&self.channels, self.order) {
            (Some(channels), _) => WhiteningTable::Channels(channels.clone()),
            (None, WhiteningOrder::Last) => WhiteningTable::Cropped,
            (None, WhiteningOrder::First) => WhiteningTable::Images(
                (0..dataset.labels.len() as u32)
                    .into_par_iter()
                    .map(|index| statistics(dataset.image(index), MIN_VARIANCE))
                    .collect(),
            ),
        }
    }

    /// Whitens what was prepared from an image. Upsampling, cropping and flipping take means of
    /// pixels whose weights sum to 1, so shifting and scaling their result by the source's own
    /// numbers is the same as whitening the source first.
    fn whiten(&self, source: &[u8], plane: usize, image: &mut [f32]) {
        let Some(channels) = &self.channels else {
            let (mean, scale) = match self.order {
                WhiteningOrder::First => statistics(source, MIN_VARIANCE),
                WhiteningOrder::Last => statistics(image, MIN_VARIANCE),
            };
            shift_and_scale(image, mean, scale);
            return;
        };
        for (values, (mean, scale)) in image.chunks_exact_mut(plane).zip(channels) {
            shift_and_scale(values, *mean, *scale);
        }
    }

    /// Upsamples (bilinear), crops back to the image's size at a random position, and flips; only
    /// the pixels of the crop are computed.
    fn crop(&self, dataset: &Dataset, index: u32, seed: u64, epoch: usize, image: &mut [f32]) {
        let height = dataset.shape.height;
        let width = dataset.shape.width;
        let Cut { top, left, flipped } = self.cut(dataset.shape, index, seed, epoch);
        let rows = &self.rows[top..top + height];
        let columns = &self.columns[left..left + width];
        let source = dataset.image(index);
        for (channel, image) in image.chunks_exact_mut(height * width).enumerate() {
            let plane = &source[channel * height * width..(channel + 1) * height * width];
            for ((row, below), line) in rows.iter().zip(image.chunks_exact_mut(width)) {
                let upper = &plane[row * width..(row + 1) * width];
                let next = (row + 1).min(height - 1);
                let lower = &plane[next * width..(next + 1) * width];
                for ((column, right), value) in columns.iter().zip(line.iter_mut()) {
                    let right_column = (column + 1).min(width - 1);
                    let mix = |line: &[u8]| {
                        let a = f32::from(line[*column]);
                        let b = f32::from(line[right_column]);
                        a + right * (b - a)
                    };
                    let a = mix(upper);
                    let b = mix(lower);
                    *value = a + below * (b - a);
                }
                if flipped {
                    line.reverse();
                }
            }
        }
    }
}

/// With alternating flips: whether an image is flipped in the first epoch, and each second one.
fn starts_flipped(seed: u64, index: u32) -> bool {
    // Epochs count from 1.
    let key = Key {
        seed,
        controller: 0,
        minibatch: index.into(),
        slot: 0,
    };
    key.stream(Purpose::Augmentation).random::<bool>()
}

/// Pixel centres of `target` evenly over `source` pixels: (left neighbour, share of the right one).
fn positions(source: usize, target: usize) -> Vec<(usize, f32)> {
    let scale = source as f32 / target as f32;
    let position =
        |index: usize| ((index as f32 + 0.5) * scale - 0.5).clamp(0.0, (source - 1) as f32);
    (0..target)
        .map(position)
        .map(|position| (position as usize, position.fract()))
        .collect()
}

fn copy(source: &[u8], image: &mut [f32]) {
    for (value, byte) in image.iter_mut().zip(source) {
        *value = f32::from(*byte);
    }
}

pub(super) fn shift_and_scale(values: &mut [f32], mean: f32, scale: f32) {
    values
        .iter_mut()
        .for_each(|value| *value = (*value - mean) * scale);
}

/// Mean and 1/deviation of an image, so that it becomes one of zero mean and unit variance; 0 in
/// place of the latter for an image of less than this variance, which becomes zeros. The variance is
/// taken around the mean, so that a bright image of little contrast keeps its digits.
pub(super) fn statistics<T: Copy>(image: &[T], min_variance: f64) -> (f32, f32)
where
    f32: From<T>,
{
    let count = image.len() as f64;
    let mean = (sum(image, |value| value) / count) as f32;
    let variance = sum(image, |value| (value - mean) * (value - mean)) / count;
    if variance < min_variance {
        (mean, 0.0)
    } else {
        (mean, (1.0 / variance.sqrt()) as f32)
    }
}

/// Sixteen sums side by side, so that the compiler may use vector instructions; the order of
/// additions is fixed.
fn sum<T: Copy>(values: &[T], term: impl Fn(f32) -> f32) -> f64
where
    f32: From<T>,
{
    let (blocks, rest) = values.as_chunks::<16>();
    let mut total = rest
        .iter()
        .map(|value| f64::from(term(f32::from(*value))))
        .sum::<f64>();
    // In single precision over 16 blocks at most: bytes add up exactly.
    for blocks in blocks.chunks(16) {
        let mut sums = [0.0_f32; 16];
        for block in blocks {
            for (sum, value) in sums.iter_mut().zip(block) {
                *sum += term(f32::from(*value));
            }
        }
        total += sums.iter().map(|sum| f64::from(*sum)).sum::<f64>();
    }
    total
}

fn channel_statistics(dataset: &Dataset, train: &[u32]) -> Vec<(f32, f32)> {
    let plane = dataset.shape.height * dataset.shape.width;
    let channel = |channel: usize| {
        let mut sum = 0_u64;
        let mut squares = 0_u64;
        for index in train {
            for byte in &dataset.image(*index)[channel * plane..(channel + 1) * plane] {
                sum += u64::from(*byte);
                squares += u64::from(*byte) * u64::from(*byte);
            }
        }
        let count = (train.len() * plane) as f64;
        let mean = sum as f64 / count;
        let deviation = (squares as f64 / count - mean * mean).max(0.0).sqrt();
        (
            mean as f32,
            if deviation * deviation < MIN_VARIANCE {
                0.0
            } else {
                (1.0 / deviation) as f32
            },
        )
    };
    (0..dataset.shape.channels).map(channel).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(images: usize) -> Dataset {
        let shape = ImageShape {
            channels: 3,
            height: 8,
            width: 8,
        };
        let bytes = (0..images * 192)
            .map(|index| (index * 37 % 251) as u8)
            .collect();
        Dataset::new(shape, vec!["a".into()], bytes, vec![0; images], false)
    }

    fn batches(dataset: &Dataset, settings: &DataSettings) -> Batches {
        let images = dataset.labels.len() as u32;
        Batches::new(
            dataset,
            &Split {
                train: (0..images).collect(),
                validation: vec![],
            },
            settings,
        )
    }

    fn moments(values: &[f32]) -> (f64, f64) {
        let count = values.len() as f64;
        let mean = values.iter().map(|value| f64::from(*value)).sum::<f64>() / count;
        (
            mean,
            values
                .iter()
                .map(|value| (f64::from(*value) - mean).powi(2))
                .sum::<f64>()
                / count,
        )
    }

    #[test]
    fn each_image_has_zero_mean_and_unit_variance_and_a_constant_one_is_zero() {
        let mut set = dataset(2);
        set.images[192..].fill(77);
        let mut images = vec![9.0; 384];
        let mut labels = vec![9; 2];
        batches(&set, &DataSettings::default()).evaluation(&set, &[0, 1], &mut images, &mut labels);
        let (mean, variance) = moments(&images[..192]);
        assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4);
        assert!(images[192..].iter().all(|value| *value == 0.0));
    }

    #[test]
    fn little_contrast_on_a_bright_image_is_whitened_as_exactly() {
        let mut set = dataset(1);
        set.images.fill(250);
        set.images
            .iter_mut()
            .step_by(2)
            .for_each(|byte| *byte = 251);
        let mut images = vec![0.0; 192];
        let mut labels = vec![0];
        batches(
            &set,
            &DataSettings {
                upsample: 11,
                whiten_order: Some(WhiteningOrder::Last),
                ..DataSettings::default()
            },
        )
        .training(&set, &[0], 1, 1, &mut images, &mut labels);
        let (mean, variance) = moments(&images);
        assert!(
            mean.abs() < 1e-3 && (variance - 1.0).abs() < 1e-3,
            "{mean} {variance}"
        );
    }

    #[test]
    fn statistics_leave_the_validation_images_out() {
        let mut set = dataset(4);
        set.images[3 * 192..].fill(255);
        let settings = DataSettings {
            whiten: Whitening::Channel,
            ..DataSettings::default()
        };
        let part = Batches::new(
            &set,
            &Split {
                train: vec![0, 1, 2],
                validation: vec![3],
            },
            &settings,
        );
        let alone = batches(&dataset(3), &settings);
        assert_eq!(part.channels, alone.channels);
    }

    #[test]
    fn an_epoch_visits_every_training_image_once() {
        let set = dataset(30);
        let split = Split {
            train: (5..30).collect(),
            validation: (0..5).collect(),
        };
        let mut order = Batches::new(&set, &split, &DataSettings::default()).shuffled(1, 1);
        assert_ne!(order, split.train);
        order.sort_unstable();
        assert_eq!(order, split.train);
    }

    #[test]
    fn channel_whitening_uses_the_training_sets_statistics() {
        let set = dataset(6);
        let settings = DataSettings {
            whiten: Whitening::Channel,
            ..DataSettings::default()
        };
        let mut images = vec![0.0; 6 * 192];
        let mut labels = vec![0; 6];
        batches(&set, &settings).evaluation(&set, &[0, 1, 2, 3, 4, 5], &mut images, &mut labels);
        for channel in 0..3 {
            let values: Vec<f32> = (0..6)
                .flat_map(|image| {
                    images[image * 192 + channel * 64..image * 192 + (channel + 1) * 64].to_vec()
                })
                .collect();
            let (mean, variance) = moments(&values);
            assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4);
        }
    }

    /// The whole upsampled image, by the textbook: bilinear between pixel centres.
    fn upsampled(plane: &[u8], size: usize, target: usize, y: usize, x: usize) -> f64 {
        let place = |index: usize| {
            ((index as f64 + 0.5) * size as f64 / target as f64 - 0.5).clamp(0.0, (size - 1) as f64)
        };
        let py = place(y);
        let px = place(x);
        let y0 = py.floor() as usize;
        let x0 = px.floor() as usize;
        let y1 = (y0 + 1).min(size - 1);
        let x1 = (x0 + 1).min(size - 1);
        let at = |y: usize, x: usize| f64::from(plane[y * size + x]);
        let fy = py - y0 as f64;
        let fx = px - x0 as f64;
        (at(y0, x0) * (1.0 - fx) + at(y0, x1) * fx) * (1.0 - fy)
            + (at(y1, x0) * (1.0 - fx) + at(y1, x1) * fx) * fy
    }

    #[test]
    fn a_training_image_is_some_crop_of_the_upsampled_one_flipped_or_not() {
        let set = dataset(1);
        let settings = DataSettings {
            upsample: 10,
            ..DataSettings::default()
        };
        let preparer = batches(&set, &settings);
        let mut seen = std::collections::BTreeSet::new();
        for epoch in 1..300 {
            let mut image = vec![0.0; 192];
            preparer.crop(&set, 0, 5, epoch, &mut image);
            let matches = |(top, left, flip): &(usize, usize, bool)| {
                (0..192).all(|place| {
                    let channel = place / 64;
                    let y = place % 64 / 8;
                    let x = place % 8;
                    let x = if *flip { 7 - x } else { x };
                    let expected = upsampled(
                        &set.image(0)[channel * 64..(channel + 1) * 64],
                        8,
                        10,
                        top + y,
                        left + x,
                    );
                    (f64::from(image[place]) - expected).abs() < 1e-2
                })
            };
            let all = (0..3).flat_map(|top| {
                (0..3).flat_map(move |left| [(top, left, false), (top, left, true)])
            });
            seen.insert(
                all.into_iter()
                    .find(matches)
                    .expect("no crop of the upsampled image"),
            );
        }
        assert_eq!(seen.len(), 18, "every crop, flipped and not");
    }

    /// One image whose left half is dark and whose right half is bright: a crop of it has another
    /// mean than the whole.
    fn halves() -> Dataset {
        let mut set = dataset(1);
        for (place, byte) in set.images.iter_mut().enumerate() {
            *byte = if place % 8 < 4 { 10 } else { 200 } + (place * 7 % 23) as u8;
        }
        set
    }

    fn prepared(set: &Dataset, order: Option<WhiteningOrder>, whiten: Whitening) -> Vec<Vec<f32>> {
        let settings = DataSettings {
            upsample: 14,
            whiten,
            whiten_order: order,
            ..DataSettings::default()
        };
        let preparer = batches(set, &settings);
        (1..40)
            .map(|epoch| {
                let mut image = vec![0.0; 192];
                preparer.training(set, &[0], 5, epoch, &mut image, &mut [0]);
                image
            })
            .collect()
    }

    #[test]
    fn an_image_is_whitened_before_it_is_upsampled_cropped_and_flipped() {
        let set = halves();
        // The definition: the whole image, whitened in f64, and only then upsampled.
        let bytes: Vec<f32> = set.images.iter().map(|byte| f32::from(*byte)).collect();
        let (mean, variance) = moments(&bytes);
        let expected = |place: usize, (top, left, flip): (usize, usize, bool)| {
            let plane = &set.images[place / 64 * 64..][..64];
            let x = if flip { 7 - place % 8 } else { place % 8 };
            (upsampled(plane, 8, 14, top + place % 64 / 8, left + x) - mean) / variance.sqrt()
        };
        let crops: Vec<(usize, usize, bool)> = (0..7)
            .flat_map(|top| (0..7).flat_map(move |left| [(top, left, false), (top, left, true)]))
            .collect();
        for image in prepared(&set, None, Whitening::Image) {
            let is_this = |crop: (usize, usize, bool)| {
                (0..192).all(|place| (f64::from(image[place]) - expected(place, crop)).abs() < 1e-4)
            };
            assert!(crops.iter().any(|crop| is_this(*crop)), "{image:?}");
        }
    }

    #[test]
    fn a_run_of_before_whitens_the_crop() {
        let set = halves();
        let last = prepared(&set, Some(WhiteningOrder::Last), Whitening::Image);
        for image in &last {
            let (mean, variance) = moments(image);
            assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-4);
        }
        let first = prepared(&set, Some(WhiteningOrder::First), Whitening::Image);
        assert_eq!(first, prepared(&set, None, Whitening::Image));
        assert!(first.iter().any(|image| moments(image).0.abs() > 0.1));
        // By the training set's statistics, both orders are the same.
        let [one, other] = [WhiteningOrder::First, WhiteningOrder::Last]
            .map(|order| prepared(&set, Some(order), Whitening::Channel));
        assert_eq!(one, other);
    }

    #[test]
    fn every_image_of_a_batch_has_its_own_crop() {
        let alike = dataset(1);
        let set = Dataset::new(
            alike.shape,
            alike.class_names.clone(),
            alike.images.repeat(20),
            vec![0; 20],
            false,
        );
        let mut images = vec![0.0; 20 * 192];
        let mut labels = vec![0; 20];
        let indices: Vec<u32> = (0..20).collect();
        let settings = DataSettings {
            upsample: 10,
            ..DataSettings::default()
        };
        batches(&set, &settings).training(&set, &indices, 3, 1, &mut images, &mut labels);
        let different = images
            .chunks(192)
            .filter(|image| *image != &images[..192])
            .count();
        assert!(different > 10, "{different} of 19 differ from the first");
    }

    #[test]
    fn alternating_flips_show_both_sides_of_every_image_in_two_epochs() {
        let set = dataset(40);
        let settings = DataSettings {
            upsample: 8,
            flip: Flip::Alternating,
            ..DataSettings::default()
        };
        let preparer = batches(&set, &settings);
        let is_flipped = |index: u32, epoch: usize| {
            let mut image = vec![0.0; 192];
            preparer.crop(&set, index, 5, epoch, &mut image);
            let plain: Vec<f32> = set.image(index).iter().map(|b| f32::from(*b)).collect();
            let mut mirrored = plain.clone();
            mirrored.chunks_exact_mut(8).for_each(<[f32]>::reverse);
            assert!(image == plain || image == mirrored, "a crop of the whole");
            image == mirrored
        };
        for index in 0..40 {
            let first = is_flipped(index, 1);
            for epoch in 2..7 {
                assert_eq!(is_flipped(index, epoch), first == (epoch % 2 == 1));
            }
        }
        let flipped = (0..40).filter(|index| is_flipped(*index, 1)).count();
        assert!((8..32).contains(&flipped), "{flipped} of 40");
    }

    #[test]
    fn batches_depend_on_seed_epoch_and_index_alone() {
        let set = dataset(4);
        let preparer = batches(
            &set,
            &DataSettings {
                upsample: 10,
                ..DataSettings::default()
            },
        );
        let prepare = |indices: &[u32], epoch: usize| {
            let mut images = vec![0.0; indices.len() * 192];
            let mut labels = vec![0; indices.len()];
            preparer.training(&set, indices, 3, epoch, &mut images, &mut labels);
            images
        };
        assert_eq!(prepare(&[2], 1), prepare(&[0, 2], 1)[192..]);
        assert_ne!(prepare(&[2], 1), prepare(&[2], 2));
        assert_ne!(preparer.shuffled(3, 1), preparer.shuffled(3, 2));
        assert_eq!(preparer.shuffled(3, 1), preparer.shuffled(3, 1));
    }
}
