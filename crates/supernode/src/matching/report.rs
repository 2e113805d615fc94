//! What a chip must be, as a report.

use super::{Found, Match};
use crate::Odds;
use hardware::BAND_80;
use planner::matching::{Figure, Reached};
use report::chart::{Bar, Chart, Curve, Dot, Drawing, PlotAxis, Style};
use report::page::{Document, Grid, GridCell, Section};
use report::{Surroundings, Words, number};

impl Match {
    /// The answer as a report, with the odds where they were asked for.
    pub fn report(&self, odds: Option<&Odds>, setting: &Surroundings<'_>) -> Document {
        let words = setting.words;
        let names = [("chip", self.request.chip.as_str()), ("against", self.request.against.as_str())];
        let mut document = Document::new(words, words.fill("match-title", &names));
        document.headline = self.headline(words);
        document.certainty = self.certainty(words, odds);
        document.push(
            Section::new(words.say("match-now")).table(self.reached(words)).charts(vec![self.bars(words)]),
        );
        let needed = Section::new(words.say("match-needed")).charts(self.front(words));
        document.push(needed.table(self.table(words)));
        if let Some(odds) = odds {
            document.push(
                Section::new(words.say("match-odds"))
                    .note(words.say("match-odds-note"))
                    .table(doubts(words, odds)),
            );
        }
        let own = [self.request.chip.as_str(), self.request.against.as_str()];
        let systems = [&self.request.system, &self.request.against_system];
        setting
            .close(&mut document, own.into_iter().chain(systems.into_iter().flatten().map(String::as_str)));
        document
    }

    fn headline(&self, words: &Words) -> String {
        let names = [("chip", self.request.chip.as_str()), ("against", self.request.against.as_str())];
        let ([figure], [(_, answer)]) = (self.figures.as_slice(), self.answers.as_slice()) else {
            let keys: Vec<&str> = self.figures.iter().map(|figure| figure.key.as_str()).collect();
            let keys = keys.join(words.say("list-comma"));
            return words.fill("match-front", &[names[0], names[1], ("keys", &keys)]);
        };
        let now = figure.show(figure.now());
        let fill = |key: &str, value: &str, times: &str| {
            let figures = [("key", figure.key.as_str()), ("value", value), ("now", &now), ("times", times)];
            words.fill(key, &[names[0], names[1], figures[0], figures[1], figures[2], figures[3]])
        };
        match answer {
            Found::Value(value, _) => {
                fill("match-value", &figure.show(*value), &format!("{:.2}", value / figure.now()))
            }
            Found::Enough(value, _) => fill("match-enough", &figure.show(*value), ""),
            Found::Never(value, _) => fill("match-never", &figure.show(*value), ""),
            Found::Between(low, high, _) => {
                fill("match-between", &format!("{}–{}", figure.show(*low), figure.show(*high)), "")
            }
        }
    }

    fn certainty(&self, words: &Words, odds: Option<&Odds>) -> String {
        let mut said = Vec::new();
        if let ([figure], [(_, answer)]) = (self.figures.as_slice(), self.answers.as_slice())
            && let Some((low, high)) = self.needed(figure, answer)
        {
            let (low, high) = (figure.show(low), figure.show(high));
            said.push(words.fill("match-band", &[("low", &low), ("high", &high)]));
        }
        if let Some(odds) = odds {
            let (low, high) = odds.range();
            let ratio = odds.throughput[0] / odds.throughput[1];
            said.push(words.fill(
                "match-chance",
                &[
                    ("chip", &self.request.chip),
                    ("against", &self.request.against),
                    ("percent", &number(100.0 * odds.probability())),
                    ("ratio", &format!("{ratio:.2}")),
                    ("low", &format!("{low:.2}")),
                    ("high", &format!("{high:.2}")),
                ],
            ));
        }
        if let Some(grade) = self.grade() {
            said.push(words.fill("match-grade", &[("grade", words.term(&grade.to_string()))]));
        }
        said.join(" ")
    }

