//! What a search has learned of its decisions, as pictures: how much each explains, what the best
//! trials have in common, what is chosen more and more. Of fixed width, since they are full of
//! words. Must not know where the numbers are from.

use super::super::html::escape;
use super::super::number::{grouped, percent};
use super::Canvas;
use std::fmt::Write as _;

/// Width of all of them in pixels.
pub const WIDTH: u32 = 880;

/// A drawing and its size.
#[derive(Clone, Debug)]
pub struct Picture {
    pub svg: String,
    pub canvas: Canvas,
}

impl Picture {
    /// `label` describes it in words.
    fn new(body: &str, height: u32, label: &str) -> Self {
        let label = escape(label);
        Self {
            svg: format!(
                "<svg class=\"chart\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{label}\">\n{body}</svg>\n"
            ),
            canvas: Canvas {
                height,
                width: Some(WIDTH),
            },
        }
    }
}

// ---------------------------------------------------------------------------------------- importance

/// Bars beyond which there are two columns of them.
const ONE_COLUMN: usize = 14;
const BAR_PITCH: u32 = 22;
const NAME_WIDTH: u32 = 190;
const VALUE_WIDTH: u32 = 48;

/// Shares of the variance of the reward, the largest first, as bars.
pub fn importance(shares: &[(&str, f64)], label: &str) -> Picture {
    let columns = if shares.len() > ONE_COLUMN { 2 } else { 1 };
    let in_column = shares.len().div_ceil(columns).max(1);
    let gap = 24;
    let width = (WIDTH - gap * (columns as u32 - 1)) / columns as u32;
    let longest = f64::from(width - NAME_WIDTH - VALUE_WIDTH);
    let largest = shares.iter().map(|(_, share)| *share).fold(1e-9, f64::max);
    let mut body = String::new();
    for (index, (name, share)) in shares.iter().enumerate() {
        let left = (width + gap) * (index / in_column) as u32;
        let y = BAR_PITCH * (index % in_column) as u32;
        let bar = (share.max(0.0) / largest * longest).max(1.0);
        let (baseline, start) = (y + 15, left + NAME_WIDTH);
        let end = f64::from(start) + bar + 6.0;
        let _ = writeln!(
            body,
            "<g>{}<text class=\"name\" x=\"{}\" y=\"{baseline}\">{}</text><rect class=\"bar\" x=\"{start}\" y=\"{}\" width=\"{bar:.0}\" height=\"14\"/>\
             <text x=\"{end:.0}\" y=\"{baseline}\">{}</text></g>",
            title(name),
            start - 8,
            escape(&shortened(name, 28)),
            y + 4,
            escape(&percent(*share))
        );
    }
    Picture::new(&body, BAR_PITCH * in_column as u32, label)
}

// ------------------------------------------------------------------------------ parallel coordinates

/// A decision and its options; an option that is None in a line is not decided there.
#[derive(Clone, Debug)]
pub struct Axis<'a> {
    pub name: &'a str,
    pub options: &'a [String],
    pub is_ordered: bool,
}

/// Axes in a row of the drawing; the next row begins with the last axis of the one before.
const AXES: usize = 9;
const AXIS_HEIGHT: u32 = 130;
const ROW_PITCH: u32 = AXIS_HEIGHT + 58;
const SIDE: u32 = 46;
/// Options of an axis that are named each.
const NAMED_OPTIONS: usize = 9;

/// Lines through the options that each of them has, the best line first: `lines[line][axis]`.
pub fn parallel(axes: &[Axis], lines: &[Vec<Option<usize>>], label: &str) -> Picture {
    let new_in_row = AXES - 1;
    let rows = axes.len().saturating_sub(1).div_ceil(new_in_row).max(1);
    let in_row = if rows == 1 { axes.len() } else { AXES };
    let step = f64::from(WIDTH - 2 * SIDE) / in_row.saturating_sub(1).max(1) as f64;
    let mut body = String::new();
    for row in 0..rows {
        let first = row * new_in_row;
        let shown = &axes[first.min(axes.len())..(first + in_row).min(axes.len())];
        let top = f64::from(ROW_PITCH * row as u32 + 8);
        let slots: Vec<Slots> = (0..shown.len())
            .map(|index| Slots {
                x: f64::from(SIDE) + step * index as f64,
                top,
                options: shown[index].options.len(),
                has_undecided: lines.iter().any(|line| line[first + index].is_none()),
            })
            .collect();
        for (axis, slots) in shown.iter().zip(&slots) {
            draw_axis(&mut body, axis, slots);
        }
        // The best lies above the others.
        for (rank, line) in lines.iter().enumerate().rev() {
            let offset = offset(rank, lines.len());
            let points = slots
                .iter()
                .zip(&line[first..])
                .map(|(slots, option)| (slots.x, slots.y(*option, offset)));
            let class = if rank == 0 { "way first" } else { "way" };
            let _ = writeln!(body, "<path class=\"{class}\" d=\"{}\"/>", path(points));
        }
        for (axis, slots) in shown.iter().zip(&slots) {
            draw_options(&mut body, axis, slots);
        }
    }
    Picture::new(&body, ROW_PITCH * rows as u32, label)
}

