//! A bar chart as SVG.

use std::fmt::Write as _;

use crate::bench::svg::{escaped, opened};

/// One line of the chart.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) value: f64,
    /// Colophon's own, in another colour.
    pub(super) own: bool,
}

const ROW: usize = 26;
const LEFT: usize = 190;
const WIDTH: usize = 760;

/// Bars in the order given, the longest filling the chart.
pub(super) fn svg(title: &str, bars: &[Bar]) -> String {
    let most = bars.iter().map(|bar| bar.value).fold(1.0, f64::max);
    let height = 40 + bars.len() * ROW;
    let mut text = opened(title, (WIDTH, height), LEFT, "");
    for (row, bar) in bars.iter().enumerate() {
        let y = 34 + row * ROW;
        // Room for the figure behind the bar.
        let length = (bar.value / most * (WIDTH - LEFT - 80) as f64).max(1.0);
        let colour = if bar.own { "#c2571a" } else { "#7a8ca3" };
        let _ = writeln!(
            text,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{length:.0}\" height=\"18\" fill=\"{colour}\"/>\
             <text x=\"{:.0}\" y=\"{}\">{:.0}</text>",
            LEFT - 8,
            y + 14,
            escaped(&bar.name.replace('*', "")),
            LEFT as f64 + length + 6.0,
            y + 14,
            bar.value
        );
    }
    text.push_str("</svg>\n");
    text
}
