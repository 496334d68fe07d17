//! What all our charts begin with: readable on a light and on a dark page, without a script or a font of its own.

/// The opening of a chart of this size, with its title at `left`. `</svg>` is the caller's to add.
pub(super) fn opened(title: &str, (width, height): (usize, usize), left: usize, style: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\">\n<style>text{{fill:#333}}@media(prefers-color-scheme:dark){{text{{fill:#ddd}}}}{style}</style>\n\
         <text x=\"{left}\" y=\"20\" font-weight=\"bold\">{}</text>\n",
        escaped(title)
    )
}

/// Text that may stand in an element.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
