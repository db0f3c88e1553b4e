//! What drawings are made of: boxes, circles, lines and texts whose width is known before anything
//! renders them. Pure; must not know what is drawn.

use super::html::escape;
use std::fmt::Write as _;

/// Sizes of texts, in SVG units: of a drawing shown in its own size, pixels.
pub const TEXT: f64 = 13.0;
pub const SMALL: f64 = 11.0;

/// Room around a drawing.
const MARGIN: f64 = 16.0;

const STYLE: &str = include_str!("drawing.css");

/// A place in the drawing: x to the right, y downwards.
pub type Point = (f64, f64);

/// Which part of a text stands at its point.
#[derive(Clone, Copy)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// Where an arrow points to.
#[derive(Clone, Copy, PartialEq)]
pub enum Direction {
    Left,
    Right,
    Up,
    Down,
}

/// A drawing under construction, as large as what is drawn.
pub struct Drawing {
    body: String,
    /// The corners of what is drawn: the upper left and the lower right one.
    corners: (Point, Point),
}

impl Drawing {
    pub fn new() -> Self {
        let far = f64::INFINITY;
        Self {
            body: String::new(),
            corners: ((far, far), (-far, -far)),
        }
    }

    /// Makes the drawing large enough to hold this point.
    fn reach(&mut self, (x, y): Point) {
        let ((left, top), (right, bottom)) = self.corners;
        self.corners = ((left.min(x), top.min(y)), (right.max(x), bottom.max(y)));
    }

    /// A box of this width and height, given by its upper left corner. `title` is what a browser
    /// shows where the pointer rests.
    pub fn rect(
        &mut self,
        class: &str,
        (x, y): Point,
        (width, height): (f64, f64),
        radius: f64,
        title: &str,
    ) {
        self.reach((x, y));
        self.reach((x + width, y + height));
        let [x, y, width, height, radius] = [x, y, width, height, radius].map(number);
        // Writing to a String cannot fail, here and below.
        let _ = writeln!(
            self.body,
            "<rect class=\"{class}\" x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"{radius}\">{}</rect>",
            title_element(title)
        );
    }

    pub fn circle(&mut self, class: &str, (x, y): Point, radius: f64) {
        self.reach((x - radius, y - radius));
        self.reach((x + radius, y + radius));
        let [x, y, radius] = [x, y, radius].map(number);
        let _ = writeln!(
            self.body,
            "<circle class=\"{class}\" cx=\"{x}\" cy=\"{y}\" r=\"{radius}\"/>"
        );
    }