/// Where the options of one axis lie: each in a slot of equal height, the last one uppermost.
struct Slots {
    x: f64,
    top: f64,
    options: usize,
    /// There is one more slot, the lowest.
    has_undecided: bool,
}

impl Slots {
    fn height(&self) -> f64 {
        f64::from(AXIS_HEIGHT) / (self.options + usize::from(self.has_undecided)).max(1) as f64
    }

    /// `offset`: from the middle of the slot, in halves of it.
    fn y(&self, option: Option<usize>, offset: f64) -> f64 {
        let from_below = match option {
            Some(option) => option + usize::from(self.has_undecided),
            None => 0,
        };
        let middle = (from_below as f64 + 0.5) * self.height();
        self.top + f64::from(AXIS_HEIGHT) - middle - offset * (0.36 * self.height()).min(22.0)
    }
}

/// Lines through the same option lie side by side, the best uppermost: −1 to 1.
fn offset(rank: usize, lines: usize) -> f64 {
    1.0 - 2.0 * (rank as f64 + 0.5) / lines.max(1) as f64
}

fn draw_axis(body: &mut String, axis: &Axis, slots: &Slots) {
    let (x, bottom) = (slots.x, slots.top + f64::from(AXIS_HEIGHT));
    let _ = writeln!(
        body,
        "<line class=\"grid\" x1=\"{x:.0}\" x2=\"{x:.0}\" y1=\"{:.0}\" y2=\"{bottom:.0}\"/>",
        slots.top
    );
    let [one, other] = two_lines(axis.name);
    let _ = writeln!(
        body,
        "<g>{}<text class=\"x\" x=\"{x:.0}\" y=\"{:.0}\">{}</text><text class=\"x\" x=\"{x:.0}\" y=\"{:.0}\">{}</text></g>",
        title(axis.name),
        bottom + 18.0,
        escape(&one),
        bottom + 32.0,
        escape(&other)
    );
}

fn draw_options(body: &mut String, axis: &Axis, slots: &Slots) {
    let count = axis.options.len();
    let every = count.div_ceil(NAMED_OPTIONS);
    let named = axis.options.iter().enumerate();
    let named = named
        .filter(|(index, _)| index % every == 0 || index + 1 == count)
        .map(|(index, text)| (Some(index), text.as_str()));
    for (option, text) in named.chain(slots.has_undecided.then_some((None, "–"))) {
        let _ = writeln!(
            body,
            "<text class=\"option\" x=\"{:.0}\" y=\"{:.0}\">{}</text>",
            slots.x + 5.0,
            slots.y(option, 0.0) + 4.0,
            escape(&shortened(text, 11))
        );
    }
}

// ------------------------------------------------------------------------------- options over time

/// How often each option was chosen, at several points of time.
#[derive(Clone, Debug)]
pub struct Choices<'a> {
    pub decision: Axis<'a>,
    /// For each point, how often each option was chosen, and last how often it was not decided.
    pub counts: Vec<Vec<u32>>,
}

const CELLS: usize = 4;
const CELL_HEIGHT: u32 = 66;
const CELL_PITCH: u32 = CELL_HEIGHT + 46;
const CELL_GAP: u32 = 16;
const OPTION_WIDTH: u32 = 52;
/// Share of an option whose name there is room for.
const NAMED_SHARE: f64 = 0.17;
/// Colours of options without order.
const COLOURS: usize = 6;

/// For each decision a small chart: the share of each option, stacked, over trials. `points`: the
/// trial at each point of time.
pub fn choices(points: &[u64], decisions: &[Choices], label: &str) -> Picture {
    let cells = decisions.len().clamp(1, CELLS) as u32;
    let width = (WIDTH - CELL_GAP * (cells - 1)) / cells;
    let rows = (decisions.len() as u32).div_ceil(cells).max(1);
    let mut body = String::new();
    for (index, choices) in decisions.iter().enumerate() {
        let (row, column) = (index as u32 / cells, index as u32 % cells);
        let _ = writeln!(
            body,
            "<g transform=\"translate({} {})\">{}",
            (width + CELL_GAP) * column,
            CELL_PITCH * row,
            title(choices.decision.name)
        );
        draw_choices(&mut body, points, choices, width);
        body.push_str("</g>\n");
    }
    Picture::new(&body, CELL_PITCH * rows, label)
}

