//! The report of `validate`.

use super::{Surroundings, number};
use crate::chart::{Bar, Chart, Curve, Dot, Drawing, PlotAxis, Style};
use crate::page::{Document, Grid, GridCell, Section};
use crate::words::Words;
use std::collections::BTreeMap;
use validate::{Metric, Scored, Summary};

/// Dots of a drawn metric at most.
const MOST_DOTS: usize = 3_000;
/// Groups that have a colour of their own.
const MOST_GROUPS: usize = 7;

/// The report.
pub fn validate_document(summary: &Summary, rows: &[Scored], setting: &Surroundings<'_>) -> Document {
    let words = setting.words;
    let mut document = Document::new(words, words.say("validate-title"));
    headline(&mut document, summary);
    let charts = summary.metrics.keys().map(|metric| against(words, *metric, rows)).collect();
    document.push(Section::new(words.say("against")).note(words.say("against-note")).charts(charts));
    document.push(Section::new(words.say("errors")).table(errors(words, summary)));
    let mut columns: Vec<&str> = summary.groups.iter().map(|group| group.by).collect();
    columns.dedup();
    for column in columns {
        let title = words.fill("errors-by", &[("column", words.term(column))]);
        let charts =
            summary.metrics.keys().map(|metric| group_chart(words, summary, column, *metric)).collect();
        document.push(Section::new(title).charts(charts).table(groups(words, summary, column)));
    }
    let mut failures = Grid::default().words(words.say("why")).figures(words.say("rows"), "");
    for (reason, count) in &summary.failures {
        failures.row([reason.clone(), count.to_string()]);
    }
    document.push(Section::new(words.say("not-predicted")).table(failures));
    setting.close(&mut document, []);
    document
}

fn headline(document: &mut Document, summary: &Summary) {
    let words = document.words;
    let errors: Vec<String> = summary
        .metrics
        .iter()
        .map(|(metric, stats)| {
            let (median, bias) = (number(100.0 * stats.median_ape), format!("{:+.1}", 100.0 * stats.bias));
            words.fill("validate-error", &[("metric", metric.name()), ("median", &median), ("bias", &bias)])
        })
        .collect();
    document.headline = words.fill(
        "validate-headline",
        &[
            ("predicted", &summary.predicted.to_string()),
            ("rows", &summary.rows.to_string()),
            ("errors", &errors.join(words.say("list-comma"))),
        ],
    );
    document.certainty = summary.band.as_ref().map_or_else(String::new, |band| {
        let (inside, level) = (number(100.0 * band.inside), number(100.0 * band.level));
        words.fill("validate-band", &[("inside", &inside), ("level", &level)])
    });
}

/// Predicted against measured, with the line on which they agree.
fn against(words: &Words, metric: Metric, rows: &[Scored]) -> Chart {
    let mut groups: BTreeMap<&str, Vec<Dot>> = BTreeMap::new();
    let every = rows.len().div_ceil(MOST_DOTS).max(1);
    for row in rows.iter().step_by(every) {
        let Some(pair) = row.pairs.iter().find(|pair| pair.metric == metric) else { continue };
        if pair.measured <= 0.0 || pair.predicted <= 0.0 {
            continue;
        }
        let name = row.keys.first().map_or("", |(_, value)| value.as_str());
        let factor = pair.predicted / pair.measured;
        let title =
            format!("{}: {} / {} = {factor:.2}", row.id, number(pair.predicted), number(pair.measured));
        groups.entry(name).or_default().push(Dot {
            at: (pair.measured, pair.predicted),
            band: None,
            title,
            link: None,
        });
    }
    let mut named: Vec<(String, Vec<Dot>)> =
        groups.into_iter().map(|(name, dots)| (name.to_owned(), dots)).collect();
    named.sort_by_key(|(_, dots)| std::cmp::Reverse(dots.len()));
    if named.len() > MOST_GROUPS {
        let rest = named.split_off(MOST_GROUPS - 1).into_iter().flat_map(|(_, dots)| dots).collect();
        named.push((words.say("others").to_owned(), rest));
    }
    let all = || named.iter().flat_map(|(_, dots)| dots.iter().flat_map(|dot| [dot.at.0, dot.at.1]));
    let (low, high) = (all().fold(f64::INFINITY, f64::min), all().fold(0.0, f64::max));
    let mut curves: Vec<Curve> =
        named.into_iter().map(|(name, dots)| Curve { name, style: Style::Dots, dots }).collect();
    if !curves.is_empty() {
        let line = [(low, low), (high, high)];
        curves.push(Curve::of(words.say("agreement"), Style::Thin, line));
    }
    Chart::new(
        words.term(metric.name()),
        "",
        Drawing::Plot {
            x: PlotAxis::log(words.say("measured")),
            y: PlotAxis::log(words.say("predicted")),
            curves,
            limits: Vec::new(),
            events: Vec::new(),
        },
    )
}

fn errors(words: &Words, summary: &Summary) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("metric"))
        .figures(words.say("rows"), "")
        .figures(words.say("median"), "%")
        .figures(words.say("mean"), "%")
        .figures("p90", "%")
        .figures(words.say("bias"), "%");
    for (metric, stats) in &summary.metrics {
        grid.row([
            words.term(metric.name()).to_owned(),
            stats.n.to_string(),
            number(100.0 * stats.median_ape),
            number(100.0 * stats.mean_ape),
            number(100.0 * stats.p90_ape),
            format!("{:+.1}", 100.0 * stats.bias),
        ]);
    }
    grid
}

fn group_chart(words: &Words, summary: &Summary, column: &str, metric: Metric) -> Chart {
    let bars = summary.groups.iter().filter(|group| group.by == column).filter_map(|group| {
        let stats = group.metrics.get(&metric)?;
        let value = 100.0 * stats.median_ape;
        Some(Bar { name: group.value.clone(), value, band: None, text: number(value) })
    });
    let mut bars: Vec<Bar> = bars.collect();
    bars.truncate(24);
    let title = words.fill("error-of", &[("metric", words.term(metric.name()))]);
    Chart::new(title, "%", Drawing::Bars(bars))
}

fn groups(words: &Words, summary: &Summary, column: &str) -> Grid {
    let metrics: Vec<Metric> = summary.metrics.keys().copied().collect();
    let mut grid = Grid::default()
        .words(words.term(column))
        .figures(words.say("rows"), "")
        .figures(words.say("predicted"), "");
    for metric in &metrics {
        grid = grid.figures(words.term(metric.name()), words.say("median-bias"));
    }
    for group in summary.groups.iter().filter(|group| group.by == column) {
        let mut row: Vec<GridCell> = vec![
            group.value.as_str().into(),
            group.rows.to_string().into(),
            group.predicted.to_string().into(),
        ];
        row.extend(metrics.iter().map(|metric| {
            group.metrics.get(metric).map_or_else(GridCell::default, |stats| GridCell {
                text: number(100.0 * stats.median_ape),
                band: format!("{:+.1}", 100.0 * stats.bias),
                ..GridCell::default()
            })
        }));
        grid.row(row);
    }
    grid
}
