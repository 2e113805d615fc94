//! What every subcommand shares: the catalog, overrides, where output goes, exit codes.

use ::estimate::economics::Site;
use hardware::Catalog;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use units::{DollarsPerKilowattHour, GramsCo2PerKilowattHour};

/// Why a command ends without its answer, and with which exit code.
#[derive(Debug)]
pub enum Failure {
    /// The answer is no: nothing fits, a check failed.
    No(String),
    /// The input is wrong.
    Input(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Input(error.to_string())
    }
}

/// 0 for an answer, 1 for a no, 2 for bad input; messages go to stderr.
pub fn exit(result: Result<(), Failure>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::No(message)) => {
            if !message.is_empty() {
                let _ = writeln!(std::io::stderr(), "{message}");
            }
            ExitCode::from(1)
        }
        Err(Failure::Input(message)) => {
            let _ = writeln!(std::io::stderr(), "error: {message}");
            ExitCode::from(2)
        }
    }
}

/// Prints results. A closed pipe is the reader's choice, not an error.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Failure::Input(format!("stdout: cannot be written ({error})")))
        }
        _ => Ok(()),
    }
}

/// Prints JSON, one document.
pub fn print_json(value: &serde_json::Value) -> Result<(), Failure> {
    print(&format!("{value:#}\n"))
}

/// Where facts come from and which of them are replaced.
#[derive(clap::Args)]
pub struct CatalogArgs {
    /// Folder with chips, systems, engines and kernel profiles that are added to (or replace) the built-in ones.
    #[arg(long, value_name = "DIR", global = true)]
    catalog: Option<PathBuf>,
}

impl CatalogArgs {
    /// The catalog with the user's folder over it.
    pub fn load(&self) -> Result<Catalog, Failure> {
        match &self.catalog {
            Some(folder) => Ok(Catalog::with_overlay(folder)?),
            None => Ok(Catalog::builtin()),
        }
    }
}

/// What electricity and buildings cost.
#[derive(clap::Args)]
pub struct SiteArgs {
    /// Price of electricity.
    #[arg(long, value_name = "PRICE", default_value = "0.08 USD/kWh")]
    electricity: DollarsPerKilowattHour,
    /// Facility power over IT power.
    #[arg(long, default_value_t = 1.3)]
    pue: f64,
    /// Carbon intensity of the electricity.
    #[arg(long, value_name = "INTENSITY", default_value = "400 g/kWh")]
    carbon: GramsCo2PerKilowattHour,
}

impl SiteArgs {
    /// The site they describe.
    pub fn site(&self) -> Result<Site, Failure> {
        if !(1.0..=5.0).contains(&self.pue) {
            return Err(Failure::Input(format!("--pue {} is out of range; allowed is 1 to 5", self.pue)));
        }
        Ok(Site { electricity: self.electricity, pue: self.pue, carbon: self.carbon, lifetime_years: 4.0 })
    }
}