fn draw_choices(body: &mut String, points: &[u64], choices: &Choices, width: u32) {
    let plot = width - OPTION_WIDTH;
    let options = choices.decision.options.len();
    let _ = writeln!(
        body,
        "<text class=\"heading\" x=\"0\" y=\"12\">{}</text>",
        escape(&shortened(choices.decision.name, (width / 7) as usize))
    );
    let (first, last) = (points.first(), points.last());
    let (Some(&first), Some(&last)) = (first, last) else {
        return;
    };
    let x = |trial: u64| {
        let share = (trial - first) as f64 / (last - first).max(1) as f64;
        (share * f64::from(plot)).round()
    };
    let top = 18.0;
    let y = |below: f64| (top + (1.0 - below) * f64::from(CELL_HEIGHT)).round();
    let mut floor = vec![0.0; points.len()];
    // What is not decided lies lowest, as on the axes.
    for option in std::iter::once(options).chain(0..options) {
        let shares = choices.counts.iter().map(|counts| {
            let all: u32 = counts.iter().sum();
            f64::from(counts.get(option).copied().unwrap_or(0)) / f64::from(all.max(1))
        });
        let ceiling: Vec<f64> = floor.iter().zip(shares).map(|(a, b)| a + b).collect();
        let (lower, upper) = (floor[points.len() - 1], ceiling[points.len() - 1]);
        if ceiling.iter().zip(&floor).any(|(a, b)| a > b) {
            let edge = |heights: &[f64]| -> Vec<(f64, f64)> {
                let pairs = points.iter().zip(heights);
                pairs
                    .map(|(trial, height)| (x(*trial), y(*height)))
                    .collect()
            };
            let mut outline = edge(&ceiling);
            // One point alone is a block as wide as the chart.
            if outline.len() == 1 {
                outline.push((f64::from(plot), outline[0].1));
            }
            let mut back = edge(&floor);
            if back.len() == 1 {
                back.push((f64::from(plot), back[0].1));
            }
            outline.extend(back.into_iter().rev());
            let style = fill(&choices.decision, option);
            let _ = writeln!(body, "<path {style} d=\"{}z\"/>", path(outline.into_iter()));
        }
        if upper - lower >= NAMED_SHARE {
            let text = choices
                .decision
                .options
                .get(option)
                .map_or("–", String::as_str);
            let _ = writeln!(
                body,
                "<text class=\"option\" x=\"{}\" y=\"{:.0}\">{}</text>",
                plot + 5,
                y(f64::midpoint(lower, upper)) + 4.0,
                escape(&shortened(text, 8))
            );
        }
        floor = ceiling;
    }
    let below = CELL_HEIGHT + 32;
    let _ = writeln!(
        body,
        "<text x=\"0\" y=\"{below}\">{}</text><text class=\"y\" x=\"{plot}\" y=\"{below}\">{}</text>",
        grouped(first),
        grouped(last)
    );
}

/// Numbers from light to dark, words in colours of their own.
fn fill(decision: &Axis, option: usize) -> String {
    let options = decision.options.len();
    if option >= options {
        return "class=\"area undecided\"".into();
    }
    if decision.is_ordered || options > COLOURS {
        let share = option as f64 / (options - 1).max(1) as f64;
        return format!(
            "class=\"area shade\" fill-opacity=\"{:.2}\"",
            0.16 + 0.8 * share
        );
    }
    format!("class=\"area line-{option}\"")
}

// ------------------------------------------------------------------------------------------- details

/// What a pointer that rests on it shows.
fn title(text: &str) -> String {
    format!("<title>{}</title>", escape(text))
}

/// A line through these points, rounded to pixels, each told by its distance from the one before.
fn path(points: impl Iterator<Item = (f64, f64)>) -> String {
    let mut d = String::new();
    let mut last = (0, 0);
    for (index, (x, y)) in points.enumerate() {
        let point = (x.round() as i64, y.round() as i64);
        let (right, down) = (point.0 - last.0, point.1 - last.1);
        let command = ["M", "l"].get(index).unwrap_or(&" ");
        let between = if down < 0 { "" } else { " " };
        let _ = write!(d, "{command}{right}{between}{down}");
        last = point;
    }
    d
}

