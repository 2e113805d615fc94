//! Drawing as inline SVG. Colours are classes, so that a page decides them for light, dark and print.

use std::fmt::Write;

/// Text that cannot be mistaken for markup.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Control characters are no part of a document.
            other if other.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

/// About how wide a text is drawn, in pixels of a chart.
pub fn text_width(text: &str) -> f64 {
    let width = |letter: char| match letter {
        'm' | 'w' | 'M' | 'W' | '%' | '@' => 13.0,
        letter if letter.is_ascii() => 8.0,
        _ => 13.5,
    };
    text.chars().map(width).sum()
}

/// A text that is at most so many pixels wide.
pub fn clip(text: &str, width: f64) -> String {
    if text_width(text) <= width {
        return text.to_owned();
    }
    let mut out = String::new();
    for letter in text.chars() {
        out.push(letter);
        if text_width(&out) > width - 10.0 {
            break;
        }
    }
    out.pop();
    out + "…"
}

/// Where a text stands against its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Begins there.
    Start,
    /// Is centred there.
    Middle,
    /// Ends there.
    End,
}

/// One drawing.
pub struct Svg {
    out: String,
}

impl Svg {
    /// Of a size, read aloud as `label`.
    pub fn new(width: f64, height: f64, label: &str) -> Self {
        let out = format!(
            "<svg viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"{}\">",
            escape(label)
        );
        Self { out }
    }

    /// A rectangle; `title` is shown where the pointer rests.
    pub fn rect(&mut self, (x, y): (f64, f64), (width, height): (f64, f64), class: &str, title: &str) {
        let _ = write!(
            self.out,
            "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"{:.1}\" class=\"{class}\"",
            width.max(0.3),
            height.max(0.3)
        );
        self.close("rect", title);
    }

    /// A line.
    pub fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let _ = write!(
            self.out,
            "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" class=\"{class}\"/>"
        );
    }

    /// A line through points.
    pub fn path(&mut self, points: &[(f64, f64)], class: &str) {
        let joined: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(self.out, "<polyline points=\"{}\" class=\"{class}\"/>", joined.join(" "));
    }

    /// A filled shape.
    pub fn shape(&mut self, points: &[(f64, f64)], class: &str) {
        let joined: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = write!(self.out, "<polygon points=\"{}\" class=\"{class}\"/>", joined.join(" "));
    }

    /// A dot, which leads to `link` of the page where there is one.
    pub fn dot(&mut self, (x, y): (f64, f64), radius: f64, class: &str, title: &str, link: Option<&str>) {
        if let Some(link) = link {
            let _ = write!(self.out, "<a href=\"#{}\">", escape(link));
        }
        let _ = write!(self.out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius}\" class=\"{class}\"");
        self.close("circle", title);
        if link.is_some() {
            self.out.push_str("</a>");
        }
    }

    /// Words.
    pub fn text(&mut self, (x, y): (f64, f64), anchor: Anchor, class: &str, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let _ = write!(
            self.out,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" class=\"{class}\">{}</text>",
            escape(text)
        );
    }

    fn close(&mut self, tag: &str, title: &str) {
        if title.is_empty() {
            self.out.push_str("/>");
        } else {
            let _ = write!(self.out, "><title>{}</title></{tag}>", escape(title));
        }
    }

    /// The markup.
    pub fn finish(self) -> String {
        self.out + "</svg>"
    }
}
