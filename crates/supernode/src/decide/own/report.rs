//! The cost of ownership as a report.

use super::Own;
use crate::decide::number;
use hardware::Basis;
use hardware::money::HOURS_PER_YEAR;
use hardware::money::Site;
use report::chart::{Chart, Drawing, Stack};
use report::page::{Document, Grid, Section};
use report::{Surroundings, Words};
use units::Seconds;

impl Own {
    /// The answer as a report.
    pub fn report(&self, setting: &Surroundings<'_>) -> Document {
        let words = setting.words;
        let years = number(self.request.years);
        let chips = self.chips.to_string();
        let title =
            words.fill("own-title", &[("system", &self.system.name), ("chips", &chips), ("years", &years)]);
        let mut document = Document::new(words, title);
        let unit = if self.figures.rate.is_some() {
            words.say("unit-dollar-million")
        } else {
            words.say("unit-dollar-hour")
        };
        let (low, high) = self.band();
        document.headline = words.fill(
            "own-headline",
            &[
                ("cost", &number(self.figures.answer())),
                ("unit", unit),
                ("share", &number(100.0 * self.request.utilisation)),
                (
                    "total",
                    &number(self.figures.yearly().total() * self.request.years * f64::from(self.chips) / 1e6),
                ),
            ],
        );
        let range = (number(low), number(high));
        document.certainty = words.fill(
            "own-sure",
            &[
                ("low", &range.0),
                ("high", &range.1),
                ("unit", unit),
                ("grade", words.term(&self.grade.to_string())),
            ],
        );
        document.push(self.parts(words));
        document.push(Section::new(words.say("break-even")).table(self.break_even(words)));
        document.push(self.tornado(words, unit));
        document.assume(words.say("own-busy"), format!("{} W", number(self.figures.busy)));
        document.assume(words.say("own-spares"), words.say("own-spares-note"));
        document.assume(
            words.say("failure-rates"),
            format!("{} ({})", self.rates.0, words.term(&self.rates.1.to_string())),
        );
        let site = Site { basis: Basis::Buy, ..*setting.site.unwrap_or(&self.site_of()) };
        let years = Seconds::new(self.request.years * HOURS_PER_YEAR * 3600.0);
        let setting = Surroundings { site: Some(&Site { lifetime: years, ..site }), ..*setting };
        setting.close(&mut document, [self.system.id.as_str(), self.chip.id.as_str()]);
        document
    }

    /// A site with the figures of the answer, for where none is at hand.
    fn site_of(&self) -> Site {
        let figures = &self.figures;
        Site {
            basis: Basis::Buy,
            electricity: units::DollarsPerKilowattHour::new(figures.electricity),
            pue: figures.pue,
            carbon: units::GramsCo2PerKilowattHour::new(0.0),
            lifetime: Seconds::new(figures.years * HOURS_PER_YEAR * 3600.0),
            capital: figures.capital,
            network: figures.network,
            staff: figures.staff,
            space: units::DollarsPerKilowattHour::new(figures.space),
        }
    }

    fn parts(&self, words: &Words) -> Section {
        let yearly = self.figures.yearly();
        let mut grid = Grid::default()
            .words(words.say("part"))
            .figures(words.say("own-year"), "$")
            .figures(words.say("own-all"), "$")
            .figures(words.say("share"), "%");
        for (name, dollars) in yearly.parts() {
            grid.row([
                words.say(name).to_owned(),
                number(dollars),
                number(dollars * self.request.years * f64::from(self.chips)),
                number(100.0 * dollars / yearly.total()),
            ]);
        }
        let names = yearly.parts().iter().map(|(name, _)| words.say(name).to_owned()).collect();
        let stack = Stack {
            name: words.say("own-year").to_owned(),
            values: yearly.parts().iter().map(|(_, dollars)| *dollars).collect(),
            text: number(yearly.total()),
        };
        let chart = Chart::new(
            words.say("own-parts"),
            "$",
            Drawing::Stacked { parts: names, stacks: vec![stack], limit: None },
        );
        Section::new(words.say("own-parts")).charts(vec![chart]).table(grid)
    }

    fn break_even(&self, words: &Words) -> Grid {
        let mut grid = Grid::default()
            .words(words.say("against-what"))
            .figures(words.say("value"), "")
            .words(words.say("unit"))
            .words(words.say("break-even"));
        let verdict = |share: f64| match share {
            share if share > 1.0 => words.say("even-never").to_owned(),
            share => words.fill("even-above", &[("share", &number(100.0 * share))]),
        };
        match (self.rent, self.even_with_rent()) {
            (Some(rent), Some(share)) => grid.row([
                words.say("renting").to_owned(),
                number(rent),
                words.say("unit-dollar-hour").to_owned(),
                verdict(share),
            ]),
            _ => grid.row([
                words.say("renting").to_owned(),
                words.say("unknown").to_owned(),
                words.say("unit-dollar-hour").to_owned(),
                words.say("even-unknown").to_owned(),
            ]),
        }
        if let (Some(price), Some(share)) = (self.request.api_price, self.even_with_api()) {
            let unit = words.say("unit-dollar-million").to_owned();
            grid.row([words.say("an-api").to_owned(), number(price.get()), unit, verdict(share)]);
        }
        grid
    }

    fn tornado(&self, words: &Words, unit: &str) -> Section {
        let end = |(value, answer): (f64, f64)| (answer, number(value));
        let swings = self.swings.iter().map(|swing| report::chart::Swing {
            name: words.say(swing.figure).to_owned(),
            low: end(swing.low),
            high: end(swing.high),
        });
        let kind = Drawing::Tornado { base: self.figures.answer(), swings: swings.collect() };
        let chart = Chart::new(words.say("own-tornado"), unit, kind).with_note(words.say("own-tornado-note"));
        let mut grid = Grid::default()
            .words(words.say("figure"))
            .figures(words.say("own-low"), "")
            .figures(words.say("own-at-low"), unit)
            .figures(words.say("own-high"), "")
            .figures(words.say("own-at-high"), unit)
            .words(words.say("evidence"));
        for swing in &self.swings {
            let cells = [swing.low.0, swing.low.1, swing.high.0, swing.high.1].map(number);
            let mut row: Vec<report::page::GridCell> = vec![words.say(swing.figure).into()];
            row.extend(cells.map(Into::into));
            row.push(swing.grade.into());
            grid.row(row);
        }
        Section::new(words.say("own-tornado")).charts(vec![chart]).table(grid)
    }
}