    /// What both chips do as they are.
    fn reached(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .words(words.say("chip"))
            .figures(words.say("throughput"), words.say("unit-tokens-chip"))
            .words(words.say("bound"))
            .words(words.say("evidence"));
        for (name, reached) in [(&self.request.against, &self.goal), (&self.request.chip, &self.now)] {
            let value = reached.throughput.get();
            let band = band(reached).map(|(low, high)| format!("{}–{}", number(low), number(high)));
            let throughput =
                GridCell { text: number(value), band: band.unwrap_or_default(), ..GridCell::default() };
            let grade = reached.grade.map_or_else(|| words.say("unknown").into(), GridCell::from);
            grid.row([name.as_str().into(), throughput, words.terms(&reached.bound).into(), grade]);
        }
        grid
    }

    fn bars(&self, words: &Words) -> Chart {
        let bar = |name: &str, reached: &Reached| {
            let value = reached.throughput.get();
            Bar { name: name.to_owned(), value, band: band(reached), text: number(value) }
        };
        let bars = vec![bar(&self.request.against, &self.goal), bar(&self.request.chip, &self.now)];
        Chart::new(words.say("throughput"), words.say("unit-tokens-chip"), Drawing::Bars(bars))
            .with_note(words.say("whiskers"))
    }

    /// Two figures at which both chips do the same, as a curve.
    fn front(&self, words: &Words) -> Vec<Chart> {
        let [first, second] = self.figures.as_slice() else { return Vec::new() };
        let dots: Vec<Dot> = self
            .answers
            .iter()
            .filter_map(|(at, answer)| match answer {
                Found::Value(value, _) => Some(Dot {
                    at: ((*at)? / first.now(), value / second.now()),
                    band: None,
                    title: format!("{}, {}", first.show((*at)?), second.show(*value)),
                    link: None,
                }),
                _ => None,
            })
            .collect();
        if dots.is_empty() {
            return Vec::new();
        }
        let today = Dot { at: (1.0, 1.0), title: words.say("match-today").to_owned(), ..Dot::default() };
        let curves = vec![
            Curve { name: words.say("match-equal").to_owned(), style: Style::Line, dots },
            Curve { name: words.say("match-today").to_owned(), style: Style::Marks, dots: vec![today] },
        ];
        let axis =
            |figure: &Figure| PlotAxis::from_zero(format!("{}, {}", figure.key, words.say("match-times")));
        vec![Chart::new(
            words.say("match-front-title"),
            "",
            Drawing::Plot { x: axis(first), y: axis(second), curves, limits: Vec::new(), events: Vec::new() },
        )]
    }

    /// The answers, a row each.
    fn table(&self, words: &Words) -> Grid {
        let mut grid = Grid::default();
        for figure in &self.figures {
            grid = grid.key(figure.key.clone());
        }
        grid = grid.words(words.say("bound"));
        for (at, answer) in &self.answers {
            let Some(last) = self.figures.last() else { continue };
            let (needed, bound) = match answer {
                Found::Value(value, reached) => (last.show(*value), &reached.bound),
                Found::Enough(value, reached) => {
                    (words.fill("match-below", &[("value", &last.show(*value))]), &reached.bound)
                }
                Found::Never(_, reached) => (words.say("match-not").to_owned(), &reached.bound),
                Found::Between(low, high, reached) => {
                    (format!("{}–{}", last.show(*low), last.show(*high)), &reached.bound)
                }
            };
            let mut row: Vec<String> = Vec::new();
            if let (Some(at), [first, _]) = (at, self.figures.as_slice()) {
                row.push(first.show(*at));
            }
            row.extend([needed, words.terms(bound)]);
            grid.row(row);
        }
        grid
    }
}

/// The 80 % band of a throughput, where its error is known.
fn band(reached: &Reached) -> Option<(f64, f64)> {
    let (value, spread) = (reached.throughput.get(), (BAND_80 * reached.sigma).exp());
    (spread > 1.0).then(|| (value / spread, value * spread))
}

fn doubts(words: &Words, odds: &Odds) -> Grid {
    let mut grid = Grid::default()
        .words(words.say("figure"))
        .words(words.say("evidence"))
        .figures(words.say("match-doubt"), "±%")
        .figures(words.say("match-through"), "%");
    for doubt in &odds.doubts {
        grid.row::<GridCell>([
            doubt.key.as_str().into(),
            doubt.grade.into(),
            number(100.0 * BAND_80 * doubt.sigma).into(),
            number(100.0 * doubt.elasticity).into(),
        ]);
    }
    grid
}
