//! Reward over trials: points, running mean, best so far, failures.

use super::super::number::grouped;
use super::super::series::RewardShape;
use super::{Canvas, Plot, axis};
use std::fmt::Write as _;

fn scales(shape: &RewardShape) -> ((f64, f64), Vec<f64>) {
    let values = shape.points.iter().map(|(_, reward)| *reward);
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let ticks = if low <= high {
        axis::enclosing(low, high, 4)
    } else {
        vec![0.0, 0.5, 1.0]
    };
    ((0.5, shape.trials.max(1) as f64 + 0.5), ticks)
}

/// Where a trial's point lies: share of the width, and of the height from the top.
pub fn position(shape: &RewardShape, id: u64, reward: f64) -> (f64, f64) {
    let (x, ticks) = scales(shape);
    let canvas = Canvas {
        height: 1,
        width: None,
    };
    let stretch = shape.stretch.max(1) as u64;
    let first = (id - 1) / stretch * stretch;
    let middle = (first as f64 + (first + stretch).min(shape.trials) as f64 + 1.0) / 2.0;
    Plot::new(canvas, x, (ticks[0], ticks[ticks.len() - 1])).place(middle, reward)
}

/// The chart.
pub fn rewards(shape: &RewardShape, canvas: Canvas) -> String {
    let (x, ticks) = scales(shape);
    let mut plot = Plot::new(canvas, x, (ticks[0], ticks[ticks.len() - 1]));
    let digits = axis::digits(&ticks);
    plot.y_axis(&ticks, |value| format!("{value:.digits$}"));
    let whole = axis::within(1.0, shape.trials.max(1) as f64, 6)
        .into_iter()
        .filter(|tick| tick.fract() == 0.0 && *tick >= 1.0);
    plot.x_axis(&whole.collect::<Vec<_>>(), |value| grouped(value as u64));
    let ranges = shape
        .ranges
        .iter()
        .fold(String::new(), |mut d, (x, low, high)| {
            let ((x, low), (_, high)) = (plot.point(*x, *low), plot.point(*x, *high));
            let _ = write!(d, "M{x} {low}V{high}");
            d
        });
    plot.path("range", &ranges);
    if shape.stretch == 1 {
        let class = if shape.points.len() > 150 {
            "points dense"
        } else {
            "points"
        };
        plot.dots(
            class,
            shape
                .points
                .iter()
                .map(|(id, reward)| (*id as f64, *reward)),
        );
    }
    let low = ticks[0] + 0.015 * (ticks[ticks.len() - 1] - ticks[0]);
    plot.dots("failures", shape.failures.iter().map(|x| (*x, low)));
    best(&mut plot, shape);
    plot.line("mean", shape.mean.iter().copied());
    plot.finish(&label(shape))
}

/// A line of steps up to the last trial.
fn best(plot: &mut Plot, shape: &RewardShape) {
    let mut d = String::new();
    for (x, reward) in &shape.best {
        let (x, y) = plot.point(*x, *reward);
        let _ = if d.is_empty() {
            write!(d, "M{x} {y}")
        } else {
            write!(d, "H{x}V{y}")
        };
    }
    if !d.is_empty() {
        let _ = write!(d, "H{}", plot.point(shape.trials as f64 + 0.5, 0.0).0);
    }
    plot.path("best", &d);
}

fn label(shape: &RewardShape) -> String {
    let best = shape.best.last().map_or_else(
        || "no reward yet".into(),
        |(trial, reward)| format!("best {reward:.4}, of trial {trial:.0}"),
    );
    let mean = shape.mean.last().map_or_else(String::new, |(_, mean)| {
        format!("; mean of the last {}: {mean:.4}", shape.window)
    });
    format!("reward over {} trials: {best}{mean}", grouped(shape.trials))
}

#[cfg(test)]
mod tests {
    use super::super::super::series::Series;
    use super::*;

    const CANVAS: Canvas = Canvas {
        height: 240,
        width: None,
    };

    fn long(trials: u64) -> Series {
        let mut series = Series::default();
        for id in 1..=trials {
            let failed = id % 97 == 0;
            series.end(
                id,
                (!failed).then(|| {
                    0.9 * (1.0 - (-(id as f64) / 2e4).exp())
                        + 0.1 * ((id * 7919 % 1000) as f64 / 1000.0)
                }),
            );
        }
        series
    }

    #[test]
    fn a_hundred_thousand_trials_make_a_small_chart() {
        let chart = rewards(&long(100_000).shape(), CANVAS);
        assert!(chart.len() < 16_000, "{} bytes", chart.len());
        let elements = chart.matches('<').count() - chart.matches("</").count();
        let drawn =
            chart.matches('M').count() + chart.matches('L').count() + chart.matches('V').count();
        assert!(
            elements <= 40 && drawn <= 2000,
            "{elements} elements with {drawn} marks"
        );
        assert!(
            chart.contains("reward over 100,000 trials: best 0.9"),
            "{chart}"
        );
    }

    #[test]
    fn an_empty_run_and_one_trial_can_be_drawn() {
        assert!(rewards(&Series::default().shape(), CANVAS).contains("no reward yet"));
        let one = rewards(&long(1).shape(), CANVAS);
        assert_eq!(one.matches("h0").count(), 1);
        assert!(!one.contains("NaN") && !one.contains("inf"), "{one}");
    }

    #[test]
    fn a_point_lies_where_it_is_said_to() {
        let shape = long(10).shape();
        let (across, down) = position(&shape, shape.points[4].0, shape.points[4].1);
        let chart = rewards(&shape, CANVAS);
        assert!(chart.contains(&format!("M{:.0} {:.0}h0", across * 1000.0, down * 1000.0)));
    }
}
