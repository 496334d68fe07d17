//! A flame graph as SVG, callers above: a box for each call, as wide as its share, with its whole name when pointed at.

use std::fmt::Write as _;

use super::fold::{Kind, Node};
use super::names::label;
use crate::bench::svg::{escaped, opened};

const WIDTH: usize = 1200;
const ROW: usize = 17;
const TOP: usize = 30;

/// Boxes below this share of all samples are left out, or below a larger one where the graph would be too large.
const LEAST: f64 = 0.005;
const MOST_BYTES: usize = 150 << 10;

/// Of the boxes' font, 11 px and monospaced.
const LETTER: f64 = 6.7;

/// The same letters on the same boxes in both modes.
const STYLE: &str = "rect{stroke:#fff;stroke-width:.5}g text{fill:#111;font:11px monospace}.k{fill:#a9bdd6}.c{fill:#f0a875}\
                     .o{fill:#e8d9a0}";

/// The whole graph.
pub(super) fn svg(title: &str, root: &Node) -> String {
    let mut least = LEAST;
    loop {
        let mut drawing = Drawing { all: root.samples as f64, least, deepest: 0, boxes: String::new() };
        drawing.calls(root, 0.0, 0);
        let height = TOP + (drawing.deepest + 1) * ROW;
        let text = opened(title, (WIDTH, height), 4, STYLE) + &drawing.boxes + "</svg>\n";
        if text.len() <= MOST_BYTES || least > 1.0 {
            return text;
        }
        least *= 2.0;
    }
}

struct Drawing {
    all: f64,
    least: f64,
    deepest: usize,
    boxes: String,
}

impl Drawing {
    /// What a call called, from its left edge on, the largest first.
    fn calls(&mut self, node: &Node, left: f64, row: usize) {
        let mut calls: Vec<_> = node.calls.iter().collect();
        calls.sort_by_key(|(_, node)| std::cmp::Reverse(node.samples));
        let mut x = left;
        for (frame, node) in calls {
            let share = node.samples as f64 / self.all;
            let width = share * WIDTH as f64;
            if share < self.least {
                continue;
            }
            let kind = match frame.kind {
                Kind::Kernel => 'k',
                Kind::Own => 'c',
                Kind::Other => 'o',
            };
            let y = TOP + row * ROW;
            let _ = write!(
                self.boxes,
                "<g><title>{}, {:.1} %</title><rect class=\"{kind}\" x=\"{x:.1}\" y=\"{y}\" width=\"{width:.1}\" height=\"{ROW}\"/>",
                escaped(&frame.name),
                share * 100.0
            );
            if let Some(text) = fitting(label(&frame.name), width) {
                let _ = write!(
                    self.boxes,
                    "<text x=\"{:.1}\" y=\"{}\">{}</text>",
                    x + 2.0,
                    y + 12,
                    escaped(&text)
                );
            }
            self.boxes.push_str("</g>\n");
            self.deepest = self.deepest.max(row);
            self.calls(node, x, row + 1);
            x += width;
        }
    }
}

/// As much of a label as a box of this width has room for; none where that says nothing.
fn fitting(label: &str, width: f64) -> Option<String> {
    let room = ((width - 4.0) / LETTER) as usize;
    if label.chars().count() <= room {
        return Some(label.to_owned());
    }
    (room >= 4).then(|| label.chars().take(room - 1).chain(['…']).collect())
}
