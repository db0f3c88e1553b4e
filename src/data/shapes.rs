//! The figures of the built-in images, as signed distances and periodic patterns. Must not know
//! colours or images.

use std::f32::consts::TAU;

/// A point of the plane, in pixels.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    pub x: f32,
    pub y: f32,
}

/// Position, size and angle of a figure.
pub(super) struct Pose {
    centre: Point,
    /// Half the size of a shape; a pattern's period is derived from it.
    radius: f32,
    sin: f32,
    cos: f32,
}

impl Pose {
    pub(super) fn new(centre: Point, radius: f32, angle: f32) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self {
            centre,
            radius,
            sin,
            cos,
        }
    }

    /// A point in the figure's own axes, in pixels.
    pub(super) fn local(&self, point: Point) -> Point {
        let x = point.x - self.centre.x;
        let y = point.y - self.centre.y;
        Point {
            x: x * self.cos + y * self.sin,
            y: y * self.cos - x * self.sin,
        }
    }

    /// Of a pattern, in pixels: it repeats 2 to 4 times over the image.
    fn period(&self) -> f32 {
        0.7 * self.radius
    }
}

/// How much of the pixel around a local point the figure of this class covers, 0 to 1: edges are
/// one pixel soft.
pub(super) fn coverage(class: usize, point: Point, pose: &Pose) -> f32 {
    let radius = pose.radius;
    let distance = match class {
        0 => point.x.hypot(point.y) - 0.9 * radius,
        1 => (point.x.hypot(point.y) - 0.75 * radius).abs() - 0.2 * radius,
        2 => rectangle(point, 0.78 * radius, 0.78 * radius),
        // The polygon's axis points away from a corner: downwards, so that the triangle stands.
        3 => polygon(
            Point {
                x: point.y,
                y: point.x,
            },
            3,
            0.55 * radius,
        ),
        4 => rectangle(point, radius, 0.28 * radius).min(rectangle(point, 0.28 * radius, radius)),
        5 => wave(point.y, pose.period()) - pose.period() / 4.0,
        6 => wave(point.x, pose.period()) - pose.period() / 4.0,
        7 => checks(point, 1.4 * pose.period()),
        8 => dots(point, pose.period()),
        _ => zigzag(point, pose.period()),
    };
    (0.5 - distance).clamp(0.0, 1.0)
}

/// Distance to the nearest multiple of the period.
fn wave(value: f32, period: f32) -> f32 {
    (value - period * (value / period).round()).abs()
}

fn rectangle(point: Point, half_width: f32, half_height: f32) -> f32 {
    let x = point.x.abs() - half_width;
    let y = point.y.abs() - half_height;
    x.max(0.0).hypot(y.max(0.0)) + x.max(y).min(0.0)
}

/// A regular polygon by the distance of its sides from the centre.
fn polygon(point: Point, sides: u32, apothem: f32) -> f32 {
    let sector = TAU / sides as f32;
    let angle = point.y.atan2(point.x);
    let nearest = sector * (angle / sector).round();
    point.x * nearest.cos() + point.y * nearest.sin() - apothem
}

fn checks(point: Point, period: f32) -> f32 {
    // Both waves are 0 on the centres and period/2 between them: alike on squares of one colour.
    let x = wave(point.x, period) - period / 4.0;
    let y = wave(point.y, period) - period / 4.0;
    let inside = x * y > 0.0;
    let distance = x.abs().min(y.abs());
    if inside { -distance } else { distance }
}

fn dots(point: Point, period: f32) -> f32 {
    wave(point.x, period).hypot(wave(point.y, period)) - 0.3 * period
}

fn zigzag(point: Point, period: f32) -> f32 {
    let shift = 2.0 * wave(point.x, 1.6 * period);
    (wave(point.y + shift, 1.3 * period) - 0.3 * period) * 0.5
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_cover_their_centre_or_not_as_they_should() {
        let pose = Pose::new(Point { x: 16.0, y: 16.0 }, 10.0, 0.3);
        let centre = pose.local(Point { x: 16.0, y: 16.0 });
        let far = Point { x: 14.0, y: 14.0 };
        for class in [0, 2, 3, 4] {
            assert_eq!(
                (coverage(class, centre, &pose), coverage(class, far, &pose)),
                (1.0, 0.0),
                "class {class}"
            );
        }
        assert_eq!(coverage(1, centre, &pose), 0.0);
        assert_eq!(coverage(1, Point { x: 7.5, y: 0.0 }, &pose), 1.0);
    }

    #[test]
    fn a_triangle_stands_and_stripes_run_their_ways() {
        let pose = Pose::new(Point { x: 16.0, y: 16.0 }, 10.0, 0.0);
        let at = |class: usize, x: f32, y: f32| coverage(class, Point { x, y }, &pose);
        // y grows downwards: the tip is above, the base below.
        assert_eq!((at(3, 0.0, -9.0), at(3, 0.0, 9.0)), (1.0, 0.0));
        assert_eq!((at(3, 7.0, 4.0), at(3, 7.0, -4.0)), (1.0, 0.0));
        let middle = pose.period() / 2.0;
        assert_eq!(
            (at(5, 0.0, 0.0), at(5, middle, 0.0), at(5, 0.0, middle)),
            (1.0, 1.0, 0.0)
        );
        assert_eq!(
            (at(6, 0.0, 0.0), at(6, middle, 0.0), at(6, 0.0, middle)),
            (1.0, 0.0, 1.0)
        );
    }
}
