//! Several curves over trials, each with its name. Must not know what they compare.

use super::super::number::grouped;
use super::{Canvas, Plot, axis, escape};

/// Colours that the style sheet has.
const COLOURS: usize = 6;
/// Longer curves are thinned out to this many points.
const MAX_POINTS: usize = 400;

/// A chart of named curves. The value of trial n is at index n − 1.
pub fn lines(curves: &[(&str, Vec<f64>)], canvas: Canvas, label: &str) -> String {
    let values = || curves.iter().flat_map(|(_, curve)| curve.iter().copied());
    let low = values().fold(f64::INFINITY, f64::min);
    let high = values().fold(f64::NEG_INFINITY, f64::max);
    let ticks = if low <= high {
        axis::enclosing(low, high, 4)
    } else {
        vec![0.0, 1.0]
    };
    let trials = curves.iter().map(|(_, curve)| curve.len()).max();
    let trials = trials.unwrap_or(0).max(2);
    let mut plot = Plot::new(
        canvas,
        (1.0, trials as f64),
        (ticks[0], ticks[ticks.len() - 1]),
    );
    let digits = axis::digits(&ticks);
    plot.y_axis(&ticks, |value| format!("{value:.digits$}"));
    let whole = axis::within(1.0, trials as f64, 6)
        .into_iter()
        .filter(|tick| tick.fract() == 0.0 && *tick >= 1.0);
    plot.x_axis(&whole.collect::<Vec<_>>(), |value| grouped(value as u64));
    for (index, (name, curve)) in curves.iter().enumerate() {
        let colour = index % COLOURS;
        let every = curve.len().div_ceil(MAX_POINTS).max(1);
        let points = curve
            .iter()
            .enumerate()
            .filter(|(trial, _)| trial % every == 0 || trial + 1 == curve.len());
        plot.line(
            &format!("line line-{colour}"),
            points.map(|(trial, value)| ((trial + 1) as f64, *value)),
        );
        // The names stand in the lower right corner, where curves that rise leave room.
        let y = f64::from(canvas.height) - 14.0 * (curves.len() - index) as f64;
        plot.axes.push_str(&format!(
            "<text class=\"key line-{colour}\" x=\"99%\" y=\"{y}\" text-anchor=\"end\">{}</text>\n",
            escape(name)
        ));
    }
    plot.finish(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_curve_has_its_line_and_its_name() {
        let canvas = Canvas {
            height: 200,
            width: Some(400),
        };
        let curves = [("a<b", vec![0.1, 0.5]), ("other", vec![0.2; 3_000])];
        let svg = lines(&curves, canvas, "two");
        assert!(svg.contains("a&lt;b") && svg.contains(">other<"), "{svg}");
        assert_eq!(svg.matches("class=\"line line-").count(), 2);
        assert!(svg.len() < 12_000, "{}", svg.len());
        assert!(lines(&[], canvas, "none").contains("none"));
    }
}
