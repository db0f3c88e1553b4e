//! A child's learning curve: its metric, or its training loss, over epochs.

use super::{Canvas, Plot, axis};

/// A curve with axes. `values` are pairs of epoch and value; the x axis ends at `epochs`, or at the
/// last value if that comes later. `text` formats a value with a number of digits.
pub fn curve(
    class: &str,
    values: &[(u64, f64)],
    epochs: u64,
    canvas: Canvas,
    label: &str,
    text: impl Fn(f64, usize) -> String,
) -> String {
    let ticks = extent(values).map_or_else(
        || vec![0.0, 1.0],
        |(low, high)| axis::enclosing(low, high, 3),
    );
    let last = last_epoch(values, epochs);
    let mut plot = Plot::new(
        canvas,
        (1.0, last as f64),
        (ticks[0], ticks[ticks.len() - 1]),
    );
    let digits = axis::digits(&ticks);
    plot.y_axis(&ticks, |value| text(value, digits));
    let mut whole: Vec<f64> = axis::within(1.0, last as f64, 5)
        .into_iter()
        .filter(|tick| tick.fract() == 0.0 && *tick > 1.0)
        .collect();
    // Epoch 1 always has a label; the next tick has one only if there is room.
    let step = whole
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .next()
        .unwrap_or(1.0);
    whole.retain(|tick| *tick - 1.0 > 0.6 * step);
    whole.insert(0, 1.0);
    plot.x_axis(&whole, |value| format!("{value:.0}"));
    draw(&mut plot, class, values, MAX_POINTS);
    plot.finish(label)
}

/// A small curve without axes.
pub fn sparkline(values: &[(u64, f64)], epochs: u64, canvas: Canvas, label: &str) -> String {
    let (low, high) = extent(values).unwrap_or((0.0, 1.0));
    let margin = ((high - low) * 0.12).max(1e-9);
    let mut plot = Plot::new(
        canvas,
        (1.0, last_epoch(values, epochs) as f64),
        (low - margin, high + margin),
    );
    plot.axes.push_str(&format!(
        "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{0}\" y2=\"{0}\"/>\n",
        canvas.height
    ));
    draw(&mut plot, "curve", values, MAX_SPARKLINE_POINTS);
    plot.finish(label)
}

/// Longer curves are thinned out to this many points, since none need be finer than the screen.
const MAX_POINTS: usize = 400;
/// A sparkline is sent again with every epoch, so it has fewer.
const MAX_SPARKLINE_POINTS: usize = 40;

fn draw(plot: &mut Plot, class: &str, values: &[(u64, f64)], max_points: usize) {
    let every = values.len().div_ceil(max_points).max(1);
    let thinned = values
        .iter()
        .enumerate()
        .filter(|(index, _)| index % every == 0 || index + 1 == values.len());
    plot.line(
        class,
        thinned.map(|(_, (epoch, value))| (*epoch as f64, *value)),
    );
    plot.dots(
        &format!("{class} now"),
        values
            .last()
            .map(|(epoch, value)| (*epoch as f64, *value))
            .into_iter(),
    );
}

fn last_epoch(values: &[(u64, f64)], epochs: u64) -> u64 {
    values
        .last()
        .map_or(1, |(epoch, _)| *epoch)
        .max(epochs)
        .max(2)
}

fn extent(values: &[(u64, f64)]) -> Option<(f64, f64)> {
    let fold =
        |(low, high): (f64, f64), (_, value): &(u64, f64)| (low.min(*value), high.max(*value));
    let (low, high) = values.iter().fold((f64::INFINITY, f64::NEG_INFINITY), fold);
    (low <= high).then_some((low, high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_has_its_line_its_last_point_and_epochs_from_1() {
        let canvas = Canvas {
            height: 120,
            width: Some(300),
        };
        let svg = curve(
            "curve",
            &[(1, 0.2), (2, 0.5), (3, 0.4)],
            5,
            canvas,
            "accuracy",
            |value, _| format!("{value:.1}"),
        );
        assert!(
            svg.contains("class=\"curve\" d=\"M0 ")
                && svg.contains("class=\"curve now\" d=\"M150 "),
            "{svg}"
        );
        assert!(
            svg.contains(">1</text>") && svg.contains(">5</text>"),
            "{svg}"
        );
        assert!(sparkline(&[], 5, canvas, "no epoch yet").contains("no epoch yet"));
    }

    #[test]
    fn a_thousand_epochs_stay_small() {
        let values: Vec<(u64, f64)> = (1..=5000)
            .map(|epoch| (epoch, (epoch as f64).ln()))
            .collect();
        assert!(
            sparkline(
                &values,
                5000,
                Canvas {
                    height: 40,
                    width: None
                },
                ""
            )
            .len()
                < 1000
        );
    }
}