    /// A text whose baseline is at the point.
    pub fn text(&mut self, class: &str, size: f64, anchor: Anchor, (x, y): Point, text: &str) {
        let width = text_width(text, size);
        let (anchor, left) = match anchor {
            Anchor::Start => ("start", x),
            Anchor::Middle => ("middle", x - width / 2.0),
            Anchor::End => ("end", x - width),
        };
        self.reach((left, y - size));
        self.reach((left + width, y + 0.25 * size));
        let [x, y, size] = [x, y, size].map(number);
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" font-size=\"{size}\" text-anchor=\"{anchor}\">{}</text>",
            escape(text)
        );
    }

    pub fn line(&mut self, class: &str, from: Point, to: Point) {
        self.reach(from);
        self.reach(to);
        let [x, y, to_x, to_y] = [from.0, from.1, to.0, to.1].map(number);
        let _ = writeln!(
            self.body,
            "<path class=\"{class}\" d=\"M{x} {y}L{to_x} {to_y}\"/>"
        );
    }

    /// A line that leaves its start to the right, runs level up to `bend` and then swings to its
    /// end.
    pub fn swing(&mut self, class: &str, from: Point, bend: f64, to: Point) {
        self.reach(from);
        self.reach(to);
        let middle = f64::midpoint(bend, to.0);
        let [x, y, bend, middle, to_x, to_y] =
            [from.0, from.1, bend, middle, to.0, to.1].map(number);
        let _ = writeln!(
            self.body,
            "<path class=\"{class}\" d=\"M{x} {y}H{bend}C{middle} {y} {middle} {to_y} {to_x} {to_y}\"/>"
        );
    }

    /// An arc between two points one below the other, which goes `bow` to the right of them, or to
    /// the left if that is negative.
    pub fn arc(&mut self, class: &str, from: Point, to: Point, bow: f64, title: &str) {
        let side = f64::midpoint(from.0, to.0) + bow;
        self.reach((side, from.1));
        self.reach((side, to.1));
        // A cubic curve goes three quarters of the way to its two control points.
        let control = bow * 4.0 / 3.0;
        let [x, y, to_x, to_y, out, back] =
            [from.0, from.1, to.0, to.1, from.0 + control, to.0 + control].map(number);
        let _ = writeln!(
            self.body,
            "<path class=\"{class}\" d=\"M{x} {y}C{out} {y} {back} {to_y} {to_x} {to_y}\">{}</path>",
            title_element(title)
        );
    }

    /// The tip of an arrow that ends at this point.
    pub fn tip(&mut self, class: &str, (x, y): Point, direction: Direction) {
        self.reach((x, y));
        let (along, across) = (7.0, 3.5);
        let [first, second] = match direction {
            Direction::Left => [(x + along, y - across), (x + along, y + across)],
            Direction::Right => [(x - along, y - across), (x - along, y + across)],
            Direction::Up => [(x - across, y + along), (x + across, y + along)],
            Direction::Down => [(x - across, y - along), (x + across, y - along)],
        };
        let [x, y, x1, y1, x2, y2] = [x, y, first.0, first.1, second.0, second.1].map(number);
        let _ = writeln!(
            self.body,
            "<path class=\"{class}\" d=\"M{x} {y}L{x1} {y1}L{x2} {y2}z\"/>"
        );
    }

    /// The finished SVG, which can stand alone or inside of HTML. `label` says in words what it
    /// shows.
    pub fn finish(self, label: &str) -> String {
        let ((left, top), (right, bottom)) = self.corners;
        let (left, top) = (left.floor() - MARGIN, top.floor() - MARGIN);
        let (width, height) = (right.ceil() + MARGIN - left, bottom.ceil() + MARGIN - top);
        let body = self.body;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"architecture\" viewBox=\"{left} {top} {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"system-ui, sans-serif\" role=\"img\" aria-label=\"{}\">\n<style>\n{STYLE}</style>\n\
             <rect class=\"paper\" x=\"{left}\" y=\"{top}\" width=\"{width}\" height=\"{height}\"/>\n{body}</svg>\n",
            escape(label)
        )
    }
}

fn title_element(title: &str) -> String {
    if title.is_empty() {
        String::new()
    } else {
        format!("<title>{}</title>", escape(title))
    }
}

