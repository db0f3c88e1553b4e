//! Charts as SVG: pure functions of the data that they show. Must not know where a chart is used:
//! the page stretches it to any width, a file has a fixed one.

mod axis;
mod curve;
mod decisions;
mod lines;
mod pareto;
mod rewards;

pub use curve::{curve, sparkline};
pub use decisions::{Axis, Choices, Picture, choices, importance, parallel};
pub use lines::lines;
pub use pareto::pareto;
pub use rewards::{position, rewards};

use super::html::escape;
use std::fmt::Write as _;

/// The style of charts: part of the page's style sheet, and embedded in each file.
pub const STYLE: &str = include_str!("chart.css");

/// The size of a chart.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    /// Height of the plot in pixels.
    pub height: u32,
    /// Width of the plot in pixels; None means as wide as the element that contains it.
    pub width: Option<u32>,
}

/// Width and height of a plot of variable width in its own coordinates.
const UNITS: f64 = 1000.0;

/// A plot under construction: its scales and the SVG drawn so far.
struct Plot {
    canvas: Canvas,
    x: (f64, f64),
    y: (f64, f64),
    body: String,
    axes: String,
}

impl Plot {
    fn new(canvas: Canvas, x: (f64, f64), y: (f64, f64)) -> Self {
        let non_empty = |(low, high): (f64, f64)| {
            if high > low {
                (low, high)
            } else {
                (low - 0.5, low + 0.5)
            }
        };
        Self {
            canvas,
            x: non_empty(x),
            y: non_empty(y),
            body: String::new(),
            axes: String::new(),
        }
    }

    /// Width and height in the plot's own coordinates.
    fn size(&self) -> (f64, f64) {
        self.canvas.width.map_or((UNITS, UNITS), |width| {
            (f64::from(width), f64::from(self.canvas.height))
        })
    }

    /// A point as fractions of the width and of the height from the top.
    fn relative_position(&self, x: f64, y: f64) -> (f64, f64) {
        (
            (x - self.x.0) / (self.x.1 - self.x.0),
            (self.y.1 - y) / (self.y.1 - self.y.0),
        )
    }

    fn point(&self, x: f64, y: f64) -> (i64, i64) {
        let (across, down) = self.relative_position(x, y);
        let (width, height) = self.size();
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
            let y =
                (self.relative_position(self.x.0, tick).1 * f64::from(self.canvas.height)).round();
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
            let x = self.relative_position(tick, self.y.0).0 * 100.0;
            let y = self.canvas.height + 18;
            let label = escape(&text(tick));
            let _ = writeln!(
                self.axes,
                "<text class=\"x\" x=\"{x:.1}%\" y=\"{y}\">{label}</text>"
            );
        }
    }

    /// The finished SVG element; `label` describes the chart in words.
    fn finish(self, label: &str) -> String {
        let (width, height) = self.size();
        let outer_width = self
            .canvas
            .width
            .map_or_else(|| "100%".into(), |width| width.to_string());
        let outer_height = self.canvas.height;
        let axes = self.axes;
        format!(
            "<svg class=\"chart\" width=\"{outer_width}\" height=\"{outer_height}\" overflow=\"visible\" role=\"img\" aria-label=\"{}\">\n{axes}\
             <svg width=\"100%\" height=\"{outer_height}\" viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" overflow=\"visible\">\n{}</svg>\
             </svg>\n",
            escape(label),
            self.body
        )
    }
}

/// A complete SVG file with a title above a chart of fixed width.
pub fn file(title: &str, chart: &str, canvas: Canvas) -> String {
    let width = canvas.width.unwrap_or(880) + 84;
    let height = canvas.height + 84;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n<style>{STYLE}\
         .paper {{ fill: var(--surface) }}</style>\n<rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"title\" x=\"60\" y=\"26\">{}</text>\n<svg x=\"60\" y=\"46\" overflow=\"visible\">{chart}</svg></svg>\n",
        escape(title)
    )
}