/// The first `max_chars` characters of a text.
fn shortened(text: &str, max_chars: usize) -> String {
    if text.chars().count() <= max_chars {
        return text.to_owned();
    }
    text.chars().take(max_chars - 1).chain(['…']).collect()
}

/// A name in two lines, parted at the space nearest to its middle where it is long.
fn two_lines(name: &str) -> [String; 2] {
    const LINE: usize = 14;
    if name.chars().count() <= LINE {
        return [name.to_owned(), String::new()];
    }
    let middle = name.len() / 2;
    let parted = name
        .match_indices([' ', '_', '-'])
        .map(|(place, _)| place)
        .min_by_key(|place| place.abs_diff(middle));
    match parted {
        Some(place) => {
            let (one, other) = name.split_at(place);
            [one, other.trim_start()].map(|line| shortened(line, LINE))
        }
        None => [shortened(name, LINE), String::new()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn bars_are_as_long_as_the_shares_and_many_stand_in_two_columns() {
        let few = importance(&[("filters", 0.5), ("a<b", 0.25)], "what matters");
        assert!(
            few.svg.contains("a&lt;b") && few.svg.contains("50%"),
            "{}",
            few.svg
        );
        let width = |nth: usize| -> f64 {
            let bars: Vec<&str> = few.svg.split("class=\"bar\"").collect();
            let width = bars[nth + 1].split("width=\"").nth(1).unwrap();
            width.split('"').next().unwrap().parse().unwrap()
        };
        assert!((width(0) / width(1) - 2.0).abs() < 0.01);
        let many = importance(&[("one", 0.1); 40], "");
        assert_eq!(many.canvas.height, 20 * BAR_PITCH);
    }

    #[test]
    fn a_line_goes_through_the_options_it_has() {
        let options = texts(&["1", "3", "5"]);
        let axis = |name| Axis {
            name,
            options: &options,
            is_ordered: true,
        };
        let lines = [vec![Some(0), Some(2)], vec![Some(0), None]];
        let picture = parallel(&[axis("height"), axis("width")], &lines, "the best");
        assert_eq!(picture.svg.matches("class=\"way").count(), 2);
        assert_eq!(picture.svg.matches("class=\"way first\"").count(), 1);
        // Three options on the left, a fourth place for what is not decided on the right.
        assert_eq!(picture.svg.matches("class=\"option\"").count(), 3 + 4);
        assert!(!picture.svg.contains("NaN"), "{}", picture.svg);
    }

    #[test]
    fn forty_decisions_stay_small() {
        let options = texts(&["1", "3", "5", "7"]);
        let names: Vec<String> = (0..40)
            .map(|n| format!("layer {n} filter height"))
            .collect();
        let axes: Vec<Axis> = names
            .iter()
            .map(|name| Axis {
                name,
                options: &options,
                is_ordered: true,
            })
            .collect();
        let lines: Vec<Vec<Option<usize>>> = (0..60)
            .map(|line| (0..40).map(|axis| Some((line * axis) % 4)).collect())
            .collect();
        let drawn = parallel(&axes, &lines, "");
        assert!(drawn.svg.len() < 60_000, "{}", drawn.svg.len());
        let points: Vec<u64> = (1..=32).map(|point| point * 1024).collect();
        let all: Vec<Choices> = axes
            .iter()
            .map(|decision| Choices {
                decision: decision.clone(),
                counts: (0..32).map(|n| vec![n, 2 * n, 9, 40 - n, 0]).collect(),
            })
            .collect();
        let drawn = choices(&points, &all, "");
        assert!(drawn.svg.len() < 80_000, "{}", drawn.svg.len());
        assert!(drawn.svg.contains("1,024") && drawn.svg.contains("32,768"));
    }

    #[test]
    fn one_point_and_none_can_be_drawn() {
        let options = texts(&["adam", "sgd"]);
        let decision = Axis {
            name: "optimiser",
            options: &options,
            is_ordered: false,
        };
        let one = [Choices {
            decision: decision.clone(),
            counts: vec![vec![3, 1, 0]],
        }];
        let drawn = choices(&[1], &one, "");
        assert_eq!(drawn.svg.matches("class=\"area line-").count(), 2);
        assert!(drawn.svg.contains(">adam<") && drawn.svg.contains(">sgd<"));
        let none = [Choices {
            decision,
            counts: Vec::new(),
        }];
        assert!(
            choices(&[], &none, "nothing yet")
                .svg
                .contains("nothing yet")
        );
    }
}