/// A coordinate with one digit after the point, or none.
fn number(value: f64) -> String {
    let text = format!("{value:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
}

/// No less than the width of a text in the fonts that `system-ui` stands for; DejaVu Sans is the
/// widest of those that are usual.
pub fn text_width(text: &str, size: f64) -> f64 {
    text.chars().map(glyph_width).sum::<f64>() * size
}

/// In ems.
fn glyph_width(character: char) -> f64 {
    match character {
        'i' | 'j' | 'l' | ' ' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.34,
        'f' | 't' | 'r' | '(' | ')' | '-' | '/' => 0.42,
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 1.0,
        '0'..='9' | 'a'..='z' => 0.64,
        'A'..='Z' => 0.8,
        _ => 0.9,
    }
}

#[cfg(test)]
pub(super) mod legible {
    //! Whether a drawing can be read: from its own elements, as it is shown 1,200 pixels wide.

    use super::text_width;

    /// Left, top, right and bottom.
    type Area = [f64; 4];

    const WIDTH: f64 = 1200.0;
    const SMALLEST: f64 = 9.0;

    fn attribute(element: &str, name: &str) -> f64 {
        let start = format!(" {name}=\"");
        let value = element
            .split(&start)
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        value
            .unwrap_or_else(|| panic!("no {name} in {element}"))
            .parse()
            .unwrap()
    }

    /// The elements of this name, without their ends.
    fn elements<'a>(svg: &'a str, name: &str) -> Vec<&'a str> {
        svg.split(&format!("<{name} ")).skip(1).collect()
    }

    /// Size in pixels and area of each text.
    pub fn texts(svg: &str) -> Vec<(String, f64, Area)> {
        let text = |element: &&str| {
            let element = format!(" {element}");
            let shown = element.split('>').nth(1).unwrap();
            let shown = shown.split('<').next().unwrap().replace("&#39;", "'");
            let size = attribute(&element, "font-size");
            let (x, y) = (attribute(&element, "x"), attribute(&element, "y"));
            let width = text_width(&shown, size);
            let left = match element.split("text-anchor=\"").nth(1).unwrap() {
                rest if rest.starts_with("start") => x,
                rest if rest.starts_with("middle") => x - width / 2.0,
                _ => x - width,
            };
            (shown, size, [left, y - size, left + width, y + 0.25 * size])
        };
        elements(svg, "text").iter().map(text).collect()
    }

    /// Boxes and circles that texts stand in.
    fn shapes(svg: &str) -> Vec<Area> {
        let rects = elements(svg, "rect");
        let rects = rects
            .iter()
            .filter(|element| !element.starts_with("class=\"paper\""));
        let rects = rects.map(|element| {
            let element = format!(" {element}");
            let [x, y, width, height] =
                ["x", "y", "width", "height"].map(|name| attribute(&element, name));
            [x, y, x + width, y + height]
        });
        let circles = elements(svg, "circle");
        let circles = circles.iter().map(|element| {
            let [x, y, radius] = ["cx", "cy", "r"].map(|name| attribute(element, name));
            [x - radius, y - radius, x + radius, y + radius]
        });
        rects.chain(circles).collect()
    }

    fn overlap(a: &Area, b: &Area) -> bool {
        a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3]
    }

    fn contains(outer: &Area, inner: &Area) -> bool {
        outer[0] <= inner[0] && outer[1] <= inner[1] && outer[2] >= inner[2] && outer[3] >= inner[3]
    }

    /// Panics unless every text is within the picture, 9 pixels high or higher, touches no other
    /// one and no border of a box or circle.
    pub fn assert_legible(svg: &str) {
        let view: Vec<f64> = svg
            .split("viewBox=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next())
            .unwrap()
            .split(' ')
            .map(|number| number.parse().unwrap())
            .collect();
        let picture = [view[0], view[1], view[0] + view[2], view[1] + view[3]];
        let scale = WIDTH / view[2];
        let (texts, shapes) = (texts(svg), shapes(svg));
        assert!(!texts.is_empty() && !shapes.is_empty());
        for (index, (text, size, area)) in texts.iter().enumerate() {
            let pixels = size * scale;
            assert!(pixels >= SMALLEST, "{text:?} is {pixels:.1} pixels high");
            assert!(contains(&picture, area), "{text:?} leaves the picture");
            for (other, _, other_area) in &texts[index + 1..] {
                assert!(!overlap(area, other_area), "{text:?} touches {other:?}");
            }
            for shape in &shapes {
                // Capitals and digits leave room above and below.
                let glyphs = [
                    area[0],
                    area[1] + 0.2 * size,
                    area[2],
                    area[3] - 0.25 * size,
                ];
                assert!(
                    contains(shape, &glyphs) || !overlap(shape, &glyphs),
                    "{text:?} crosses the border {shape:?}"
                );
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_found() {
        use super::{Anchor, Drawing};
        let found = |draw: &dyn Fn(&mut Drawing)| {
            let mut drawing = Drawing::new();
            drawing.rect("conv", (0.0, 0.0), (100.0, 30.0), 4.0, "");
            draw(&mut drawing);
            let svg = drawing.finish("a test");
            std::panic::catch_unwind(|| assert_legible(&svg)).is_err()
        };
        let text = |x: f64, size: f64| {
            move |drawing: &mut Drawing| drawing.text("", size, Anchor::Start, (x, 20.0), "3x3")
        };
        assert!(!found(&text(10.0, 13.0)));
        assert!(found(&text(90.0, 13.0)), "it crosses the border");
        assert!(found(&|drawing: &mut Drawing| {
            text(10.0, 13.0)(drawing);
            text(20.0, 13.0)(drawing);
        }));
        assert!(found(&|drawing: &mut Drawing| {
            drawing.rect("conv", (0.0, 40.0), (3000.0, 30.0), 4.0, "");
            text(10.0, 13.0)(drawing);
        }));
    }
}
