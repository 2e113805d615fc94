//! Self-contained pages: tables and charts with the charting script inside, so that they open anywhere.

use plotly::common::{ErrorData, ErrorType, Mode, Title};
use plotly::layout::{Axis, AxisType, BarMode};
use plotly::{Bar, Layout, Plot, Scatter};

/// Text that cannot be mistaken for markup.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// One bar with its error band.
pub struct BarPoint {
    /// Label.
    pub name: String,
    /// Height.
    pub value: f64,
    /// Distance down to the lower and up to the upper end of the band.
    pub band: Option<(f64, f64)>,
}

/// A bar chart, one bar per point.
pub fn bars(title: &str, unit: &str, points: &[BarPoint]) -> Plot {
    let names: Vec<String> = points.iter().map(|point| point.name.clone()).collect();
    let values: Vec<f64> = points.iter().map(|point| point.value).collect();
    let mut bar = Bar::new(names, values).name(title);
    if points.iter().any(|point| point.band.is_some()) {
        let up = points.iter().map(|point| point.band.map_or(0.0, |band| band.1)).collect();
        let down = points.iter().map(|point| point.band.map_or(0.0, |band| band.0)).collect();
        bar = bar.error_y(ErrorData::new(ErrorType::Data).array(up).array_minus(down));
    }
    let mut plot = Plot::new();
    plot.add_trace(bar);
    plot.set_layout(
        Layout::new().title(Title::with_text(title)).y_axis(Axis::new().title(Title::with_text(unit))),
    );
    plot
}

/// Stacked bars: one series per part, one bar per name.
pub fn stacked(title: &str, unit: &str, names: &[String], parts: &[(String, Vec<f64>)]) -> Plot {
    let mut plot = Plot::new();
    for (part, values) in parts {
        plot.add_trace(Bar::new(names.to_vec(), values.clone()).name(part));
    }
    let layout = Layout::new()
        .title(Title::with_text(title))
        .bar_mode(BarMode::Stack)
        .y_axis(Axis::new().title(Title::with_text(unit)));
    plot.set_layout(layout);
    plot
}

/// Predicted against measured on logarithmic axes, with the line on which they agree.
pub fn against(title: &str, series: &[(String, Vec<f64>, Vec<f64>)]) -> Plot {
    let mut plot = Plot::new();
    let all = || series.iter().flat_map(|(_, measured, predicted)| measured.iter().chain(predicted)).copied();
    let low = all().fold(f64::INFINITY, f64::min);
    let high = all().fold(0.0, f64::max);
    plot.add_trace(Scatter::new(vec![low, high], vec![low, high]).mode(Mode::Lines).name("agreement"));
    for (name, measured, predicted) in series {
        plot.add_trace(Scatter::new(measured.clone(), predicted.clone()).mode(Mode::Markers).name(name));
    }
    let axis = |text: &str| Axis::new().type_(AxisType::Log).title(Title::with_text(text));
    let layout = Layout::new()
        .title(Title::with_text(title))
        .x_axis(axis("measured"))
        .y_axis(axis("predicted"))
        .height(700);
    plot.set_layout(layout);
    plot
}

/// Points on plain axes, a series each.
pub fn points(title: &str, x: &str, y: &str, series: &[(String, Vec<(f64, f64)>)]) -> Plot {
    let mut plot = Plot::new();
    for (name, points) in series {
        let (across, up) = points.iter().copied().unzip();
        plot.add_trace(Scatter::<f64, f64>::new(across, up).mode(Mode::Markers).name(name));
    }
    let layout = Layout::new()
        .title(Title::with_text(title))
        .x_axis(Axis::new().title(Title::with_text(x)))
        .y_axis(Axis::new().title(Title::with_text(y)))
        .height(600);
    plot.set_layout(layout);
    plot
}

/// A page with a text block and charts; the charting script is written once.
pub fn page(title: &str, text: &str, charts: &[Plot]) -> String {
    let mut body = String::new();
    for (index, chart) in charts.iter().enumerate() {
        body.push_str(&chart.to_inline_html(Some(&format!("chart-{index}"))));
    }
    let script = Plot::offline_js_sources();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>{title}</title>\n\
         <style>body{{font-family:sans-serif;margin:2em;max-width:80em}}pre{{overflow-x:auto}}</style>\n\
         {script}\n</head>\n<body>\n<h1>{title}</h1>\n<pre>{text}</pre>\n{body}\n</body>\n</html>\n",
        title = escape(title),
        text = escape(text),
    )
}
