//! Reports beside what is printed: as a page, as PDF, in other languages.

use crate::common::{Failure, SiteArgs, print};
use ::estimate::economics::Site;
use hardware::Catalog;
use report::page::Document;
use report::{Lang, OutputId, Outputs, Surroundings, Words};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// What is written beside the answer.
#[derive(clap::Args)]
#[command(next_help_heading = "Report")]
pub struct PageArgs {
    /// Write a report to this file: one page that opens anywhere, without a network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Print the report to this PDF; a Chromium must be installed.
    #[arg(long, value_name = "FILE")]
    pdf: Option<PathBuf>,
    /// Language of reports and tables: en or zh.
    #[arg(long, value_name = "LANG", default_value_t = Lang::En)]
    lang: Lang,
}

/// Files that are open for a report. They are opened before the work begins, so that work is never done for nothing.
pub struct Page {
    outputs: Outputs,
    html: Option<OutputId>,
    pdf: Option<BufWriter<File>>,
    lang: Lang,
}

impl PageArgs {
    /// Opens the files that are asked for.
    pub fn open(&self) -> Result<Page, Failure> {
        let mut outputs = Outputs::new();
        if self.pdf.is_some() && report::find_chromium().is_none() {
            return Err(report::PdfError::NoChromium.into());
        }
        let html = self.html.as_deref().map(|path| outputs.open(path)).transpose()?;
        let pdf = self.pdf.as_deref().map(|path| outputs.stream(path)).transpose()?;
        Ok(Page { outputs, html, pdf, lang: self.lang })
    }
}

impl Page {
    /// Whether a file is asked for.
    pub fn is_wanted(&self) -> bool {
        self.html.is_some() || self.pdf.is_some()
    }

    /// The words to write with.
    pub fn words(&self) -> &'static Words {
        Words::of(self.lang)
    }

    /// What a report is written with.
    pub fn setting<'a>(
        &self,
        catalog: &'a Catalog,
        site: Option<&'a Site>,
        args: Option<&'a SiteArgs>,
    ) -> Surroundings<'a> {
        Surroundings {
            words: self.words(),
            catalog,
            site,
            region: args.and_then(SiteArgs::region),
            launch: crate::launch::lacks(),
        }
    }

    /// Writes the files, then prints: the report itself where tables in another language are asked for, what `show` prints
    /// otherwise. It is printed whether or not files could be written.
    pub fn deliver(
        mut self,
        document: impl FnOnce() -> Document,
        is_json: bool,
        show: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let in_words = self.lang != Lang::En && !is_json;
        let document = (self.is_wanted() || in_words).then(document);
        let written = match &document {
            Some(document) => self.write(document),
            None => Ok(()),
        };
        match &document {
            Some(document) if in_words => print(&document.text())?,
            _ => show()?,
        }
        written?;
        Ok(self.outputs.commit()?)
    }

    fn write(&mut self, document: &Document) -> Result<(), Failure> {
        let page = document.html();
        if let Some(id) = self.html {
            self.outputs.write(id, &page)?;
        }
        if let Some(mut file) = self.pdf.take() {
            let bytes = report::print_pdf(&page)?;
            file.write_all(&bytes).and_then(|()| file.flush()).map_err(Failure::from)?;
        }
        Ok(())
    }
}
