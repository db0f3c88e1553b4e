//! The chart of what networks cost and are worth, and the front of those that none beats.

use super::super::number::compact;
use super::{Canvas, Plot, axis};

/// The chart as an SVG element. Points are pairs of cost and metric; `front` by ascending cost.
/// `text` formats a metric with a number of digits.
pub fn pareto(
    points: &[(f64, f64)],
    front: &[(f64, f64)],
    canvas: Canvas,
    label: &str,
    text: impl Fn(f64, usize) -> String,
) -> String {
    let all = || points.iter().chain(front);
    let extent = |of: fn(&(f64, f64)) -> f64| {
        all()
            .map(of)
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
                (low.min(value), high.max(value))
            })
    };
    let (cheapest, dearest) = extent(|point| point.0);
    let (low, high) = extent(|point| point.1);
    let ticks = |low: f64, high: f64| {
        if low <= high {
            axis::enclosing(low, high, 4)
        } else {
            vec![0.0, 1.0]
        }
    };
    let (x, y) = (ticks(cheapest, dearest), ticks(low, high));
    let ends = |ticks: &[f64]| (ticks[0], ticks[ticks.len() - 1]);
    let mut plot = Plot::new(canvas, ends(&x), ends(&y));
    let digits = axis::digits(&y);
    plot.y_axis(&y, |value| text(value, digits));
    let digits = axis::digits(&x);
    plot.x_axis(&x, |value| cost_text(value, digits));
    let class = if points.len() > 150 {
        "points dense"
    } else {
        "points"
    };
    plot.dots(class, points.iter().copied());
    plot.line("best", steps(front).into_iter());
    plot.dots("failures front", front.iter().copied());
    plot.finish(label)
}

/// The best that there is for each cost: steps.
fn steps(front: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut steps: Vec<(f64, f64)> = Vec::with_capacity(2 * front.len());
    for &(cost, metric) in front {
        steps.extend(steps.last().map(|&(_, before)| (cost, before)));
        steps.push((cost, metric));
    }
    steps
}

fn cost_text(cost: f64, digits: usize) -> String {
    if cost >= 1_000.0 {
        compact(cost.round() as u64)
    } else {
        format!("{cost:.digits$}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_and_front_are_drawn_on_their_scales() {
        let canvas = Canvas {
            height: 200,
            width: Some(400),
        };
        let points = [(1_000.0, 0.5), (2_000.0, 0.4), (3_000.0, 0.8)];
        let front = [points[0], points[2]];
        let percent = |value: f64, _: usize| format!("{:.0}%", 100.0 * value);
        let svg = pareto(&points, &front, canvas, "a front", percent);
        assert!(svg.contains("a front") && svg.contains("%</text>"), "{svg}");
        assert!(svg.contains(">2.00 k</text>"), "{svg}");
        assert_eq!(svg.matches("class=\"best\"").count(), 1);
        assert_eq!(
            steps(&front),
            [(1_000.0, 0.5), (3_000.0, 0.5), (3_000.0, 0.8)]
        );
        let empty = pareto(&[], &[], canvas, "nothing yet", percent);
        assert!(empty.contains("nothing yet"));
    }
}
