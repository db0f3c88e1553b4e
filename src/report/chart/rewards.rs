//! The chart of rewards over trials: points, running mean, best so far, failures.

use super::super::number::grouped;
use super::super::series::RewardChartData;
use super::{Canvas, Plot, axis};
use crate::child::number_text;
use std::fmt::Write as _;

/// The range of the x axis and the ticks of the y axis.
fn scales(chart_data: &RewardChartData) -> ((f64, f64), Vec<f64>) {
    let values = chart_data.points.iter().map(|(_, reward)| *reward);
    let (low, high) = values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
        (low.min(value), high.max(value))
    });
    let ticks = if low <= high {
        axis::enclosing(low, high, 4)
    } else {
        vec![0.0, 0.5, 1.0]
    };
    ((0.5, chart_data.trials.max(1) as f64 + 0.5), ticks)
}

/// Position of a trial's point, as fractions of the plot's width and of its height from the top.
pub fn position(chart_data: &RewardChartData, id: u64, reward: f64) -> (f64, f64) {
    let (x, ticks) = scales(chart_data);
    let canvas = Canvas {
        height: 1,
        width: None,
    };
    let bucket = chart_data.bucket.max(1) as u64;
    let first = (id - 1) / bucket * bucket;
    let middle = (first as f64 + (first + bucket).min(chart_data.trials) as f64 + 1.0) / 2.0;
    Plot::new(canvas, x, (ticks[0], ticks[ticks.len() - 1])).relative_position(middle, reward)
}

/// The chart as an SVG element.
pub fn rewards(chart_data: &RewardChartData, canvas: Canvas) -> String {
    let (x, ticks) = scales(chart_data);
    let mut plot = Plot::new(canvas, x, (ticks[0], ticks[ticks.len() - 1]));
    let digits = axis::digits(&ticks);
    plot.y_axis(&ticks, |value| number_text(value, digits));
    let whole = axis::within(1.0, chart_data.trials.max(1) as f64, 6)
        .into_iter()
        .filter(|tick| tick.fract() == 0.0 && *tick >= 1.0);
    plot.x_axis(&whole.collect::<Vec<_>>(), |value| grouped(value as u64));
    let ranges = chart_data
        .ranges
        .iter()
        .fold(String::new(), |mut d, (x, low, high)| {
            let ((x, low), (_, high)) = (plot.point(*x, *low), plot.point(*x, *high));
            let _ = write!(d, "M{x} {low}V{high}");
            d
        });
    plot.path("range", &ranges);
    if chart_data.bucket == 1 {
        let class = if chart_data.points.len() > 150 {
            "points dense"
        } else {
            "points"
        };
        plot.dots(
            class,
            chart_data
                .points
                .iter()
                .map(|(id, reward)| (*id as f64, *reward)),
        );
    }
    let low = ticks[0] + 0.015 * (ticks[ticks.len() - 1] - ticks[0]);
    plot.dots("failures", chart_data.failures.iter().map(|x| (*x, low)));
    draw_best(&mut plot, chart_data);
    plot.line("mean", chart_data.mean.iter().copied());
    plot.finish(&label(chart_data))
}

/// Draws the best reward so far as a line of steps up to the last trial.
fn draw_best(plot: &mut Plot, chart_data: &RewardChartData) {
    let mut d = String::new();
    for (x, reward) in &chart_data.best {
        let (x, y) = plot.point(*x, *reward);
        let _ = if d.is_empty() {
            write!(d, "M{x} {y}")
        } else {
            write!(d, "H{x}V{y}")
        };
    }
    if !d.is_empty() {
        let _ = write!(d, "H{}", plot.point(chart_data.trials as f64 + 0.5, 0.0).0);
    }
    plot.path("best", &d);
}

fn label(chart_data: &RewardChartData) -> String {
    let best = chart_data.best.last().map_or_else(
        || "no reward yet".into(),
        |(trial, reward)| {
            let reward = number_text(*reward, 4);
            format!("best {reward}, of trial {trial:.0}")
        },
    );
    let mean = chart_data
        .mean
        .last()
        .map_or_else(String::new, |(_, mean)| {
            let mean = number_text(*mean, 4);
            format!("; mean of the last {}: {mean}", chart_data.window)
        });
    format!(
        "reward over {} trials: {best}{mean}",
        grouped(chart_data.trials)
    )
}

#[cfg(test)]
mod tests {
    use super::super::super::series::Series;
    use super::*;
    use crate::journal::FinalState;

    const CANVAS: Canvas = Canvas {
        height: 240,
        width: None,
    };

    fn long(trials: u64) -> Series {
        let mut series = Series::default();
        for id in 1..=trials {
            let failed = id % 97 == 0;
            series.record(
                id,
                if failed {
                    FinalState::Failed
                } else {
                    FinalState::Completed(
                        0.9 * (1.0 - (-(id as f64) / 2e4).exp())
                            + 0.1 * ((id * 7919 % 1000) as f64 / 1000.0),
                    )
                },
            );
        }
        series
    }

    #[test]
    fn a_hundred_thousand_trials_make_a_small_chart() {
        let chart = rewards(&long(100_000).chart_data(), CANVAS);
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
        assert!(rewards(&Series::default().chart_data(), CANVAS).contains("no reward yet"));
        let one = rewards(&long(1).chart_data(), CANVAS);
        assert_eq!(one.matches("h0").count(), 1);
        assert!(!one.contains("NaN") && !one.contains("inf"), "{one}");
    }

    #[test]
    fn a_point_lies_where_it_is_said_to() {
        let chart_data = long(10).chart_data();
        let (across, down) = position(&chart_data, chart_data.points[4].0, chart_data.points[4].1);
        let chart = rewards(&chart_data, CANVAS);
        assert!(chart.contains(&format!("M{:.0} {:.0}h0", across * 1000.0, down * 1000.0)));
    }
}
