//! Charts as SVG. Pure functions of what they show; must not know where a chart ends up: the page
//! stretches it to any width, a file has a fixed one.

mod axis;
mod curve;
mod rewards;

pub use curve::{curve, sparkline};
pub use rewards::{position, rewards};

use super::html::escape;
use std::fmt::Write as _;

/// How charts look: the page has it in its own style sheet, a file carries it.
pub const STYLE: &str = include_str!("chart.css");

/// Where a chart is drawn.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    /// Height of the plot in pixels.
    pub height: u32,
    /// Width of the plot in pixels; None: as wide as what it stands in.
    pub width: Option<u32>,
}

/// Inner units across a plot of any width.
const UNITS: f64 = 1000.0;

/// A plot with its scales.
struct Plot {
    canvas: Canvas,
    x: (f64, f64),
    y: (f64, f64),
    body: String,
    axes: String,
}

impl Plot {
    fn new(canvas: Canvas, x: (f64, f64), y: (f64, f64)) -> Self {
        let spread = |(low, high): (f64, f64)| {
            if high > low {
                (low, high)
            } else {
                (low - 0.5, low + 0.5)
            }
        };
        Self {
            canvas,
            x: spread(x),
            y: spread(y),
            body: String::new(),
            axes: String::new(),
        }
    }

    fn units(&self) -> (f64, f64) {
        self.canvas.width.map_or((UNITS, UNITS), |width| {
            (f64::from(width), f64::from(self.canvas.height))
        })
    }

    /// Share of the width, and of the height from the top.
    fn place(&self, x: f64, y: f64) -> (f64, f64) {
        (
            (x - self.x.0) / (self.x.1 - self.x.0),
            (self.y.1 - y) / (self.y.1 - self.y.0),
        )
    }

    fn point(&self, x: f64, y: f64) -> (i64, i64) {
        let ((across, down), (width, height)) = (self.place(x, y), self.units());
        (
            (across * width).round() as i64,
            (down * height).round() as i64,
        )
    }

    fn path(&mut self, class: &str, d: &str) {
        if !d.is_empty() {
            let _ = writeln!(self.body, "<path class=\"{class}\" d=\"{d}\"/>");
        }
    }

    fn dots(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let d: String =
            points
                .map(|(x, y)| self.point(x, y))
                .fold(String::new(), |mut d, (x, y)| {
                    let _ = write!(d, "M{x} {y}h0");
                    d
                });
        self.path(class, &d);
    }

    fn line(&mut self, class: &str, points: impl Iterator<Item = (f64, f64)>) {
        let d = points
            .map(|(x, y)| self.point(x, y))
            .fold(String::new(), |mut d, (x, y)| {
                let _ = write!(d, "{}{x} {y}", if d.is_empty() { 'M' } else { 'L' });
                d
            });
        self.path(class, &d);
    }

    /// Horizontal grid lines with their values on the left.
    fn y_axis(&mut self, ticks: &[f64], text: impl Fn(f64) -> String) {
        for &tick in ticks {
            let y = (self.place(self.x.0, tick).1 * f64::from(self.canvas.height)).round();
            let label = escape(&text(tick));
            let _ = writeln!(
                self.axes,
                "<line class=\"grid\" x1=\"0\" x2=\"100%\" y1=\"{y}\" y2=\"{y}\"/><text class=\"y\" x=\"-8\" y=\"{y}\" dy=\"4\">{label}</text>"
            );
        }
    }

    /// Values below the plot.
    fn x_axis(&mut self, ticks: &[f64], text: impl Fn(f64) -> String) {
        for &tick in ticks {
            let x = self.place(tick, self.y.0).0 * 100.0;
            let (y, label) = (self.canvas.height + 18, escape(&text(tick)));
            let _ = writeln!(
                self.axes,
                "<text class=\"x\" x=\"{x:.1}%\" y=\"{y}\">{label}</text>"
            );
        }
    }

    /// The whole, with what it says in words.
    fn finish(self, label: &str) -> String {
        let (width, height) = self.units();
        let (outer, high, axes) = (
            self.canvas
                .width
                .map_or_else(|| "100%".into(), |width| width.to_string()),
            self.canvas.height,
            self.axes,
        );
        format!(
            "<svg class=\"chart\" width=\"{outer}\" height=\"{high}\" overflow=\"visible\" role=\"img\" aria-label=\"{}\">\n{axes}\
             <svg width=\"100%\" height=\"{high}\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" overflow=\"visible\">\n{}</svg>\
             </svg>\n",
            escape(label),
            self.body
        )
    }
}

/// A chart of fixed width as a file of its own, under a title.
pub fn file(title: &str, chart: &str, canvas: Canvas) -> String {
    let (width, height) = (canvas.width.unwrap_or(880) + 84, canvas.height + 84);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n<style>{STYLE}\
         .paper {{ fill: var(--surface) }}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"60\" y=\"26\">{}</text>\n<svg x=\"60\" y=\"46\" overflow=\"visible\">{chart}</svg></svg>\n",
        escape(title)
    )
}
